"""Read an image's own values, whatever its file's format."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from transferkit.images.decode import FORMATS, ImageError, read_rgb, reason_of
from transferkit.images.formats import format_of
from transferkit.images.items import Content
from transferkit.images.values import ImageValues, arranged, check_size, rgb_of_values

if TYPE_CHECKING:
    from transferkit.spec import Preprocess

__all__ = ["read_values", "rendered"]


def read_values(content: Content, preprocess: Preprocess) -> ImageValues:
    """Decode an image to its own values, of any type, range and number of channels.

    Parameters
    ----------
    content : bytes, PIL.Image.Image or ndarray
        A file's bytes, or an image in memory. What PIL reads is 8-bit grey or RGB, as `read_rgb`
        makes it, or 16-bit grey.
    preprocess : Preprocess
        Layout of arrays, and whether the EXIF orientation is applied.

    Raises
    ------
    ImageError
        If it can't be read.
    """
    if isinstance(content, np.ndarray):
        return ImageValues(_array(content, preprocess.layout))
    if isinstance(content, bytes):
        if not content:
            raise ImageError("empty file (0 bytes)")
        if (form := format_of(content)) is not None:
            return form.read(content, preprocess.layout)
        return ImageValues(_picture(content, preprocess.exif))
    if content.mode.startswith("I") or content.mode == "F":
        raise ImageError(
            f"a PIL image of mode {content.mode}; give its values as an array, np.asarray(image)"
        )
    return ImageValues(_eight_bits(content, content.mode, preprocess.exif))


def rendered(content: Content, preprocess: Preprocess) -> Image.Image:
    """Picture of an image to be looked at, as the network's preprocessing sees it.

    Parameters
    ----------
    content : bytes, PIL.Image.Image or ndarray
        The image.
    preprocess : Preprocess
        Of the backbone. Unless it makes images 8-bit RGB, the first three channels that it
        takes are shown as RGB, or the first as grey, in the stated range.

    Raises
    ------
    ImageError
        If it can't be read.
    """
    if preprocess.is_rgb:
        return read_rgb(content, exif=preprocess.exif)
    return rgb_of_values(read_values(content, preprocess), preprocess)


def _array(array: NDArray[Any], layout: str) -> NDArray[Any]:
    if array.dtype.kind not in "biuf" or array.ndim not in (2, 3) or 0 in array.shape:
        raise ImageError(
            f"array of dtype {array.dtype} and shape {array.shape}; give numbers of shape (H, W), "
            "(H, W, C) or (C, H, W)"
        )
    check_size(array.shape)
    return arranged(array, layout)


def _picture(data: bytes, exif: bool) -> NDArray[Any]:
    """Values of a file that PIL reads: 8 bits, or 16 of grey."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_depth(image, data)
            # Older PIL opens 16-bit grey as 32-bit integers.
            if not image.mode.startswith("I"):
                return _eight_bits(data, image.mode, exif)
            image.load()
            upright = ImageOps.exif_transpose(image) if exif else image
            return np.asarray(upright).astype(np.uint16)[:, :, np.newaxis]
    except ImageError:
        raise
    except Exception as error:  # as in `read_rgb`, which tells the reason
        raise ImageError(reason_of(error)) from error


def _check_depth(image: Image.Image, data: bytes) -> None:
    """Raise an ImageError if PIL would bring values to 8 bits by itself."""
    tiles: Any = getattr(image, "tile", None) or [("raw",)]
    is_deep_png = image.format == "PNG" and data[24] == 16 and image.mode not in ("I", "I;16")
    is_deep_ppm = image.format == "PPM" and tiles[0][0] != "raw"
    if is_deep_png or is_deep_ppm:
        raise ImageError(
            f"a {image.format} whose values PIL brings to another depth; save it as TIFF or .npy"
        )


def _eight_bits(source: bytes | Image.Image, mode: str, exif: bool) -> NDArray[np.uint8]:
    pixels = np.asarray(read_rgb(source, exif=exif))
    return pixels[:, :, :1] if mode in ("1", "L", "LA", "La") else pixels
