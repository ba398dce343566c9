"""Coordinates: map points of an image to the network's input, and back.

Coordinates are those of edges, in px: ``x`` runs from 0 at the left edge of the first column
to the width at the right edge of the last, ``y`` downwards likewise. The centre of the pixel
in row i and column j is the point ``(j + 0.5, i + 0.5)``; a box that covers just this pixel is
``(j, i, j + 1, i + 1)``. Resizing maps edges to edges, so it is a multiplication and nothing
else. Who counts from the centres of pixels adds 0.5 first, and takes it away afterwards.

The image is the one that was decoded, after its EXIF orientation was applied if
`Preprocess.exif` says so: its size is what `Extraction.sizes` tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from transferkit.images.geometry import corner, resized_size
from transferkit.images.oriented import canonical_oriented

if TYPE_CHECKING:
    from transferkit.spec import Preprocess

__all__ = ["Frame", "frame_of"]


@dataclass(frozen=True)
class Frame:
    """An affine map from the image's px to the network's: ``scale * point + offset``.

    Parameters
    ----------
    scale : (float, float)
        Network px per image px along the network's x and y; negative where the axis is mirrored.
    offset : (float, float)
        Network px of the image's corner (0, 0); negative where it was cropped away.
    is_transposed : bool, default=False
        Whether x and y of a point are exchanged before they are scaled, as in a quarter turn.

    Raises
    ------
    ValueError
        If a scale is 0 or a number isn't finite.

    Examples
    --------
    An image of 100 × 200 px, enlarged twice; then its left half, mirrored:

    >>> frame = Frame((2, 2), (0, 0)).then(Frame.crop((0, 0, 200, 200), (200, 200)))
    >>> frame = frame.then(Frame.flip(200))
    >>> frame.forward_points([[25, 10]])
    array([[150.,  20.]])
    >>> frame.back_boxes(frame.forward_boxes([[10, 20, 30, 50]]))
    array([[10., 20., 30., 50.]])
    """

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    is_transposed: bool = False

    def __post_init__(self) -> None:
        if not np.isfinite([self.scale, self.offset]).all() or 0 in self.scale:
            raise ValueError(
                f"scale is {self.scale} and offset {self.offset}; give finite numbers, and no "
                "scale of 0"
            )

    @classmethod
    def crop(cls, box: tuple[float, float, float, float], size: tuple[int, int]) -> Frame:
        """Map of an image to a part of it that is resized.

        Parameters
        ----------
        box : (float, float, float, float)
            The part: left, top, right and bottom edge, px.
        size : (int, int)
            Height and width that it is resized to, px.
        """
        left, top, right, bottom = box
        scale = size[1] / (right - left), size[0] / (bottom - top)
        return cls(scale, (-left * scale[0], -top * scale[1]))

    @classmethod
    def flip(cls, width: float) -> Frame:
        """Map of an image of some width to its mirror image, left to right."""
        return cls((-1.0, 1.0), (float(width), 0.0))

    @classmethod
    def turn(cls, quarters: int, size: tuple[float, float]) -> Frame:
        """Map of an image to one that is turned counter-clockwise by multiples of 90 degrees.

        Parameters
        ----------
        quarters : int
            How many quarter turns.
        size : (float, float)
            The image's height and width, px. After an odd number of turns they are exchanged.

        Examples
        --------
        >>> Frame.turn(1, (100, 200)).forward_points([[200, 0], [0, 0]]).tolist()
        [[0.0, 0.0], [0.0, 200.0]]
        """
        height, width = size
        scale, offset, is_transposed = (
            ((1.0, 1.0), (0.0, 0.0), False),
            ((1.0, -1.0), (0.0, float(width)), True),
            ((-1.0, -1.0), (float(width), float(height)), False),
            ((-1.0, 1.0), (float(height), 0.0), True),
        )[quarters % 4]
        return cls(scale, offset, is_transposed)

    @property
    def is_mirrored(self) -> bool:
        """Whether the map mirrors the image, so that clockwise becomes counter-clockwise."""
        return (self.scale[0] * self.scale[1] < 0) != self.is_transposed

    @property
    def inverse(self) -> Frame:
        """Map from the network's px to the image's."""
        (a, b), (x, y) = self.scale, self.offset
        if self.is_transposed:
            return Frame((1 / b, 1 / a), (-y / b, -x / a), True)
        return Frame((1 / a, 1 / b), (-x / a, -y / b))

    def then(self, other: Frame) -> Frame:
        """Compose this map with another that follows it, such as that of an augmented view."""
        own = self.scale[::-1] if other.is_transposed else self.scale
        scale = own[0] * other.scale[0], own[1] * other.scale[1]
        ((x, y),) = other.forward_points([self.offset]).tolist()
        return Frame(scale, (x, y), self.is_transposed != other.is_transposed)

    def forward_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points from the image's px to the network's.

        Parameters
        ----------
        points : array of shape (n, 2)
            x and y of each, px of the image.
        """
        return self._exchanged(_checked(points, 2)) * self.scale + self.offset

    def back_points(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points from the network's px to the image's.

        Parameters
        ----------
        points : array of shape (n, 2)
            x and y of each, px of the network's input.
        """
        return self._exchanged((_checked(points, 2) - self.offset) / self.scale)

    def _exchanged(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return points[:, ::-1] if self.is_transposed else points

    def forward_boxes(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map upright boxes to the network's px. Parts outside of its input aren't cut off.

        Parameters
        ----------
        boxes : array of shape (n, 4)
            Left, top, right and bottom edge of each, px of the image.
        """
        return _boxes(self.forward_points(_checked(boxes, 4).reshape(-1, 2)))

    def back_boxes(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map upright boxes to the image's px. Parts outside of the image aren't cut off.

        Parameters
        ----------
        boxes : array of shape (n, 4)
            Left, top, right and bottom edge of each, px of the network's input.
        """
        return _boxes(self.back_points(_checked(boxes, 4).reshape(-1, 2)))

    def forward_oriented(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map oriented boxes to the network's px.

        Where both axes are scaled alike that is exact. Otherwise a rectangle becomes a
        parallelogram, of which the rectangle keeps centre, area, and the way and the length of
        the longer side.

        Parameters
        ----------
        boxes : array of shape (n, 5)
            px of the image; see `transferkit.images.oriented`.
        """
        given = _checked(boxes, 5)
        turn = np.deg2rad(given[:, 4])
        ends = given[:, 2:3] * np.stack([np.cos(turn), -np.sin(turn)], 1)
        moved = self._exchanged(ends) * self.scale
        length = np.linalg.norm(moved, axis=1)
        area = given[:, 2] * given[:, 3] * abs(self.scale[0] * self.scale[1])
        width = np.divide(area, length, out=np.zeros_like(area), where=length > 0)
        angle = np.rad2deg(np.arctan2(-moved[:, 1], moved[:, 0]))
        centre = self.forward_points(given[:, :2])
        return canonical_oriented(np.stack([*centre.T, length, width, angle], 1))

    def back_oriented(self, boxes: ArrayLike) -> NDArray[np.float64]:
        """Map oriented boxes to the image's px; see `forward_oriented`.

        Parameters
        ----------
        boxes : array of shape (n, 5)
            px of the network's input.
        """
        return self.inverse.forward_oriented(boxes)


def frame_of(size: tuple[int, int], preprocess: Preprocess, view: Frame | None = None) -> Frame:
    """Map of an image's px to those of the network's input that `prepare` makes of it.

    Parameters
    ----------
    size : (int, int)
        The image's height and width, px, after its EXIF orientation was applied if
        ``preprocess.exif`` says so.
    preprocess : Preprocess
        How it is resized and cropped.
    view : Frame, optional
        From the plain input to an augmented view of it.

    Returns
    -------
    Frame
        Exact where the image was decoded whole. With ``decode="scaled"`` libjpeg rounds the
        size of a JPEG up, which moves a point by less than half a px of the network's input.

    Raises
    ------
    ImageError
        See `resized_size`.

    Examples
    --------
    >>> from transferkit.spec import Preprocess
    >>> preprocess = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
    >>> frame_of((512, 1024), preprocess)
    Frame(scale=(0.5, 0.5), offset=(-144.0, -16.0), is_transposed=False)
    """
    height, width = resized_size(size, preprocess)
    top, left = corner((height, width), preprocess.image_size)
    frame = Frame((width / size[1], height / size[0]), (float(left), float(top)))
    return frame if view is None else frame.then(view)


def _checked(values: ArrayLike, n: int) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != n:
        what = {
            2: "points x, y",
            4: "boxes left, top, right, bottom",
            5: "oriented boxes x, y, length, width, angle",
        }[n]
        raise ValueError(f"array of shape {array.shape}; give {what} as (n, {n})")
    return array


def _boxes(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make boxes of two corners each, with left and top first even if an axis was mirrored."""
    pairs = np.sort(corners.reshape(-1, 2, 2), axis=1)
    return pairs.reshape(-1, 4)
