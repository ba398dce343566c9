"""From an image to the network's 8-bit input, by the quickest way that gives PIL's pixels.

PIL reads the header and decides: plain 8-bit grey or RGB JPEGs and PNGs go to torchvision's
decoder (the same libjpeg-turbo, less copying), everything else to `read_rgb`. Resizing is
torch's antialiased filter for 8-bit pixels, which follows PIL's arithmetic and is several times
faster. The features can't tell the ways apart: on average the pixels differ by less than 0.02
of 255.
"""

from __future__ import annotations

import functools
import io
import warnings
from typing import Any

import numpy as np
import torch
from PIL import Image

from transferkit.images import FORMATS, cut, prepare, read_rgb, resized_size
from transferkit.spec import Preprocess

__all__ = ["network_input"]

_FILTERS = ("bilinear", "bicubic")
# Where a few pixels are stretched over many, torch's 16-bit weights show.
_MIN_SIDE = 16
_STRETCH = 0.03
_RGB = 3  # torchvision.io.ImageReadMode
_EXIF_ORIENTATION = 0x0112
_PNG_BIT_DEPTH = 24  # byte of the file that tells it
# The scaled decoding keeps this many pixels per pixel of the resized image.
_MARGIN = 2


def network_input(
    source: bytes | Image.Image | np.ndarray, preprocess: Preprocess
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode, resize and crop.

    Parameters
    ----------
    source : bytes, PIL.Image.Image or ndarray
        A file's bytes, or an image as `read_rgb` takes it.
    preprocess : Preprocess
        Geometry, filter, decode mode and whether the EXIF orientation is applied.

    Returns
    -------
    pixels : ndarray of shape (H, W, 3)
        uint8, the network's input.
    size : (int, int)
        The image's own height and width, px.

    Raises
    ------
    ImageError
        If the image can't be used; see `read_rgb` and `resized_size`.
    """
    if isinstance(source, bytes) and preprocess.decode == "scaled":
        pixels, size = _decode_scaled(source, preprocess)
    else:
        fast = _decode_fast(source, preprocess.exif) if isinstance(source, bytes) else None
        pixels = np.asarray(read_rgb(source, exif=preprocess.exif)) if fast is None else fast
        size = (pixels.shape[0], pixels.shape[1])
    wanted = resized_size(size, preprocess)
    if not _is_alike(size, wanted, preprocess.interpolation):
        return prepare(Image.fromarray(pixels), preprocess), size
    return cut(_resize(pixels, wanted, preprocess), preprocess), size


def _is_alike(size: tuple[int, int], wanted: tuple[int, int], interpolation: str) -> bool:
    """Whether torch's filter gives PIL's pixels."""
    if interpolation not in _FILTERS or min(size) < _MIN_SIDE:
        return False
    # Where the aspect ratio changes, Pillow 13 filters the columns first if that is quicker, and
    # torch never: what is rounded in between differs.
    stretch = (wanted[0] / size[0]) / (wanted[1] / size[1])
    return abs(stretch - 1) <= _STRETCH


def _resize(pixels: np.ndarray, size: tuple[int, int], preprocess: Preprocess) -> np.ndarray:
    if pixels.shape[:2] == size:
        return pixels
    with warnings.catch_warnings():
        # PIL's arrays are read-only, which torch has no word for; nothing writes to them.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(
        batch, size=size, mode=preprocess.interpolation, antialias=True
    )
    return resized[0].permute(1, 2, 0).numpy()


def _decode_fast(data: bytes, exif: bool) -> np.ndarray | None:
    """RGB pixels from torchvision, or None where PIL has to decide."""
    decoder = _decoder()
    if decoder is None or not _is_plain(data, exif):
        return None
    try:
        tensor = decoder(torch.frombuffer(bytearray(data), dtype=torch.uint8), _RGB, False)
    except RuntimeError:  # damaged: PIL knows whether it is usable, and the reason if not
        return None
    pixels: np.ndarray = tensor.permute(1, 2, 0).numpy()
    return pixels


@functools.cache
def _decoder() -> Any:
    """The decoder in torchvision's binary, if it has one; its Python front is on its way out."""
    import torchvision.io  # brings the binary in

    assert torchvision.io is not None
    return getattr(torch.ops.image, "decode_image", None)


def _is_plain(data: bytes, exif: bool) -> bool:
    """Whether torchvision gives PIL's pixels: 8 bits, grey or RGB, opaque, of sane size."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            maximum = Image.MAX_IMAGE_PIXELS
            if maximum is not None and image.width * image.height > maximum:
                return False
            if image.mode not in ("L", "RGB") or image.has_transparency_data:
                return False
            if exif and image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
                return False
            # Of 16 bits per channel PIL takes the high byte, and torchvision all.
            return image.format == "JPEG" or data[_PNG_BIT_DEPTH] == 8
    except Exception:  # nearly anything, on damaged bytes; `read_rgb` meets it again and tells
        return False


def _decode_scaled(data: bytes, preprocess: Preprocess) -> tuple[np.ndarray, tuple[int, int]]:
    """RGB pixels of a JPEG decoded at 1/2, 1/4 or 1/8 of its size, and its size."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:  # nearly anything, as above: `read_rgb` meets it again, and raises the reason
        return np.asarray(read_rgb(data, exif=preprocess.exif)), (0, 0)
    with image:
        width, height = image.size
        turned = preprocess.exif and image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
        size = (width, height) if turned else (height, width)
        wanted = [_MARGIN * side for side in resized_size(size, preprocess)]
        if turned:
            wanted.reverse()
        image.draft(None, (wanted[1], wanted[0]))
        return np.asarray(read_rgb(image, exif=preprocess.exif)), size
