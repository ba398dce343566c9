"""What was found on the tiles of an image becomes what is on the image: boxes, and masks if any.

Two boxes of different tiles mean one object if they agree in what both tiles see of it. So an
object over a seam is found once: from the tile that sees all of it, or of its pieces put together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torchvision.ops import batched_nms

from transferkit.annotations import Annotations, Masks
from transferkit.annotations._regions import Region, united_regions
from transferkit.dense.detection import Suppression
from transferkit.metrics import box_overlaps

__all__ = ["merged"]

Box = tuple[int, int, int, int]

# IoU, within what two tiles see both, from which two boxes mean one object.
_AGREEING = 0.5
# Share of a box that was cut off, from which a whole box that covers it replaces it.
_COVERED = 0.7
# A box is cut off if it ends so near to a tile's edge, as a share of the tile's side. Of an object
# that ends there by itself the next tile sees no less.
_NEAR = 0.03


def merged(found: Sequence[Annotations], tiles: Sequence[Box], rule: Suppression) -> Annotations:
    """Merge the objects that were found on the tiles of one image.

    Parameters
    ----------
    found : sequence of Annotations
        Boxes, labels and scores of each tile, px of the image; masks too, or none.
    tiles : sequence of (int, int, int, int)
        Left, top, right and bottom edge of each tile, px of the image.
    rule : Suppression
        That of each tile. Boxes of different tiles are suppressed by ``classic``.

    Returns
    -------
    Annotations
        Those of the image, the highest score first. Of an object that every tile cuts, its
        masks are united.

    Examples
    --------
    A tile sees a part of an object, and the next one sees all of it:

    >>> def one(*box):
    ...     boxes, label = np.array([box], float), np.array([1])
    ...     return Annotations((10, 30), boxes=boxes, labels=label, scores=np.array([0.9]))
    >>> tiles = [(0, 0, 20, 10), (10, 0, 30, 10)]
    >>> merged([one(15, 2, 20, 8), one(15, 2, 25, 8)], tiles, Suppression()).boxes.tolist()
    [[15.0, 2.0, 25.0, 8.0]]
    """
    size = found[0].size
    boxes = np.concatenate([_known(one.boxes).reshape(-1, 4) for one in found])
    scores = np.concatenate([_known(one.scores) for one in found])
    labels = np.concatenate([_known(one.labels) for one in found]).astype(np.int64)
    tile_of = np.repeat(np.arange(len(found)), [len(_known(one.scores)) for one in found])
    edges = np.array(tiles, dtype=np.float64)
    groups = np.zeros_like(labels) if rule.is_class_agnostic else labels
    is_cut = _are_cut(boxes, edges[tile_of], size)
    number = _components(len(boxes), _pairs(boxes, groups, tile_of, edges))
    n = int(number.max(initial=-1)) + 1
    joined, whole = np.zeros((n, 4)), np.zeros(n, dtype=bool)
    best, label = np.zeros(n), np.zeros(n, dtype=np.int64)
    pieces: list[list[int]] = []
    for i in range(n):
        own = np.flatnonzero(number == i)
        own = own[np.argsort(-scores[own], kind="stable")]
        full = own[~is_cut[own]]
        joined[i] = boxes[full[0]] if len(full) else _around(boxes[own])
        best[i], label[i], whole[i] = scores[own[0]], labels[own[0]], len(full) > 0
        pieces.append((full[:1] if len(full) else own).tolist())
    kept = _kept(joined, best, label, whole, rule)
    masks = None
    if all(one.masks is not None for one in found):
        regions = [region for one in found for region in _regions(one)]
        masks = Masks(size, [united_regions([regions[k] for k in pieces[i]]) for i in kept])
    return Annotations(size, boxes=joined[kept], labels=label[kept], scores=best[kept], masks=masks)


def _regions(one: Annotations) -> tuple[Region, ...]:
    return () if one.masks is None else one.masks.regions


def _known(values: NDArray[np.float64] | None) -> NDArray[np.float64]:
    return np.zeros(0) if values is None else values


def _around(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest box around some boxes."""
    return np.concatenate((boxes[:, :2].min(0), boxes[:, 2:].max(0)))


def _are_cut(
    boxes: NDArray[np.float64], tiles: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Whether each box ends at an edge of its tile that isn't one of the image."""
    height, width = size
    sides = np.tile(tiles[:, 2:] - tiles[:, :2], 2)
    is_inner = (tiles > 0) & (tiles < [width, height, width, height])
    # A head doesn't meet the edge exactly.
    is_near = np.abs(boxes - tiles) <= np.maximum(1, _NEAR * sides)
    return np.asarray((is_inner & is_near).any(1), dtype=bool)


def _pairs(
    boxes: NDArray[np.float64],
    groups: NDArray[np.int64],
    tile_of: NDArray[np.intp],
    tiles: NDArray[np.float64],
) -> Iterator[tuple[int, int]]:
    """Boxes of two tiles that agree best, each with the other, in what both tiles see."""
    occupied = np.unique(tile_of)
    for i, a in enumerate(occupied.tolist()):
        later = occupied[i + 1 :]
        low = np.maximum(tiles[a, :2], tiles[later, :2])
        high = np.minimum(tiles[a, 2:], tiles[later, 2:])
        for k in np.flatnonzero((low < high).all(1)).tolist():
            first, second = (np.flatnonzero(tile_of == tile) for tile in (a, later[k]))
            yield from _agreeing(boxes, groups, first, second, (low[k], high[k]))


def _agreeing(
    boxes: NDArray[np.float64],
    groups: NDArray[np.int64],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    shared: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Iterator[tuple[int, int]]:
    """Pairs of a box of one tile and one of another, within the corners of what both see."""
    low, high = shared
    seen_first, seen_second = (
        boxes[own].clip(np.tile(low, 2), np.tile(high, 2)) for own in (first, second)
    )
    ious = box_overlaps(seen_first, seen_second)
    ious[groups[first][:, None] != groups[second]] = 0
    for i, j in enumerate(ious.argmax(1).tolist()):
        if ious[i, j] >= _AGREEING and ious[:, j].argmax() == i:
            yield int(first[i]), int(second[j])


def _components(n: int, pairs: Iterator[tuple[int, int]]) -> NDArray[np.intp]:
    """Number of the object that each box means."""
    rows, columns = np.array(list(pairs), dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(n, n))
    numbers: NDArray[np.intp] = connected_components(graph, directed=False)[1]
    return numbers


def _kept(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    is_whole: NDArray[np.bool_],
    rule: Suppression,
) -> NDArray[np.intp]:
    """Objects that stay, the highest score first."""
    groups = np.zeros_like(labels) if rule.is_class_agnostic else labels
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    is_left = np.ones(len(boxes), dtype=bool)
    for i in np.flatnonzero(~is_whole).tolist():
        low = np.maximum(boxes[i, :2], boxes[is_whole, :2])
        high = np.minimum(boxes[i, 2:], boxes[is_whole, 2:])
        covers = (high - low).clip(0).prod(1) >= _COVERED * areas[i]
        is_left[i] = not (covers & (groups[is_whole] == groups[i])).any()
    usable = np.flatnonzero(is_left)
    if rule.method == "classic":
        tensors = (torch.from_numpy(each[usable]) for each in (boxes, scores, groups))
        usable = usable[batched_nms(*tensors, rule.iou).numpy()]
    return usable[np.argsort(-scores[usable], kind="stable")][: rule.limit]
