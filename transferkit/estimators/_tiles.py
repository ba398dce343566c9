"""Extract the maps of tiles, and tell of them image by image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import VOID, Annotations
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract import Extraction
from transferkit.extract.identities import Identities
from transferkit.images import Failure, ImageSet, TiledImages, Tiling, UnreadableImages, tiled

__all__ = ["Box", "ExtractedTiles", "cut", "extract_tiles", "map_of_tiles"]

Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class ExtractedTiles:
    """Rows of the tiles of some images.

    Parameters
    ----------
    images : Extraction
        Which images have rows, and which could not be read. The rows are those of `tiles`.
    tiles : Extraction
        Of the tiles of the kept images, image by image.
    image_of : ndarray of int
        The kept image that each tile is of.
    boxes : list of (int, int, int, int)
        Left, top, right and bottom edge of each tile, px of its image.
    """

    images: Extraction
    tiles: Extraction
    image_of: NDArray[np.intp]
    boxes: list[Box]


def cut(extractor: FeatureExtractor, images: ImageSet, tiling: Tiling) -> TiledImages:
    """Cut images into tiles, turned before if the extractor's preprocessing says so.

    Raises
    ------
    ValueError
        If images aren't 8-bit RGB.
    """
    preprocess = extractor.resolve().preprocess
    if not preprocess.is_rgb:
        raise ValueError(
            "tiles are cut of 8-bit RGB images, and a range, bands, a layout or a number of "
            "channels was given; cut the files themselves, or leave tiles out"
        )
    return tiled(images, tiling, exif=preprocess.exif)


def extract_tiles(
    extractor: FeatureExtractor,
    images: ImageSet,
    tiling: Tiling,
    *,
    on_error: str,
    **options: Any,
) -> ExtractedTiles:
    """Extract features of the tiles of every image.

    Parameters
    ----------
    extractor : FeatureExtractor
        What extracts them.
    images : ImageSet
        Without items of several images.
    tiling : Tiling
        How they are cut.
    on_error : {"raise", "skip"}
        Whether unreadable images raise, or are left out.
    **options
        As for `FeatureExtractor.extract`.

    Raises
    ------
    UnreadableImages
        If images can't be read and `on_error` is ``"raise"``, or if none can; it names the
        images and not their tiles.
    """
    found = cut(extractor, images, tiling)
    try:
        tiles = extractor.extract(found.images, on_error="skip", **options)
        failures = _failures(tiles.failures, found, images)
    except UnreadableImages as error:
        raise UnreadableImages(
            _failures(error.failures, found, images), len(images), error.hint
        ) from error
    if failures and (on_error == "raise" or len(failures) == len(images)):
        raise UnreadableImages(failures, len(images))
    bad = {failure.index for failure in failures}
    kept = np.array([i for i in range(len(images)) if i not in bad], dtype=np.intp)
    good = np.flatnonzero(~np.isin(found.image_of, list(bad)))
    if len(good) != len(tiles.kept):  # a file that was changed meanwhile has some tiles only
        tiles = extractor.extract(found.images.select(good), on_error="raise", **options)
    exif = extractor.resolve().preprocess.exif
    ids = Identities(images.select(kept), exif=exif).readable_ids
    of_images = replace(
        tiles,
        rows={},
        stored={},
        kept=kept,
        ids=tuple(ids),
        failures=tuple(failures),
        paths=tuple(images.names[i] for i in kept),
        images=images,
        exif=exif,
        n_different=len(set(tiles.ids)),
    )
    image_of = np.searchsorted(kept, found.image_of[good])
    return ExtractedTiles(of_images, tiles, image_of, [found.boxes[i] for i in good])


def _failures(of_tiles: Sequence[Failure], found: TiledImages, images: ImageSet) -> list[Failure]:
    """One failure for each image of whose tiles one failed."""
    reasons: dict[int, str] = {}
    for failure in of_tiles:
        reasons.setdefault(int(found.image_of[failure.index]), failure.reason)
    return [Failure(i, images.names[i], reasons[i]) for i in sorted(reasons)]


def map_of_tiles(
    found: Sequence[Annotations], boxes: Sequence[Box], size: tuple[int, int]
) -> Annotations:
    """Class of every pixel of an image, each from the tile in whose middle it lies most.

    Parameters
    ----------
    found : sequence of Annotations
        With a map of each tile, in the tile's px.
    boxes : sequence of (int, int, int, int)
        Left, top, right and bottom edge of each tile, px of the image.
    size : (int, int)
        The image's height and width, px.

    Examples
    --------
    >>> tiles = [Annotations((1, 4), map=np.full((1, 4), k)) for k in (0, 1)]
    >>> map_of_tiles(tiles, [(0, 0, 4, 1), (2, 0, 6, 1)], (1, 6)).map.tolist()
    [[0, 0, 0, 1, 1, 1]]
    """
    first = found[0].map
    assert first is not None
    classes = np.full(size, VOID, dtype=first.dtype)
    depth = np.zeros(size, dtype=np.float32)
    for one, (left, top, right, bottom) in zip(found, boxes, strict=True):
        assert one.map is not None
        place = slice(top, bottom), slice(left, right)
        own = np.minimum.outer(_depths(top, bottom, size[0]), _depths(left, right, size[1]))
        is_deeper = (own > depth[place]) & (one.map != VOID)
        classes[place][is_deeper] = one.map[is_deeper]
        depth[place][is_deeper] = own[is_deeper]
    scores = [one.score for one in found if one.score is not None]
    areas = [one.map.size for one in found if one.map is not None and one.score is not None]
    score = float(np.average(scores, weights=areas)) if scores else None
    return Annotations(size, map=classes, score=score)


def _depths(start: int, stop: int, length: int) -> NDArray[np.float32]:
    """How far each pixel of a tile is from the tile's ends that aren't those of the image."""
    at = np.arange(start, stop) + 0.5
    before = at - start if start else np.full(len(at), np.inf)
    after = stop - at if stop < length else np.full(len(at), np.inf)
    depths: NDArray[np.float32] = np.minimum(before, after).astype(np.float32)
    return depths
