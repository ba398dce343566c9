"""Cut large images into overlapping tiles, in which small objects are large enough.

References
----------
Akyon, Altinuc, Temizel (2022), "Slicing aided hyper inference and fine-tuning for small object
detection".
"""

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transferkit.images.decode import ImageError
from transferkit.images.imageset import ImageSet
from transferkit.images.items import Item
from transferkit.images.parts import DecodedImages, ImagePart
from transferkit.images.sizes import size_of

__all__ = ["TiledImages", "Tiling", "tiled"]

_ALLOWED = "such as '2x3' (rows and columns), '512px', '512x640px' (height and width) or None"
_MOST_TILES = 10_000


@dataclass(frozen=True)
class Tiling:
    """How images are cut: into rows and columns, or into tiles of some size.

    Parameters
    ----------
    height, width : int
        Of a tile, px of the image; or how many rows and columns there are.
    unit : {"px", "tiles"}
        Which of the two.
    overlap : float, default=0.2
        Share of a tile's side that the next one repeats, or more.
    whole : bool, default=False
        Whether the whole image is one more tile, for objects that fit into none.
    """

    height: int
    width: int
    unit: str
    overlap: float = 0.2
    whole: bool = False

    def __post_init__(self) -> None:
        least = 32 if self.unit == "px" else 1
        if min(self.height, self.width) < least or self.unit not in ("px", "tiles"):
            raise ValueError(
                f"tiles are {self.height} × {self.width} {self.unit}; give {_ALLOWED}, of 32 px or "
                "more"
            )
        if not 0 <= self.overlap <= 0.9:
            raise ValueError(f"overlap of tiles is {self.overlap}; give a share from 0 to 0.9")
        if self.unit == "tiles" and self.height * self.width > _MOST_TILES:
            raise ValueError(f"{self.height} × {self.width} tiles are too many; give {_ALLOWED}")

    @classmethod
    def of(cls, given: "Tiling | str | tuple[int, int]") -> "Tiling":
        """Read what a user gives.

        Parameters
        ----------
        given : Tiling, str or (int, int)
            ``"2x3"`` for two rows of three tiles; ``"512px"``, ``"512x640px"`` or
            ``(512, 640)`` for their height and width. Behind it may stand ``,overlap=0.3``
            and ``,whole``.

        Raises
        ------
        ValueError
            If it is none of these.

        Examples
        --------
        >>> Tiling.of("2x3,whole")
        Tiling(height=2, width=3, unit='tiles', overlap=0.2, whole=True)
        >>> str(Tiling.of((512, 640)))
        '512x640px,overlap=0.2'
        """
        if isinstance(given, Tiling):
            return given
        if isinstance(given, tuple | list) and len(given) == 2:
            given = f"{given[0]}x{given[1]}px"
        first, *words = str(given).replace(" ", "").split(",")
        match = re.fullmatch(r"(\d{1,6})(?:[x×](\d{1,6}))?(px)?", first)
        if match is None or not (match[2] or match[3]):
            raise ValueError(f"tiles is {given!r}; give {_ALLOWED}")
        overlap, whole = cls.overlap, cls.whole
        for word in words:
            number = re.fullmatch(r"overlap=(\d*\.?\d+)", word)
            if number is None and word != "whole":
                raise ValueError(f"tiles is {given!r}; behind the size give overlap=0.3 or whole")
            if number is None:
                whole = True
            else:
                overlap = float(number[1])
        height, width = int(match[1]), int(match[2] or match[1])
        unit = "px" if match[3] else "tiles"
        return cls(height, width, unit, overlap=overlap, whole=whole)

    def __str__(self) -> str:
        unit = "px" if self.unit == "px" else ""
        return f"{self.height}x{self.width}{unit},overlap={self.overlap:g}{',whole' * self.whole}"

    def boxes(self, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """Left, top, right and bottom edge of the tiles of an image, row by row, px.

        They are of one size, and spread evenly from edge to edge. The whole image comes last,
        if it is wanted.

        Parameters
        ----------
        size : (int, int)
            Height and width of the image, px.

        Examples
        --------
        >>> Tiling.of("1x2").boxes((100, 180))
        [(0, 0, 100, 100), (80, 0, 180, 100)]
        """
        rows, columns = (self._spans(i, size[i]) for i in (0, 1))
        boxes = [(left, top, right, bottom) for top, bottom in rows for left, right in columns]
        whole = (0, 0, size[1], size[0])
        return [*boxes, whole] if self.whole and whole not in boxes else boxes

    def _spans(self, axis: int, length: int) -> list[tuple[int, int]]:
        """Start and end of the tiles along an axis."""
        given = (self.height, self.width)[axis]
        if self.unit == "px":
            side = min(given, length)
            n = 1 + math.ceil((length - side) / max(1, side * (1 - self.overlap)) - 1e-9)
        else:
            n = min(given, length)
            # n sides, of which all but one begin before the one before ends, fill the length.
            side = min(length, math.ceil(length / (n - (n - 1) * self.overlap) - 1e-9))
        starts = np.linspace(0, length - side, n).round().astype(int).tolist()
        return [(start, start + side) for start in dict.fromkeys(starts)]


@dataclass(frozen=True, eq=False)
class TiledImages:
    """The tiles of some images.

    Parameters
    ----------
    images : ImageSet
        The tiles, image by image. An image that is one tile, or can't be read, is itself.
    image_of : ndarray of int
        Position of the image that each is of.
    boxes : list of (int, int, int, int)
        Left, top, right and bottom edge of each, px of its image; zeros if it can't be read.
    """

    images: ImageSet
    image_of: NDArray[np.intp]
    boxes: list[tuple[int, int, int, int]]


def tiled(images: ImageSet, tiling: Tiling, *, exif: bool = False) -> TiledImages:
    """Cut images into tiles. Only their headers are read.

    Parameters
    ----------
    images : ImageSet
        Without items of several images.
    tiling : Tiling
        How.
    exif : bool, default=False
        Whether their EXIF orientation is applied first.
    """
    items: list[Item] = []
    names: list[str] = []
    image_of: list[int] = []
    boxes: list[tuple[int, int, int, int]] = []
    decoded = DecodedImages()
    for i, (item, name) in enumerate(zip(images.items, images.names, strict=True)):
        for box, is_whole in _boxes(item, tiling, exif):
            items.append(item if is_whole else ImagePart(item, box, exif, decoded))
            names.append(name if is_whole else f"{name} [{', '.join(map(str, box))}]")
            image_of.append(i)
            boxes.append(box)
    return TiledImages(
        ImageSet(tuple(items), tuple(names)), np.array(image_of, dtype=np.intp), boxes
    )


def _boxes(
    item: Item, tiling: Tiling, exif: bool
) -> Iterator[tuple[tuple[int, int, int, int], bool]]:
    """Boxes of an image's tiles, and whether each is the whole image."""
    size = None
    # Who extracts it meets the error again, and names the image.
    with contextlib.suppress(OSError, ImageError):
        size = size_of(item, exif=exif)
    if size is None:
        yield (0, 0, 0, 0), True
        return
    for box in tiling.boxes(size):
        yield box, box == (0, 0, size[1], size[0])
