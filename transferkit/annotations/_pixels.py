"""Decode mask files to the numbers in them, without converting palettes or colours."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from transferkit.images import FORMATS, ImageError, read_file
from transferkit.images.decode import reason_of

__all__ = ["MaskPixels", "pack", "pixels_of", "unpack"]


@dataclass(frozen=True, eq=False)
class MaskPixels:
    """What stands in a mask file.

    Parameters
    ----------
    values : ndarray of int, shape (height, width)
        Grey value, place in the palette, or a colour as `pack` makes it a number.
    kind : {"grey", "palette", "colour"}
        Which of these they are.
    depth : int
        Largest value that a pixel of the file can have: 1, 255 or 65535.
    is_lossy : bool, default=False
        Whether the format changes values a little, as JPEG does.
    palette : ndarray of int, shape (n,), optional
        Colours of the palette, packed.
    """

    values: NDArray[Any]
    kind: str
    depth: int = 255
    is_lossy: bool = False
    palette: NDArray[np.int64] | None = None


def pack(colours: NDArray[Any]) -> NDArray[np.int64]:
    """Make one number of red, green and blue along the last axis.

    Examples
    --------
    >>> pack(np.array([1, 2, 3])) == 0x010203
    np.True_
    """
    wide = colours.astype(np.int64)
    packed: NDArray[np.int64] = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed


def unpack(colour: int) -> tuple[int, int, int]:
    """Return the red, green and blue that `pack` made a number of."""
    return int(colour) >> 16, int(colour) >> 8 & 255, int(colour) & 255


def pixels_of(source: str | Path | bytes | Image.Image | NDArray[Any]) -> MaskPixels:
    """Read a mask.

    Parameters
    ----------
    source : str, Path, bytes, PIL.Image.Image or ndarray
        A file, a file's bytes, an image, or an array of shape (height, width) or
        (height, width, 3).

    Raises
    ------
    ImageError
        If it can't be read or is no mask: with the reason in plain words.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    # As in `images.decode`: what PIL's plugins raise on hostile bytes gets one type here.
    try:
        if isinstance(source, Image.Image):
            return _from_image(source)
        data = source if isinstance(source, bytes) else read_file(source)
        if not data:
            raise ImageError("empty file (0 bytes)")
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            raise ImageError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True; set it to False")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _from_image(image)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(reason_of(error)) from error


def _from_image(image: Image.Image) -> MaskPixels:
    image.load()
    if 0 in image.size:
        raise ImageError(f"no pixels (size {image.width} × {image.height})")
    mode, is_lossy = image.mode, image.format == "JPEG"
    if mode in ("P", "PA"):
        indices = np.asarray(image.getchannel(0) if mode == "PA" else image)
        flat = image.getpalette("RGB") or []
        return _from_palette(indices, pack(np.array(flat, dtype=np.int64).reshape(-1, 3)))
    if mode == "1":
        return MaskPixels(np.asarray(image).astype(np.uint8), "grey", depth=1)
    if mode in ("L", "LA"):
        return MaskPixels(np.asarray(image.getchannel(0)), "grey", is_lossy=is_lossy)
    if mode.startswith("I"):  # 16 bits: Pillow's versions differ in what they call them
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise ImageError("32-bit values; give masks of 8 or 16 bits")
        return MaskPixels(values, "grey", depth=65_535)
    if mode in ("RGB", "RGBA", "RGBX"):
        return MaskPixels(pack(np.asarray(image)[..., :3]), "colour", is_lossy=is_lossy)
    raise ImageError(f"PIL mode {mode}; give index, palette or RGB masks of 8 or 16 bits")


def _from_palette(indices: NDArray[Any], palette: NDArray[np.int64]) -> MaskPixels:
    """Take a palette of greys, or of black and white alone, for the grey image that it is."""
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=1))
    if used[-1] < len(palette):
        colours = palette[used]
        if (colours == used * 0x010101).all():
            return MaskPixels(indices, "grey")
        if np.isin(colours, (0, 0xFFFFFF)).all():
            return MaskPixels((palette & 0xFF).astype(np.uint8)[indices], "grey")
    return MaskPixels(indices, "palette", palette=palette)


def _from_array(array: NDArray[Any]) -> MaskPixels:
    if array.dtype.kind not in "biu":
        raise ImageError(f"array of dtype {array.dtype}; give whole numbers, one class per pixel")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8:
        return MaskPixels(pack(array[..., :3]), "colour")
    if array.ndim != 2 or 0 in array.shape:
        raise ImageError(f"array of shape {array.shape}; give (height, width)")
    if array.dtype.kind == "b":
        return MaskPixels(array.astype(np.uint8), "grey", depth=1)
    return MaskPixels(array, "grey", depth=255 if array.dtype == np.uint8 else 65_535)


def name_of(item: Any) -> str:
    """What a message calls a mask: its file, if it has one."""
    return repr(os.fspath(item)) if isinstance(item, str | os.PathLike) else "the mask"
