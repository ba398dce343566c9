"""Images of the same kind that are no copies, and changed copies of one of them."""

import numpy as np
from PIL import Image, ImageOps

__all__ = ["scene"]


def scene(seed, size=(90, 110)):
    """Coarse noise over a shape that all scenes share."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    noise = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.float32)
    shared = np.zeros((*size, 3), dtype=np.float32)
    shared[20:70, 30:80] = 120
    return Image.fromarray(np.clip(0.5 * noise + shared, 0, 255).astype(np.uint8))


def cropped(image, share=0.94):
    height, width = (round(share * side) for side in (image.height, image.width))
    return image.crop((3, 2, 3 + width, 2 + height))


CHANGES = {
    "mirrored": ImageOps.mirror,
    "cropped": cropped,
    "enlarged": lambda image: cropped(image).resize(image.size),
    "smaller": lambda image: image.resize((60, 50)),
    "mirrored and cropped": lambda image: cropped(ImageOps.mirror(image)),
}
