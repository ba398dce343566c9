"""Read an image's height and width, from its header alone if possible."""

import contextlib
import io
from collections.abc import Sequence
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from transferkit.files import open_regular
from transferkit.images.decode import FORMATS, ImageError, read_rgb, reason_of
from transferkit.images.formats import format_of
from transferkit.images.items import Content, Item, LazyImage, content_of, file_of
from transferkit.images.values import arranged

__all__ = ["orientation_of", "size_of", "typical_size"]

# Images whose headers are read to find the typical size.
_SAMPLED = 500
_EXIF_ORIENTATION = 0x0112
# From this orientation on, height and width are exchanged.
_FIRST_ON_ITS_SIDE = 5
# Bytes of a file by which its format is known.
_HEAD = 132


def size_of(item: Item, *, exif: bool = False, layout: str = "HWC") -> tuple[int, int]:
    """Height and width of an image as `read_rgb` decodes it, px.

    Parameters
    ----------
    item : Path, bytes, PIL.Image.Image, ndarray or LazyImage
        The image. Of a file or its bytes the header is read, and nothing is decoded.
    exif : bool, default=False
        Whether the EXIF orientation is applied.
    layout : {"HWC", "CHW"}, default="HWC"
        Where the channels of an array are.

    Raises
    ------
    OSError, ImageError
        If it can't be read, or is no image.
    TypeError
        If it is a bag of several images.
    """
    if (path := file_of(item)) is not None:
        with open_regular(path) as file:
            return _size_in_header(file, exif, layout)
    if isinstance(item, LazyImage) and item.size is not None:
        return item.size
    content: Content = content_of(item)
    if isinstance(content, bytes):
        return _size_in_header(io.BytesIO(content), exif, layout)
    if isinstance(content, np.ndarray):
        if content.ndim == 3 and (layout == "CHW" or content.dtype != np.uint8):
            height, width = arranged(content, layout).shape[:2]
            return height, width
        content = read_rgb(content)  # or says what is wrong with it
    return _size(content, exif)


def typical_size(
    items: Sequence[Item], *, unit: int = 32, least: int = 256, most: int = 512
) -> tuple[int, int]:
    """Height and width of a network's input that suit some images, px.

    The median of their heights and widths is resized so that the longer side is within bounds,
    and each side is rounded to a multiple of a unit.

    Parameters
    ----------
    items : sequence of Path, bytes, PIL.Image.Image, ndarray or LazyImage
        The images, of which at most 500 are looked at. Those that can't be read don't count.
    unit : int, default=32
        Each side is a multiple of it.
    least, most : int, default=256, 512
        Bounds of the longer side.

    Examples
    --------
    >>> typical_size([np.zeros((480, 640, 3), np.uint8)])
    (384, 512)
    """
    sizes = []
    for i in np.linspace(0, len(items) - 1, min(len(items), _SAMPLED)).astype(int):
        with contextlib.suppress(OSError, ImageError):
            sizes.append(size_of(items[i]))
    height, width = np.median(sizes, axis=0) if sizes else (least, least)
    scale = min(max(1.0, least / max(height, width)), most / max(height, width))
    height, width = (max(round(scale * side / unit), 1) * unit for side in (height, width))
    return int(height), int(width)


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 0 if its metadata are damaged.

    Any other value, such as a text, counts as 1, which turns nothing.
    """
    try:
        value = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # nearly anything, on damaged bytes; `read_rgb` tells the reason
        return 0
    return next((known for known in range(1, 9) if value == known), 1)


def _size_in_header(file: IO[bytes], exif: bool, layout: str) -> tuple[int, int]:
    form = format_of(file.read(_HEAD))
    file.seek(0)
    try:
        if form is not None and not form.IS_PIL_FIRST:
            return form.shape(file.read(), layout)[:2]
        with Image.open(file, formats=FORMATS) as image:
            return _size(image, exif)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        if form is None:
            raise ImageError(reason_of(error)) from error
        file.seek(0)
        return form.shape(file.read(), layout)[:2]
    except Exception as error:  # as in `read_rgb`
        raise ImageError(reason_of(error)) from error


def _size(image: Image.Image, exif: bool) -> tuple[int, int]:
    orientation = orientation_of(image) if exif or image.format == "TIFF" else 1
    if image.format == "TIFF" and orientation != 1:
        # PIL turns TIFF files itself, whatever is asked for; its versions differ in whether
        # the header's size is turned too.
        image = read_rgb(image, exif=exif)
    elif orientation >= _FIRST_ON_ITS_SIDE:
        return image.width, image.height
    return image.height, image.width
