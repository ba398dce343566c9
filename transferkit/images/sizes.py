"""Read an image's height and width, from its header alone if possible."""

import io
from typing import IO

import numpy as np
from PIL import Image

from transferkit.files import open_regular
from transferkit.images.decode import FORMATS, ImageError, read_rgb, reason_of
from transferkit.images.items import Content, Item, content_of, file_of

__all__ = ["orientation_of", "size_of"]

_EXIF_ORIENTATION = 0x0112
# From this orientation on, height and width are exchanged.
_FIRST_ON_ITS_SIDE = 5


def size_of(item: Item, *, exif: bool = False) -> tuple[int, int]:
    """Height and width of an image as `read_rgb` decodes it, px.

    Parameters
    ----------
    item : Path, bytes, PIL.Image.Image, ndarray or LazyImage
        The image. Of a file or its bytes the header is read, and nothing is decoded.
    exif : bool, default=False
        Whether the EXIF orientation is applied.

    Raises
    ------
    OSError, ImageError
        If it can't be read, or is no image.
    TypeError
        If it is a bag of several images.
    """
    if (path := file_of(item)) is not None:
        with open_regular(path) as file:
            return _size_in_header(file, exif)
    content: Content = content_of(item)
    if isinstance(content, bytes):
        return _size_in_header(io.BytesIO(content), exif)
    if isinstance(content, np.ndarray):
        content = read_rgb(content)  # or says what is wrong with it
    return _size(content, exif)


def orientation_of(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 0 if its metadata are damaged.

    Any other value, such as a text, counts as 1, which turns nothing.
    """
    try:
        value = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # nearly anything, on damaged bytes; `read_rgb` tells the reason
        return 0
    return next((known for known in range(1, 9) if value == known), 1)


def _size_in_header(file: IO[bytes], exif: bool) -> tuple[int, int]:
    try:
        with Image.open(file, formats=FORMATS) as image:
            return _size(image, exif)
    except ImageError:
        raise
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
