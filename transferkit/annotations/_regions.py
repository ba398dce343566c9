"""Pixels of an object, held within the smallest rectangle that they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Region", "region_of_mask", "region_of_polygons", "united_regions"]

# Crossings of edges and rows that are held at a time.
_AT_A_TIME = 2**20


@dataclass(frozen=True, eq=False)
class Region:
    """Pixels of an object.

    Parameters
    ----------
    top, left : int
        Row and column of `pixels` in the image.
    pixels : ndarray of bool, shape (height, width)
        Which of the rectangle's pixels belong to the object.
    """

    top: int
    left: int
    pixels: NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.pixels.sum())

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom edge of the rectangle, px."""
        height, width = self.pixels.shape
        return self.left, self.top, self.left + width, self.top + height

    def shared(self, other: Region) -> int:
        """Number of pixels that are another object's too."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.pixels.shape[0], other.top + other.pixels.shape[0])
        right = min(self.left + self.pixels.shape[1], other.left + other.pixels.shape[1])
        if bottom <= top or right <= left:
            return 0
        parts = [
            one.pixels[top - one.top : bottom - one.top, left - one.left : right - one.left]
            for one in (self, other)
        ]
        return int(np.count_nonzero(parts[0] & parts[1]))

    def paint(self, canvas: NDArray[Any], value: Any) -> None:
        """Set the object's pixels in an array (height, width) of the image."""
        height, width = self.pixels.shape
        part = canvas[self.top : self.top + height, self.left : self.left + width]
        part[self.pixels] = value


def region_of_mask(mask: NDArray[np.bool_]) -> Region:
    """Cut a mask of the whole image to its object."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return Region(0, 0, mask[:0, :0])
    (top, bottom), (left, right) = rows[[0, -1]], columns[[0, -1]]
    pixels = mask[top : bottom + 1, left : right + 1].copy()
    return Region(int(top), int(left), pixels)


def united_regions(regions: Sequence[Region]) -> Region:
    """Pixels that are in any of some regions."""
    filled = [region for region in regions if region.pixels.size]
    if len(filled) < 2:
        return (filled or regions)[0]
    boxes = np.array([region.box for region in filled], dtype=np.int64)
    (left, top), (right, bottom) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    pixels = np.zeros((bottom - top, right - left), dtype=bool)
    for region in filled:
        Region(region.top - top, region.left - left, region.pixels).paint(pixels, True)
    return Region(int(top), int(left), pixels)


def region_of_polygons(polygons: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> Region:
    """Fill polygons: the pixels whose centres are in any of them.

    What leaves the image is cut off. A centre on an edge belongs to the side on the right, or
    below: of polygons that share an edge, each pixel is in exactly one.

    Parameters
    ----------
    polygons : sequence of ndarray of shape (n, 2)
        Corners (x, y) of each, px.
    size : (int, int)
        Height and width of the image, px.
    """
    end = size[1], size[0]
    bounds = [
        (np.floor(polygon.min(0)).clip(0, end), np.ceil(polygon.max(0)).clip(0, end))
        for polygon in polygons
    ]
    if not bounds:
        return Region(0, 0, np.zeros((0, 0), dtype=bool))
    left, top = np.min([low for low, _ in bounds], axis=0).astype(int).tolist()
    right, bottom = np.max([high for _, high in bounds], axis=0).astype(int).tolist()
    mask = np.zeros((bottom - top, right - left), dtype=bool)
    for polygon, (low, high) in zip(polygons, bounds, strict=True):
        (x, y), (u, v) = low.astype(int).tolist(), high.astype(int).tolist()
        part = mask[y - top : v - top, x - left : u - left]
        part |= _filled(polygon - low, part.shape)
    found = region_of_mask(mask)
    return Region(found.top + top, found.left + left, found.pixels)


def _filled(corners: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels to whose left the polygon's edges are crossed an odd number of times."""
    height, width = shape
    first, second = corners, np.roll(corners, -1, axis=0)
    is_upward = (first[:, 1] > second[:, 1])[:, None]
    upper, lower = np.where(is_upward, second, first), np.where(is_upward, first, second)
    # Rows whose centres are in [upper, lower), so that a corner is met once.
    begin = np.ceil(upper[:, 1] - 0.5).clip(0, height).astype(np.int64)
    n_rows = np.ceil(lower[:, 1] - 0.5).clip(0, height).astype(np.int64) - begin
    crossings = np.zeros(height * (width + 1), dtype=np.int64)
    step = max(1, _AT_A_TIME // max(1, height))
    for start in range(0, len(corners), step):
        part = slice(start, start + step)
        edge = np.repeat(np.arange(len(n_rows))[part], n_rows[part])
        inner = np.arange(len(edge)) - np.repeat(
            np.cumsum(n_rows[part]) - n_rows[part], n_rows[part]
        )
        row = begin[edge] + inner
        (x, y), (far_x, far_y) = upper[edge].T, lower[edge].T
        at = x + (row + 0.5 - y) * (far_x - x) / (far_y - y)
        column = np.ceil(at - 0.5).clip(0, width).astype(np.int64)
        crossings += np.bincount(row * (width + 1) + column, minlength=len(crossings))
    return (crossings.reshape(height, width + 1).cumsum(1)[:, :width] & 1).astype(bool)
