"""Images read to be shown, and small JPEGs of them, for pages."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from transferkit.images import Content, Item
    from transferkit.spec import Preprocess

__all__ = ["picture_of", "thumbnail"]

logger = logging.getLogger(__name__)


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


def picture_of(
    item: Item,
    side: int | None = None,
    *,
    exif: bool = False,
    preprocess: Preprocess | None = None,
) -> Image.Image | None:
    """Decode an image to be shown.

    Parameters
    ----------
    item : Path, bytes, PIL.Image.Image, ndarray, LazyImage or ImageBag
        The image; of several the first.
    side : int, optional
        Of the square in which it will be shown, px: a large JPEG is decoded at a fraction of its
        size, twice this or more. By default at its own size.
    exif : bool, default=False
        Whether the EXIF orientation is applied.
    preprocess : Preprocess, optional
        Of the backbone, by which images that aren't 8-bit RGB are shown; see `rendered`.

    Returns
    -------
    PIL.Image.Image or None
        RGB; None if the image can't be read.
    """
    from transferkit.images import ImageBag, ImageError, content_of, read_rgb, rendered

    single = item.items[0] if isinstance(item, ImageBag) else item
    try:
        content = content_of(single)
        if preprocess is not None and not preprocess.is_rgb:
            return rendered(content, preprocess)
        return read_rgb(content if side is None else _drafted(content, side), exif=exif)
    except (OSError, ImageError) as error:
        logger.debug("no picture of an image: %s", error)
        return None


def _drafted(content: Content, side: int) -> Content:
    """A JPEG as an image that will be decoded at a fraction; anything else as it is."""
    if not (isinstance(content, bytes) and content.startswith(b"\xff\xd8")):
        return content
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
    except Exception:  # PIL raises of any kind on broken headers; `read_rgb` says what is wrong
        return content
    image.draft("RGB", (2 * side, 2 * side))
    return image
