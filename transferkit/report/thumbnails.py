"""Small JPEGs of images, for pages."""

from __future__ import annotations

import io
from typing import Any

from numpy.typing import NDArray
from PIL import Image

__all__ = ["thumbnail"]


def thumbnail(pixels: NDArray[Any] | Image.Image, side: int = 160, quality: int = 80) -> bytes:
    """Shrink an image into a square and encode it; a smaller image keeps its size.

    Parameters
    ----------
    pixels : ndarray of shape (h, w, 3) or PIL.Image.Image
        uint8, RGB.
    side : int, default=160
        Of the square, px.
    quality : int, default=80
        JPEG's, from 1 to 95.

    Returns
    -------
    bytes
        A JPEG file.

    Examples
    --------
    >>> import numpy as np
    >>> Image.open(io.BytesIO(thumbnail(np.zeros((50, 300, 3), np.uint8), 100))).size
    (100, 17)
    """
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality)
    return file.getvalue()
