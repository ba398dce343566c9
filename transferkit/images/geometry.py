"""Resize and crop pixels to the network's input, or add a border."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.images.decode import ImageError

if TYPE_CHECKING:
    from transferkit.spec import Preprocess

__all__ = [
    "corner",
    "crop_fraction",
    "cut",
    "prepare",
    "prepare_channels",
    "resized_size",
    "upscale_factor",
]

# Of 8-bit pixels; channels of other images are scaled to it.
_FULL = 255.0


def prepare(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resize and crop an image to the network's input.

    The result equals, to the pixel, that of timm's evaluation transform before normalisation.

    Parameters
    ----------
    image : PIL.Image.Image
        In mode RGB.
    preprocess : Preprocess
        Input size, filter, crop fraction and mode; for ``"border"`` the mean too.

    Returns
    -------
    ndarray of shape (H, W, 3)
        uint8, H and W those of the network's input.

    Raises
    ------
    ImageError
        See `resized_size`.

    References
    ----------
    R. Wightman, PyTorch Image Models (2019), ``transforms_imagenet_eval``.
    """
    height, width = resized_size((image.height, image.width), preprocess)
    filter_ = Image.Resampling[preprocess.interpolation.upper()]
    return cut(np.array(image.resize((width, height), filter_)), preprocess)


def prepare_channels(
    channels: Iterable[NDArray[np.float32]], preprocess: Preprocess
) -> NDArray[np.float32]:
    """Resize and crop an image's channels to the network's input, as `prepare` does with RGB.

    Nothing is rounded to whole numbers.

    Parameters
    ----------
    channels : iterable of ndarray, shape (height, width)
        From 0 to 255; one is held at a time.
    preprocess : Preprocess
        Input size, filter, crop fraction and mode; for ``"border"`` the mean too.

    Returns
    -------
    ndarray of float32, shape (H, W, C)
        From 0 to 255.

    Raises
    ------
    ImageError
        See `resized_size`.
    """
    filter_ = Image.Resampling[preprocess.interpolation.upper()]
    resized = []
    for channel in channels:
        height, width = resized_size(channel.shape[:2], preprocess)
        image = Image.fromarray(channel).resize((width, height), filter_)
        # Filters overshoot beside edges; of 8-bit pixels that is cut off too.
        resized.append(np.clip(np.asarray(image), 0, _FULL))
    return np.ascontiguousarray(cut(np.stack(resized, axis=2), preprocess))


def cut(resized: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Cut the centre of a resized image. Where the image is too small, a border is added.

    Parameters
    ----------
    resized : ndarray of shape (height, width, C)
        uint8 or float32, of the size that `resized_size` tells.
    preprocess : Preprocess
        Input size and crop mode; for ``"border"`` the mean, which is the border's colour.

    Returns
    -------
    ndarray of shape (H, W, C)
        A copy, or a view if nothing had to be added.
    """
    height, width = preprocess.image_size
    top, left = corner(resized.shape[:2], preprocess.image_size)
    view = resized[max(0, -top) :, max(0, -left) :][:height, :width]
    if view.shape[:2] == (height, width):
        return view
    is_border = preprocess.crop_mode == "border"
    fill = [255 * m for m in preprocess.mean] if is_border else [0.0]
    if resized.dtype == np.uint8:
        fill = [round(value) for value in fill]
    padded = np.full((height, width, resized.shape[2]), fill, dtype=resized.dtype)
    padded[max(0, top) :, max(0, left) :][: view.shape[0], : view.shape[1]] = view
    return padded


def corner(resized: tuple[int, int], image_size: tuple[int, int]) -> tuple[int, int]:
    """Row and column of the network's input where a resized image's first pixel comes to lie.

    Parameters
    ----------
    resized : (int, int)
        Height and width that the image was resized to, px.
    image_size : (int, int)
        Height and width of the network's input, px.

    Returns
    -------
    (int, int)
        Negative where that pixel is cropped away, positive where a border stands before it.

    Examples
    --------
    >>> corner((256, 200), (224, 224))
    (-16, 12)
    """
    # As timm does it: borders are rounded down, crops to the next even number at a tie.
    row, column = (
        (out - length) // 2 if length < out else -round((length - out) / 2)
        for length, out in zip(resized, image_size, strict=True)
    )
    return row, column


def resized_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Height and width that an image of this size is resized to, before the crop.

    Parameters
    ----------
    size : (int, int)
        The image's height and width, px.
    preprocess : Preprocess
        Input size, crop fraction and mode.

    Raises
    ------
    ImageError
        If keeping the aspect ratio would enlarge a very long, thin image to more pixels than
        `read_rgb` accepts.
    """
    height, width = _resized_size(size, preprocess)
    maximum = Image.MAX_IMAGE_PIXELS
    if maximum is not None and height * width > 2 * maximum:
        raise ImageError(
            f"{size[1]} × {size[0]} pixels are too long and thin: the shorter side at "
            f"the network's size makes {width} × {height}; crop the image"
        )
    return height, width


def _resized_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    target = [math.floor(side / preprocess.crop_pct) for side in preprocess.image_size]
    if preprocess.crop_mode == "squash":
        return target[0], target[1]
    if preprocess.crop_mode == "center" and target[0] == target[1]:
        # The shorter side fits; the longer one is rounded down, as torchvision does it.
        short = min(size)
        height, width = (int(target[0] * side / short) for side in size)
        return height, width
    # Other targets: the side that fits first (border) or last (center); rounded, as timm does.
    ratios = [side / goal for side, goal in zip(size, target, strict=True)]
    ratio = max(ratios) if preprocess.crop_mode == "border" else min(ratios)
    # timm fails where the shorter side rounds to 0; there it is 1 pixel.
    height, width = (max(1, round(side / ratio)) for side in size)
    return height, width


def crop_fraction(size: tuple[int, int], preprocess: Preprocess) -> float:
    """Fraction of an image's area that the network doesn't see.

    Parameters
    ----------
    size : (int, int)
        The image's height and width, px.
    preprocess : Preprocess
        How it is resized and cropped.

    Returns
    -------
    float
        In [0, 1): 0 if the whole image is seen.

    Examples
    --------
    >>> from transferkit.spec import Preprocess
    >>> square = Preprocess((224, 224), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    >>> round(crop_fraction((480, 640), square), 2)
    0.25
    """
    resized = _resized_size(size, preprocess)
    seen = [min(r, out) / r for r, out in zip(resized, preprocess.image_size, strict=True)]
    return 1.0 - seen[0] * seen[1]


def upscale_factor(size: tuple[int, int], preprocess: Preprocess) -> float:
    """Factor by which an image is enlarged, along the side that is enlarged most.

    Parameters
    ----------
    size : (int, int)
        The image's height and width, px.
    preprocess : Preprocess
        How it is resized.

    Returns
    -------
    float
        Above 1: the image has fewer pixels than the network takes. Below 1: it has more.

    Examples
    --------
    >>> from transferkit.spec import Preprocess
    >>> square = Preprocess((224, 224), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    >>> upscale_factor((32, 32), square)
    7.0
    """
    resized = _resized_size(size, preprocess)
    return max(r / side for r, side in zip(resized, size, strict=True))
