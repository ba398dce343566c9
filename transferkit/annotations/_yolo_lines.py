"""Lines of YOLO's text files: a box or a polygon each, parsed and written."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._objects import BoxedObject, number, written_number
from transferkit.annotations._polygons import polygons_of_mask
from transferkit.annotations._regions import Region
from transferkit.annotations._text import lines_of_text

__all__ = [
    "YoloLine",
    "is_label_file",
    "parsed_file",
    "parsed_line",
    "written_line",
]

_LARGEST_SHARE = 1e4


class YoloLine(NamedTuple):
    """One object of a file, in shares of the image's sides.

    Parameters
    ----------
    label : int
        Its class, from 0.
    box : ndarray of shape (4,)
        Left, top, right and bottom edge.
    corners : ndarray of shape (n, 2), or None
        Those of its polygon.
    score : float or None
        Of a prediction.
    """

    label: int
    box: NDArray[np.float64]
    corners: NDArray[np.float64] | None
    score: float | None


def parsed_line(line: str, called: str) -> YoloLine:
    """Read a line.

    Raises
    ------
    ValueError
        If it can't be understood.

    Examples
    --------
    >>> parsed_line("2 0.5 0.5 0.2 0.4 0.9", "line 1")
    YoloLine(label=2, box=array([0.4, 0.3, 0.6, 0.7]), corners=None, score=0.9)
    """
    words = line.replace(",", " ").split()
    values = [number(text, called) for text in words]
    if not values or values[0] != int(values[0]):
        raise ValueError(f"{called}: {line[:40]!r} begins with no class; give a whole number")
    label, *shares = int(values[0]), *values[1:]
    n = len(shares)
    score = shares.pop() if n % 2 and n > 4 else None
    if len(shares) == 4:
        x, y, width, height = shares
        edges = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        return YoloLine(label, edges, None, score)
    if n < 6:
        raise ValueError(
            f"{called} has {n} numbers behind the class; give cx cy w h, or x and y of three "
            "corners or more, perhaps with a score"
        )
    if max(map(abs, shares)) > _LARGEST_SHARE:
        raise ValueError(f"{called}: {max(shares, key=abs):g} is no share of the image's sides")
    corners = np.array(shares).reshape(-1, 2)
    return YoloLine(label, np.concatenate([corners.min(0), corners.max(0)]), corners, score)


def parsed_file(path: Path) -> list[YoloLine]:
    """Lines of a file; none if it can't be read, which is told when it is asked for."""
    try:
        return [parsed_line(line, path.name) for _, line in lines_of_text(path, "YOLO")]
    except (ValueError, OSError):
        return []


def is_label_file(path: Path) -> bool:
    """Whether the first line of a file is that of an object."""
    try:
        _, line = next(lines_of_text(path, "YOLO"))
        return bool(parsed_line(line, path.name))
    except (ValueError, OSError, StopIteration):
        return False


def written_line(
    thing: BoxedObject, label: int, region: Region | None, size: tuple[int, int]
) -> str:
    height, width = size
    if thing.oriented is not None:
        shares = (thing.corners / (width, height)).ravel().tolist()
    elif region is not None and region.area:
        shares = (_one_polygon(region) / (width, height)).ravel().tolist()
    else:
        left, top, right, bottom = thing.box
        shares = [(left + right) / 2 / width, (top + bottom) / 2 / height,
                  (right - left) / width, (bottom - top) / height]  # fmt: skip
    values = [label, *shares, *(() if thing.score is None else (thing.score,))]
    return " ".join(map(written_number, values))


def _one_polygon(region: Region) -> NDArray[np.float64]:
    """One polygon of all parts of an object, joined by lines of no width that go there and back.

    Each part ends where it began, so that the lines from one part to the next, and all of them
    back, lie upon one another.
    """
    rings = _rings(region)
    closed = [np.concatenate([ring, ring[:1]]) for ring in rings] if len(rings) > 1 else rings
    return np.concatenate([*closed, *(ring[:1] for ring in rings[-2:0:-1])])


def _rings(region: Region) -> list[NDArray[np.float64]]:
    """Polygons of an object; one with a hole is cut in two until no part has any."""
    rings = polygons_of_mask(region)
    if rings is not None:
        return rings
    middle = region.pixels.shape[1] // 2
    halves = (
        Region(region.top, region.left, region.pixels[:, :middle]),
        Region(region.top, region.left + middle, region.pixels[:, middle:]),
    )
    return [ring for half in halves for ring in _rings(half)]
