"""`Masks`, the pixels of several objects of one image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._regions import Region, region_of_mask
from transferkit.images import Frame

__all__ = ["Masks", "nearest_pixels"]


class Masks:
    """Pixels of several objects, each held within the smallest rectangle around it.

    Crowded images have hundreds of objects, and a mask of the whole image for each would not fit
    into memory. An index gives one mask of the whole image, an array of indices or of bool gives
    several `Masks`; ``np.asarray`` makes one array of all of them.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image, px.
    regions : sequence of Region
        One for each object.

    Examples
    --------
    >>> masks = Masks.of_array(np.array([[[True, True], [False, False]], np.eye(2, dtype=bool)]))
    >>> masks.shape, masks.areas.tolist(), masks.boxes.tolist()
    ((2, 2, 2), [2, 2], [[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 2.0, 2.0]])
    >>> masks.overlaps(masks).round(3).tolist()
    [[1.0, 0.333], [0.333, 1.0]]
    """

    def __init__(self, size: tuple[int, int], regions: Sequence[Region]) -> None:
        self.size, self.regions = (int(size[0]), int(size[1])), tuple(regions)

    @classmethod
    def of_array(cls, masks: Any) -> Masks:
        """Take masks of the whole image, of shape (m, height, width)."""
        array = np.asarray(masks)
        if array.ndim != 3:
            raise ValueError(f"masks have shape {array.shape}; give (m, height, width)")
        regions = [region_of_mask(mask.astype(bool)) for mask in array]
        return cls((array.shape[1], array.shape[2]), regions)

    def __len__(self) -> int:
        return len(self.regions)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of objects, height and width of the image, px."""
        return len(self), *self.size

    @overload
    def __getitem__(self, index: int) -> NDArray[np.bool_]: ...
    @overload
    def __getitem__(self, index: slice | Sequence[Any] | NDArray[Any]) -> Masks: ...
    def __getitem__(self, index: Any) -> Any:
        """One mask of the whole image, or the masks of several objects."""
        if isinstance(index, int | np.integer):
            mask = np.zeros(self.size, dtype=bool)
            self.regions[int(index)].paint(mask, True)
            return mask
        at = np.arange(len(self))[index]
        return Masks(self.size, [self.regions[i] for i in at.tolist()])

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = np.zeros(self.shape, dtype=bool)
        for mask, region in zip(array, self.regions, strict=True):
            region.paint(mask, True)
        return array if dtype is None else array.astype(dtype)

    @property
    def areas(self) -> NDArray[np.int64]:
        """Number of pixels of each object."""
        return np.array([region.area for region in self.regions], dtype=np.int64)

    @property
    def boxes(self) -> NDArray[np.float64]:
        """Left, top, right and bottom edge of each object, px; 0 for one without pixels."""
        return np.array([region.box for region in self.regions], dtype=np.float64).reshape(-1, 4)

    def overlaps(self, others: Masks, is_crowd: NDArray[Any] | None = None) -> NDArray[np.float64]:
        """Intersection over union of every mask with every other one.

        Parameters
        ----------
        others : Masks
            Of the same image.
        is_crowd : ndarray of bool, shape (k,), optional
            Other masks that hold many objects: the intersection is divided by the own area, as
            COCO does.

        Returns
        -------
        ndarray of shape (m, k)
            From 0 to 1; 0 for masks without pixels.
        """
        areas, other_areas, boxes = self.areas, others.areas, others.boxes
        result = np.zeros((len(self), len(others)))
        for i, region in enumerate(self.regions):
            left, top, right, bottom = region.box
            is_near = (boxes[:, 0] < right) & (boxes[:, 2] > left)
            is_near &= (boxes[:, 1] < bottom) & (boxes[:, 3] > top)
            for k in np.flatnonzero(is_near).tolist():
                shared = region.shared(others.regions[k])
                crowd = is_crowd is not None and bool(is_crowd[k])
                whole = areas[i] if crowd else areas[i] + other_areas[k] - shared
                result[i, k] = shared / whole if shared else 0.0
        return result

    def moved(self, frame: Frame, size: tuple[int, int]) -> Masks:
        """Masks of another image, each pixel that of the nearest one here.

        Parameters
        ----------
        frame : Frame
            From this image's px to the other's.
        size : (int, int)
            Height and width of the other, px.
        """
        return Masks(size, [_moved(region, frame, self.size, size) for region in self.regions])


def nearest_pixels(
    frame: Frame, source: tuple[int, int], target: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Rows and columns of the source nearest to the target's, and whether they are inside.

    Where the frame exchanges x and y, they are those of the source transposed.

    Parameters
    ----------
    frame : Frame
        From the source's px to the target's.
    source, target : (int, int)
        Height and width of each, px.
    """
    if frame.is_transposed:
        source = source[::-1]
    positions, insides = [], []
    for axis in (0, 1):
        scale, offset = frame.scale[1 - axis], frame.offset[1 - axis]
        centres = (np.arange(target[axis]) + 0.5 - offset) / scale
        at = np.floor(centres).astype(np.intp)
        insides.append((centres >= 0) & (centres < source[axis]))
        positions.append(at.clip(0, source[axis] - 1))
    return positions[0], positions[1], insides[0][:, None] & insides[1]


def _moved(
    region: Region, frame: Frame, source: tuple[int, int], target: tuple[int, int]
) -> Region:
    """Pixels of an object in another image; only the part where it can lie is looked at."""
    if not region.area:
        return Region(0, 0, np.zeros((0, 0), dtype=bool))
    ((left, top, right, bottom),) = frame.forward_boxes([region.box])
    low = int(max(np.floor(top), 0)), int(max(np.floor(left), 0))
    high = int(min(np.ceil(bottom), target[0])), int(min(np.ceil(right), target[1]))
    size = high[0] - low[0], high[1] - low[1]
    if min(size) <= 0:
        return Region(0, 0, np.zeros((0, 0), dtype=bool))
    # From the px of the region's own rectangle to those of the part.
    own = Frame((1, 1), (region.left, region.top)).then(frame)
    own = own.then(Frame((1, 1), (-low[1], -low[0])))
    rows, columns, is_inside = nearest_pixels(own, region.pixels.shape, size)
    pixels = region.pixels.T if frame.is_transposed else region.pixels
    part = region_of_mask(pixels[np.ix_(rows, columns)] & is_inside)
    return Region(part.top + low[0], part.left + low[1], part.pixels)
