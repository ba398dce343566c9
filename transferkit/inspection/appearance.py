"""What can be seen of images without a network: size, colour, contrast, and a small sketch."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.images import ImageError, ImageSet, read_rgb, rendered
from transferkit.images.formats import format_of
from transferkit.images.items import Item, content_of
from transferkit.images.sizes import orientation_of
from transferkit.inspection.likeness import edges_of
from transferkit.spec import Preprocess

__all__ = ["SKETCH_SIDE", "Appearances", "appearances_of"]

Array = NDArray[Any]
SKETCH_SIDE = 16
"""Height and width of a sketch, px."""
# Sides of the image whose colours are looked at, px.
_SMALL = 64


@dataclass(frozen=True, eq=False)
class Appearances:
    """What is seen of some images; of those that can't be read all is 0.

    Parameters
    ----------
    sizes : ndarray of int, shape (n, 2)
        Height and width, px.
    colour : ndarray of shape (n,)
        Mean difference between a pixel's largest and smallest channel, grey levels.
    contrast : ndarray of shape (n,)
        Standard deviation of the pixels, grey levels.
    orientation : ndarray of int, shape (n,)
        EXIF orientation that isn't applied; 1 if there is none.
    sketches : ndarray of shape (n, SKETCH_SIDE ** 2)
        Edges of the image at a small size, of length 1.
    """

    sizes: Array
    colour: Array
    contrast: Array
    orientation: Array
    sketches: Array

    def mirrored_sketches(self) -> Array:
        """Sketches of the mirror images."""
        square = self.sketches.reshape(-1, SKETCH_SIDE, SKETCH_SIDE)
        return square[:, :, ::-1].reshape(self.sketches.shape)


def appearances_of(
    images: ImageSet,
    *,
    exif: bool = False,
    preprocess: Preprocess | None = None,
    n_threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Appearances:
    """Decode every image once and keep what is seen of it, about 1 kB for each.

    Parameters
    ----------
    images : ImageSet
        The images.
    exif : bool, default=False
        Whether their EXIF orientation is applied.
    preprocess : Preprocess, optional
        Of the backbone, by which images that aren't 8-bit RGB are looked at; see `rendered`.
    n_threads : int, default=1
        That decode.
    progress : callable, optional
        Is called with 1 after each image.
    """
    n = len(images)
    seen = Appearances(
        np.zeros((n, 2), dtype=np.int64),
        np.zeros(n, dtype=np.float32),
        np.zeros(n, dtype=np.float32),
        np.ones(n, dtype=np.int8),
        np.zeros((n, SKETCH_SIDE**2), dtype=np.float32),
    )

    def look(i: int) -> None:
        try:
            _look(seen, i, images.items[i], exif, preprocess)
        except (OSError, ImageError):
            seen.sizes[i] = 0  # the extraction tells the reason

    with ThreadPoolExecutor(n_threads) as pool:
        for _ in pool.map(look, range(n)):
            if progress is not None:
                progress(1)
    return seen


def _look(seen: Appearances, i: int, item: Item, exif: bool, preprocess: Preprocess | None) -> None:
    content = content_of(item)
    if preprocess is None or preprocess.is_rgb:
        image = read_rgb(content, exif=exif)
    else:
        image = rendered(content, preprocess)
    if not exif and isinstance(content, bytes) and format_of(content) is None:
        with Image.open(io.BytesIO(content)) as opened:
            seen.orientation[i] = orientation_of(opened) or 1
    pixels = np.asarray(image.resize((_SMALL, _SMALL), Image.Resampling.BOX), dtype=np.float32)
    seen.sizes[i] = image.height, image.width
    seen.colour[i] = np.ptp(pixels, axis=2).mean()
    seen.contrast[i] = pixels.std(axis=(0, 1)).max()
    seen.sketches[i] = edges_of(image, SKETCH_SIDE).ravel()
