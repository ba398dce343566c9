"""Make the network's input of an image, in the quickest way that gives PIL's pixels.

PIL reads the header and decides: plain 8-bit grey or RGB JPEGs go to torchvision's decoder (the
same libjpeg-turbo, less copying), everything else to `read_rgb`; torchvision's PNG decoder ends
the process on a damaged file. Resizing is
torch's antialiased filter for 8-bit pixels, which follows PIL's arithmetic and is several times
faster. The features can't tell the ways apart: on average the pixels differ by less than 0.02
of 255.

Where a range or channels are stated, an image's own values are resized instead, as float32.
"""

from __future__ import annotations

import contextlib
import functools
import io
from typing import Any

import numpy as np
import torch
from PIL import Image

from transferkit.extract.budget import BYTES_PER_PIXEL, PixelBudget, affordable_pixels
from transferkit.images import (
    FORMATS,
    Content,
    ImagePart,
    cut,
    orientation_of,
    prepare,
    prepare_channels,
    read_rgb,
    read_values,
    resized_size,
    scaled_channels,
)
from transferkit.images.formats import format_of
from transferkit.spec import Preprocess

__all__ = ["network_input", "part_pixels"]

_FILTERS = ("bilinear", "bicubic")
# If so few pixels are stretched over so many, the rounding of torch's 16-bit weights is visible.
_MIN_SIDE = 16
_STRETCH = 0.03
_RGB = 3  # torchvision.io.ImageReadMode
_BUDGET = PixelBudget(affordable_pixels())
# Of an image's own values: of 64 bits each at most, and copied once.
_BYTES_PER_VALUE = 16
# The scaled decoding keeps this many pixels per pixel of the resized image.
_MARGIN = 2


def network_input(
    source: bytes | Image.Image | np.ndarray, preprocess: Preprocess
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode, resize and crop.

    Parameters
    ----------
    source : bytes, PIL.Image.Image or ndarray
        A file's bytes, or an image as `read_rgb` takes it, or `read_values`.
    preprocess : Preprocess
        Geometry, filter, decode mode and whether the EXIF orientation is applied; range and
        channels.

    Returns
    -------
    pixels : ndarray of shape (H, W, C)
        The network's input, from 0 to 255: uint8 RGB, or float32 if the preprocessing isn't
        that of 8-bit RGB.
    size : (int, int)
        The image's own height and width, px.

    Raises
    ------
    ImageError
        If the image can't be used; see `read_rgb`, `read_values` and `resized_size`.
    """
    if not preprocess.is_rgb:
        return _values_input(source, preprocess)
    with contextlib.ExitStack() as stack:
        if isinstance(source, bytes) and (opened := _opened(source)) is not None:
            image = stack.enter_context(opened)
            # Else its size is known when it is turned, which PIL does with a TIFF of itself.
            if not preprocess.exif and image.format != "TIFF":
                resized_size((image.height, image.width), preprocess)
            stack.enter_context(_BUDGET.claim(image.width * image.height))
            pixels, size = _decoded(source, image, preprocess)
        else:
            pixels = _by_pil(source, preprocess)
            size = pixels.shape[:2]
        wanted = resized_size(size, preprocess)
        if not _is_alike(size, wanted, preprocess.interpolation):
            return prepare(Image.fromarray(pixels), preprocess), size
        return cut(_resize(pixels, wanted, preprocess), preprocess), size


def _values_input(
    source: bytes | Image.Image | np.ndarray, preprocess: Preprocess
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode, scale, resize and crop an image's own values."""
    with _BUDGET.claim(_n_pixels(source, preprocess.layout)):
        image = read_values(source, preprocess)
        return prepare_channels(scaled_channels(image, preprocess), preprocess), image.size


def _n_pixels(source: bytes | Image.Image | np.ndarray, layout: str) -> int:
    """RGB pixels that take as much memory as decoding an image's values does."""
    if isinstance(source, bytes):
        if (form := format_of(source)) is not None:
            height, width, n_channels = form.shape(source, layout)
            return height * width * (1 + n_channels * _BYTES_PER_VALUE // BYTES_PER_PIXEL)
        opened = _opened(source)
        return 0 if opened is None else opened.width * opened.height
    return 0  # it is in memory already


def part_pixels(part: ImagePart, content: Content) -> np.ndarray:
    """Pixels of a part of an image, uint8 ``(H, W, 3)``, within the memory that there is.

    Parameters
    ----------
    part : ImagePart
        Which.
    content : bytes, PIL.Image.Image or ndarray
        The whole image's.

    Raises
    ------
    ImageError
        See `ImagePart.cut`.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(content, bytes) and (opened := _opened(content)) is not None:
            image = stack.enter_context(opened)
            stack.enter_context(_BUDGET.claim(image.width * image.height))
        return part.cut(content)


def _opened(data: bytes) -> Image.Image | None:
    """Open an image with PIL, which reads the header; None if it can't."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception:  # nearly anything, on damaged bytes; `read_rgb` meets it again and tells
        return None


def _decoded(
    data: bytes, image: Image.Image, preprocess: Preprocess
) -> tuple[np.ndarray, tuple[int, int]]:
    """Decode an opened file to RGB pixels, and return its size too."""
    if preprocess.decode == "scaled":
        if (size := _drafted(image, preprocess)) is not None:
            return _by_pil(image, preprocess), size
    elif (fast := _decode_fast(data, image, preprocess.exif)) is not None:
        return fast, (fast.shape[0], fast.shape[1])
    # From the bytes: what was looked at already may have been left half-way through its metadata.
    pixels = _by_pil(data, preprocess)
    return pixels, (pixels.shape[0], pixels.shape[1])


def _by_pil(source: bytes | Image.Image | np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Decode with PIL to RGB pixels, in a new array.

    torch warns of read-only arrays. Silencing that would need the warning filters, which belong to
    the whole process and can't be changed safely from one of several threads.
    """
    return np.array(read_rgb(source, exif=preprocess.exif))


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
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    try:
        resized = torch.nn.functional.interpolate(
            batch, size=size, mode=preprocess.interpolation, antialias=True
        )
    except RuntimeError as error:
        if "allocate memory" not in str(error):
            raise
        raise MemoryError(str(error)) from error
    return resized[0].permute(1, 2, 0).numpy()


def _decode_fast(data: bytes, image: Image.Image, exif: bool) -> np.ndarray | None:
    """Decode with torchvision to RGB pixels; None if PIL has to do it."""
    decoder = _decoder()
    if decoder is None or not _is_plain(image, exif):
        return None
    try:
        tensor = decoder(torch.frombuffer(bytearray(data), dtype=torch.uint8), _RGB, False)
    except RuntimeError:  # damaged: PIL knows whether it is usable, and the reason if not
        return None
    pixels: np.ndarray = tensor.permute(1, 2, 0).numpy()
    return pixels


@functools.cache
def _decoder() -> Any:
    """The decoder in torchvision's binary, if it has one, because its Python API is deprecated."""
    import torchvision.io  # brings the binary in

    assert torchvision.io is not None
    return getattr(torch.ops.image, "decode_image", None)


def _is_plain(image: Image.Image, exif: bool) -> bool:
    """Whether torchvision gives PIL's pixels: for a JPEG, grey or RGB, of usual size."""
    maximum = Image.MAX_IMAGE_PIXELS
    if image.format != "JPEG" or image.mode not in ("L", "RGB"):
        return False
    if maximum is not None and image.width * image.height > maximum:
        return False
    return not exif or orientation_of(image) == 1


def _drafted(image: Image.Image, preprocess: Preprocess) -> tuple[int, int] | None:
    """Have a JPEG decoded at 1/2, 1/4 or 1/8 of its size; return its size, if it is known."""
    if image.format not in ("JPEG", "MPO"):  # PIL turns TIFFs itself, and at full size
        return None
    orientation = orientation_of(image) if preprocess.exif else 1
    if not orientation:
        return None
    width, height = image.size
    size = (width, height) if orientation >= 5 else (height, width)
    wanted = [_MARGIN * side for side in resized_size(size, preprocess)]
    if orientation >= 5:
        wanted.reverse()
    image.draft(None, (wanted[1], wanted[0]))
    return size
