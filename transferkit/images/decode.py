"""From bytes to RGB pixels, and from these to the network's 8-bit input."""

import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from transferkit.spec import Preprocess

__all__ = ["ImageError", "crop_fraction", "prepare", "read_rgb", "upscale_factor"]

# Raster formats that PIL decodes by itself; EPS, say, would start Ghostscript. JPEGs of
# several pictures (MPO, from cameras) open as JPEG.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP")
_SHOWN_FORMATS = "JPEG, PNG, GIF, BMP, PPM, TIFF and WebP"


class ImageError(ValueError):
    """An image that can't be used; the message is the reason in plain words."""


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
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        if not data:
            raise ImageError("empty file (0 bytes)")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _to_rgb(image, exif)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(_reason(error)) from error


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
            f"32-bit pixels (PIL mode {image.mode}) have no fixed range; "
            "convert the image to 8 or 16 bits"
        )
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


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


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        advice = "a decompression bomb? if it is genuine, increase PIL.Image.MAX_IMAGE_PIXELS"
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


def prepare(image: Image.Image, preprocess: "Preprocess") -> np.ndarray:
    """Resize and crop an image to the network's input.

    To the pixel what timm's evaluation transform gives before it normalises.

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
        If keeping the aspect ratio would enlarge a very long, thin image to more pixels than
        `read_rgb` accepts.

    References
    ----------
    R. Wightman, PyTorch Image Models (2019), ``transforms_imagenet_eval``.
    """
    height, width = _resized_size((image.height, image.width), preprocess)
    maximum = Image.MAX_IMAGE_PIXELS
    if maximum is not None and height * width > 2 * maximum:
        raise ImageError(
            f"{image.width} × {image.height} pixels are too long and thin: the shorter side at "
            f"the network's size makes {width} × {height}; crop the image"
        )
    filter_ = Image.Resampling[preprocess.interpolation.upper()]
    resized = image.resize((width, height), filter_)

    out_height, out_width = preprocess.image_size
    top, bottom, pad_top = _centre(height, out_height)
    left, right, pad_left = _centre(width, out_width)
    view = np.array(resized.crop((left, top, right, bottom)))
    if view.shape[:2] == (out_height, out_width):
        return view
    is_border = preprocess.crop_mode == "border"
    fill = [round(255 * m) for m in preprocess.mean] if is_border else [0]
    padded = np.full((out_height, out_width, 3), fill, dtype=np.uint8)
    padded[pad_top : pad_top + view.shape[0], pad_left : pad_left + view.shape[1]] = view
    return padded


def _resized_size(size: tuple[int, int], preprocess: "Preprocess") -> tuple[int, int]:
    """Height and width that an image of this size is resized to, before the crop."""
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


def _centre(length: int, wanted: int) -> tuple[int, int, int]:
    """First and last + 1 pixel of the centre of one axis, and the padding before it."""
    if length < wanted:
        return 0, length, (wanted - length) // 2
    start = round((length - wanted) / 2)
    return start, start + wanted, 0


def crop_fraction(size: tuple[int, int], preprocess: "Preprocess") -> float:
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


def upscale_factor(size: tuple[int, int], preprocess: "Preprocess") -> float:
    """How much an image is enlarged, along the side that is enlarged most.

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
