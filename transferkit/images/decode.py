"""Decode an image's bytes to RGB pixels."""

import errno
import io
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from transferkit.files import open_regular

try:
    from PIL.AvifImagePlugin import SUPPORTED as _HAS_AVIF
except ImportError:  # Pillow before 11.3
    _HAS_AVIF = False

__all__ = [
    "FORMATS",
    "MAX_FILE_BYTES",
    "ImageError",
    "check_file_size",
    "read_file",
    "read_rgb",
    "reason_of",
]

# Raster formats that PIL decodes by itself; EPS, say, would start Ghostscript. JPEGs of
# several pictures (MPO, from cameras) open as JPEG.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP", *(("AVIF",) * _HAS_AVIF))
_SHOWN_FORMATS = f"JPEG, PNG, GIF, BMP, PPM, TIFF, WebP{' and AVIF' * _HAS_AVIF}"

MAX_FILE_BYTES = 2**30
"""Largest file that is read as an image: what stands at PIL's limit of pixels is smaller."""


class ImageError(ValueError):
    """An image can't be used. The message is the reason in plain words."""


def read_file(path: str | Path) -> bytes:
    """Read the bytes of an image's file.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    OSError
        If it can't be read, is no regular file (to open a pipe may take for ever), or is
        larger than `MAX_FILE_BYTES`.
    """
    with open_regular(path) as file:
        check_file_size(os.fstat(file.fileno()).st_size, path)
        return file.read()


def check_file_size(n_bytes: int, path: str | Path) -> None:
    """Raise an OSError if a file is too large to be an image."""
    if n_bytes > MAX_FILE_BYTES:
        raise OSError(
            errno.EFBIG,
            f"{n_bytes / 2**30:.1f} GiB are too large for an image; the limit is "
            f"{MAX_FILE_BYTES / 2**30:.0f} GiB",
            str(path),
        )


def read_rgb(
    source: str | Path | bytes | Image.Image | np.ndarray, *, exif: bool = False
) -> Image.Image:
    """Decode an image to RGB, 8 bits per channel.

    Every kind of image becomes RGB in a way chosen on purpose:

    - grey and black-and-white: the same value in all three channels;
    - transparency of any kind (alpha channel, palette, ``tRNS``): composited over white, so
      colours hidden under transparent pixels don't show;
    - palette, CMYK (also Adobe's inverted and YCCK JPEGs), YCbCr, HSV, LAB: as PIL converts
      them; embedded ICC profiles are not applied;
    - 16-bit grey: the full range scaled to 8 bits and rounded, never clipped; 16-bit RGB:
      the high byte;
    - 32-bit integer and float: an error, because they have no fixed range;
    - NumPy and DICOM files of 8-bit grey or RGB: as they are; others, and TIFFs that PIL doesn't
      read, are errors that say which options tell what their values mean;
    - animations and files of several pages: the first; a PIL image: the frame it is at.

    Parameters
    ----------
    source : str, Path, bytes, PIL.Image.Image or ndarray
        A file, a file's bytes, an image, or uint8 pixels of shape (H, W, 3), (H, W) or
        (H, W, 1).
    exif : bool, default=False
        Whether the EXIF orientation is applied; published protocols don't.

    Returns
    -------
    PIL.Image.Image
        In mode RGB; may be `source` itself.

    Raises
    ------
    ImageError
        If the image is missing, empty, truncated, damaged, of no supported format or of
        more than twice ``PIL.Image.MAX_IMAGE_PIXELS`` pixels.
    RuntimeError
        If ``PIL.ImageFile.LOAD_TRUNCATED_IMAGES`` is set, which would turn truncated files
        into half-grey images, and the same bytes into other features.

    Notes
    -----
    Between once and twice ``PIL.Image.MAX_IMAGE_PIXELS`` the image is decoded and PIL's
    ``DecompressionBombWarning`` passes through: silencing it would need the process-wide
    warning filters, which can't be changed safely from one of several threads.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True, so truncated files would be read as "
            "half-grey images; set it to False (truncated files are then reported by name)"
        )
    # PIL's plugins raise nearly anything on damaged or hostile bytes (SyntaxError, IndexError,
    # struct.error, zlib.error, MemoryError …): this is the border where it gets one type.
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source, exif)
        # Read here, not by PIL, which would map raw formats into memory from a file's name:
        # a file cut off meanwhile would then end the process.
        data = source if isinstance(source, bytes) else read_file(source)
        if not data:
            raise ImageError("empty file (0 bytes)")
        return _from_array_file(data) or _from_file(data, exif)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(reason_of(error)) from error


def _from_array_file(data: bytes) -> Image.Image | None:
    """Decode a file whose format PIL doesn't know; None if it is another."""
    from transferkit.images.formats import format_of  # which imports this file
    from transferkit.images.values import rgb_of_values

    form = format_of(data)
    return None if form is None or form.IS_PIL_FIRST else rgb_of_values(form.read(data, "HWC"))


def _from_file(data: bytes, exif: bool) -> Image.Image:
    from transferkit.images.formats import format_of
    from transferkit.images.values import rgb_of_values

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _to_rgb(image, exif)
    except UnidentifiedImageError:
        if (form := format_of(data)) is None:
            raise
        # PIL takes it for no image, and the format's own library knows what it is.
        return rgb_of_values(form.read(data, "HWC"))


def _to_rgb(image: Image.Image, exif: bool) -> Image.Image:
    image.load()
    if 0 in image.size:
        raise ImageError(f"no pixels (size {image.width} × {image.height})")
    # Older PIL opens 16-bit grey PNG, and all of them 16-bit PGM, as 32-bit integers.
    is_16_bit = image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PNG", "PPM")
    )
    if exif:
        image = ImageOps.exif_transpose(image)
    if is_16_bit:
        return _scale_16_bit(image)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"32-bit pixels (PIL mode {image.mode}) from {_range(image)} have no fixed range; say "
            "what becomes 0 and 1 with value_range=(LOW, HIGH) (--value-range LOW HIGH), or "
            "convert the image to 8 or 16 bits"
        )
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _range(image: Image.Image) -> str:
    values = np.asarray(image)
    finite = values[np.isfinite(values)]
    return f"{finite.min():g} to {finite.max():g}" if finite.size else "NaN to NaN"


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # PIL has no direct way to RGBA
        image = image.convert("LA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _scale_16_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.uint32)
    grey = (values + 128) // 257  # = round(values * 255 / 65535); 257 is odd: no ties
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[values == transparent] = 255
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _from_array(array: np.ndarray) -> Image.Image:
    shape = array.shape
    if array.dtype != np.uint8:
        raise ImageError(
            f"array of dtype {array.dtype}; give uint8 pixels from 0 to 255, "
            "such as (255 * array).round().astype('uint8') if they lie in [0, 1]"
        )
    if array.ndim == 3 and shape[2] == 1:
        array = array[:, :, 0]
    if 0 in shape or not (array.ndim == 2 or (array.ndim == 3 and shape[2] == 3)):
        raise ImageError(f"array of shape {shape}; give (H, W, 3), (H, W) or (H, W, 1)")
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")


def reason_of(error: Exception) -> str:
    """Say in plain words why an image can't be decoded, from the error that PIL raised."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        advice = (
            "a decompression bomb? if it is genuine, increase PIL.Image.MAX_IMAGE_PIXELS, or "
            "--max-megapixels on the command line"
        )
        match [int(n) / 1e6 for n in re.findall(r"\d+", str(error))]:  # PIL tells both in words
            case [pixels, limit]:
                return f"{pixels:.1f} megapixels, above the limit of {limit:.0f} ({advice})"
        return f"too many pixels ({advice})"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image ({_SHOWN_FORMATS} are read)"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f"can't be read: {error.strerror}"
    text = str(error) or type(error).__name__
    if "truncated" in text.lower():
        return "truncated: the end of the file is missing"
    return f"damaged: {text}"
