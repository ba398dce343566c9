"""What formats of oriented boxes share: quadrilaterals made rectangles, and boxes that are mended.

Everything here speaks of boxes as `transferkit.images.oriented` has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._annotations import Annotations
from transferkit.annotations._boxes import TOLERANCE, fields_of_objects
from transferkit.annotations._masks import Masks
from transferkit.images.oriented import (
    canonical_oriented,
    corners_of_oriented,
    oriented_of_corners,
    upright_of_oriented,
)

__all__ = [
    "MAX_PX",
    "MendedOriented",
    "annotations_of_oriented",
    "mended_oriented",
    "oriented_of_quads",
]

MAX_PX = 1e7
"""Largest number that is taken as a coordinate or a side, px."""
# Corners of a box without area make one with sides of a rounding error.
_MIN_SIDE = 1e-6


class MendedOriented(NamedTuple):
    """Oriented boxes of a file, checked.

    Parameters
    ----------
    oriented : ndarray of shape (m, 5)
        The boxes; those that leave the image aren't cut off.
    upright : ndarray of shape (m, 4)
        The upright boxes around them, cut off at the image's edges.
    kept : ndarray of bool, shape (m,)
        Which of them to keep.
    remarks : list of str
        What was wrong and what was done about it, a sentence each.
    """

    oriented: NDArray[np.float64]
    upright: NDArray[np.float64]
    kept: NDArray[np.bool_]
    remarks: list[str]


def oriented_of_quads(
    corners: NDArray[np.float64], names: Sequence[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Oriented boxes of quadrilaterals, and a remark if some of these are no rectangles.

    Parameters
    ----------
    corners : ndarray of shape (m, 4, 2)
        x and y of each corner, px, in either direction.
    names : sequence of str
        What messages call each.

    Returns
    -------
    boxes : ndarray of shape (m, 5)
        Of the rectangles, or the smallest ones around.
    remarks : list of str
        At most one, since files of some sets have such quadrilaterals by the hundred.

    Raises
    ------
    ValueError
        If a coordinate is no number of px.

    Examples
    --------
    >>> quads = np.array([[[1.0, 4], [9, 4], [9, 6], [1, 6]], [[0, 0], [9, 0], [9, 6], [3, 6]]])
    >>> boxes, remarks = oriented_of_quads(quads, ["a", "b"])
    >>> boxes.tolist()
    [[5.0, 5.0, 8.0, 2.0, 0.0], [4.5, 3.0, 9.0, 6.0, 0.0]]
    >>> remarks
    ['b: its four corners are no rectangle, by 3 px; the smallest one around them is taken']
    """
    _check_px(corners.reshape(len(corners), 8), names)
    boxes = oriented_of_corners(corners)
    # How far each corner of the rectangle is from the nearest one of the quadrilateral.
    apart = corners_of_oriented(boxes)[:, :, None] - corners[:, None]
    off = np.linalg.norm(apart, axis=3).min(2).max(1)
    bad = np.flatnonzero(off > TOLERANCE).tolist()
    if not bad:
        return boxes, []
    more = f", as those of {len(bad) - 1} more objects (up to {off.max():.3g} px)"
    return boxes, [
        f"{names[bad[0]]}: its four corners are no rectangle, by {off[bad[0]]:.3g} px"
        f"{more if len(bad) > 1 else ''}; the smallest one around them is taken"
    ]


def mended_oriented(
    boxes: NDArray[np.float64], size: tuple[int, int], names: Sequence[str]
) -> MendedOriented:
    """Put boxes into the one convention; leave out those without area or outside of the image.

    Parameters
    ----------
    boxes : ndarray of shape (m, 5)
        Centre, sides, px, and angle in degrees, counter-clockwise.
    size : (int, int)
        The image's height and width, px.
    names : sequence of str
        What remarks call each box.

    Raises
    ------
    ValueError
        If a number isn't finite, or no number of px.

    Examples
    --------
    >>> boxes = np.array([[30.0, 20, 10, -40, 0], [90, 0, 0, 5, 30], [-9, -9, 20, 2, 45]])
    >>> mended = mended_oriented(boxes, (50, 100), ["a", "b", "c"])
    >>> mended.oriented[mended.kept].tolist(), mended.upright[mended.kept].round(6).tolist()
    ([[30.0, 20.0, 40.0, 10.0, -90.0]], [[25.0, 0.0, 35.0, 40.0]])
    >>> for remark in mended.remarks:
    ...     print(remark)
    a: a side of its box [30, 20, 10, -40, 0] is below 0; taken without the sign
    b: its box [90, 0, 0, 5, 30] has no area; left out
    c: its box [-9, -9, 20, 2, 45] is outside of the image of 100 × 50 px; left out
    """
    _check_px(boxes, names)
    height, width = size
    sides = np.abs(boxes[:, 2:4])
    oriented = canonical_oriented(np.concatenate([boxes[:, :2], sides, boxes[:, 4:]], axis=1))
    has_area: NDArray[np.bool_] = np.asarray((sides > _MIN_SIDE).all(axis=1))
    kept = has_area & _is_inside(oriented, size)
    upright = upright_of_oriented(oriented).clip(0, [width, height, width, height])
    remarks = []
    for i in np.flatnonzero(~kept | (boxes[:, 2:4] < 0).any(axis=1)).tolist():
        its = f"its box [{', '.join(f'{value:g}' for value in boxes[i])}]"
        if not has_area[i]:
            remarks.append(f"{names[i]}: {its} has no area; left out")
        elif not kept[i]:
            where = f"the image of {width} × {height} px"
            remarks.append(f"{names[i]}: {its} is outside of {where}; left out")
        else:
            remarks.append(f"{names[i]}: a side of {its} is below 0; taken without the sign")
    return MendedOriented(oriented, upright, kept, remarks)


def _is_inside(boxes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether any part of each box lies in the image: no side of either separates the two."""
    height, width = size
    low, high = np.split(upright_of_oriented(boxes), 2, axis=1)
    meets = (low < (width, height)).all(1) & (high > 0).all(1)
    turn = np.deg2rad(boxes[:, 4])
    x, y = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float).T
    x, y = x - boxes[:, :1], y - boxes[:, 1:2]
    along = x * np.cos(turn)[:, None] - y * np.sin(turn)[:, None]
    across = x * np.sin(turn)[:, None] + y * np.cos(turn)[:, None]
    for at, side in ((along, boxes[:, 2]), (across, boxes[:, 3])):
        meets &= (at.min(1) < side / 2) & (at.max(1) > -side / 2)
    return np.asarray(meets)


def annotations_of_oriented(
    size: tuple[int, int],
    boxes: NDArray[np.float64],
    labels: Sequence[int],
    names: Sequence[str],
    *,
    scores: Sequence[float | None] = (),
    ignored: Sequence[bool] = (),
    masks: Masks | None = None,
    remarks: Sequence[str] = (),
) -> Annotations:
    """Make annotations of the oriented boxes of an image, mended; with upright boxes beside them.

    Parameters
    ----------
    size : (int, int)
        The image's height and width, px.
    boxes : ndarray of shape (m, 5)
        Centre, sides, px, and angle in degrees, counter-clockwise.
    labels : sequence of int
        Class of each object.
    names : sequence of str
        What remarks call each object.
    scores : sequence of (float or None), optional
        Kept if every object has one.
    ignored : sequence of bool, optional
        Kept if any object is.
    masks : Masks, optional
        Pixels of each object.
    remarks : sequence of str, optional
        What was said of the file before.
    """
    mended = mended_oriented(boxes, size, names)
    return Annotations(
        size,
        boxes=mended.upright[mended.kept],
        oriented=mended.oriented[mended.kept],
        remarks=(*remarks, *mended.remarks),
        **fields_of_objects(mended.kept, labels, scores, ignored, masks),
    )


def _check_px(values: NDArray[np.float64], names: Sequence[str]) -> None:
    is_good = (np.abs(values) <= MAX_PX).all(axis=1)
    if not is_good.all():
        bad = int((~is_good).argmax())
        shown = ", ".join(f"{value:g}" for value in values[bad])
        raise ValueError(f"{names[bad]}: its box [{shown}] isn't in px; give up to {MAX_PX:g}")
