"""NumPy's ``.npy`` files: one array of numbers."""

from __future__ import annotations

import io
import math

import numpy as np

from transferkit.images.decode import ImageError
from transferkit.images.values import ImageValues, arranged, check_size

__all__ = ["IS_PIL_FIRST", "SUFFIXES", "accepts", "read", "shape"]

SUFFIXES = (".npy",)
IS_PIL_FIRST = False

_MAGIC = b"\x93NUMPY"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def accepts(data: bytes) -> bool:
    """Whether a file's bytes are of this format."""
    return data.startswith(_MAGIC)


def shape(data: bytes, layout: str) -> tuple[int, int, int]:
    """Height, width and number of channels."""
    _, sides, _, _ = _header(data)
    if len(sides) == 2:
        return sides[0], sides[1], 1
    first, second, third = sides
    return (second, third, first) if layout == "CHW" else (first, second, third)


def read(data: bytes, layout: str) -> ImageValues:
    """Decode a file's bytes. Nothing in it is run: arrays of Python objects are refused."""
    dtype, sides, is_fortran, at = _header(data)
    n = math.prod(sides)
    if len(data) - at != n * dtype.itemsize:
        raise ImageError(
            f"damaged: {len(data) - at:,} bytes of values, and an array of shape {sides} and "
            f"dtype {dtype} has {n * dtype.itemsize:,}"
        )
    values = np.frombuffer(data, dtype, n, at)
    return ImageValues(arranged(values.reshape(sides, order="F" if is_fortran else "C"), layout))


def _header(data: bytes) -> tuple[np.dtype, tuple[int, ...], bool, int]:
    """Type, shape, order and place of the values; whatever isn't an image is refused."""
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ImageError(f"a .npy file of version {version}; save it as one of version 1.0")
        sides, is_fortran, dtype = _HEADERS[version](file)
    except ImageError:
        raise
    except Exception as error:  # of any kind, on damaged headers
        raise ImageError(f"damaged header of a .npy file ({str(error)[:100]})") from error
    if dtype.kind not in "biuf":
        raise ImageError(f"array of dtype {dtype}; save integers or floats")
    if len(sides) not in (2, 3) or any(side < 1 for side in sides):
        raise ImageError(f"array of shape {sides}; save (H, W), (H, W, C) or (C, H, W)")
    check_size(sides)
    return dtype, sides, is_fortran, file.tell()
