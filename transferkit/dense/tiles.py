"""What was found on the tiles of an image becomes what is on the image.

Two objects of different tiles are one if they agree in what both tiles see of them. So an object
over a seam is found once: from the tile that sees all of it, or of its pieces put together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from transferkit.annotations import Annotations, Masks
from transferkit.dense.detection import Suppression
from transferkit.dense.kinds import ObjectKind
from transferkit.images import upright_of_oriented, upright_within
from transferkit.metrics import Shapes, box_overlaps

__all__ = ["merged"]

Box = tuple[int, int, int, int]
Boxes = NDArray[np.float64]

# IoU, within what two tiles see both, from which two boxes mean one object.
_AGREEING = 0.5
# Share of an object that was cut off, from which a whole one that covers it replaces it.
_COVERED = 0.7
# An object is cut off if it ends so near to a tile's edge, as a share of the tile's side. Of one
# that ends there by itself the next tile sees no less.
_NEAR = 0.03


def merged(
    found: Sequence[Annotations], tiles: Sequence[Box], rule: Suppression, kind: ObjectKind
) -> Annotations:
    """Merge the objects that were found on the tiles of one image.

    Parameters
    ----------
    found : sequence of Annotations
        Objects of each tile with labels and scores, px of the image.
    tiles : sequence of (int, int, int, int)
        Left, top, right and bottom edge of each tile, px of the image.
    rule : Suppression
        That of each tile. Objects of different tiles are suppressed by ``classic``.
    kind : ObjectKind
        What kind of objects they are.

    Returns
    -------
    Annotations
        Those of the image, the highest score first.

    Examples
    --------
    A tile sees a part of an object, and the next one sees all of it:

    >>> from transferkit.dense.kinds import object_kind
    >>> def one(*box):
    ...     boxes, label = np.array([box], float), np.array([1])
    ...     return Annotations((10, 30), boxes=boxes, labels=label, scores=np.array([0.9]))
    >>> found = [one(15, 2, 20, 8), one(15, 2, 25, 8)]
    >>> tiles = [(0, 0, 20, 10), (10, 0, 30, 10)]
    >>> merged(found, tiles, Suppression(), object_kind("detection")).boxes.tolist()
    [[15.0, 2.0, 25.0, 8.0]]
    """
    every = _together(found)
    tile_of = np.repeat(np.arange(len(found)), [len(_scores(one)) for one in found])
    edges = np.array(tiles, dtype=np.float64)
    is_cut = _are_cut(_within(every, edges[tile_of]), edges[tile_of], every.size)
    number = _components(len(is_cut), _pairs(every, _groups(every, rule), tile_of, edges))
    objects, is_whole = [every.select([])], []
    for i in range(int(number.max(initial=-1)) + 1):
        own = np.flatnonzero(number == i)
        own = own[np.argsort(-_scores(every)[own], kind="stable")]
        full = own[~is_cut[own]]
        one = every.select(full[:1]) if len(full) else kind.united(every.select(own))
        best = every.select(own[:1])
        objects.append(dataclasses.replace(one, labels=best.labels, scores=best.scores))
        is_whole.append(len(full) > 0)
    return _kept(_together(objects), np.array(is_whole, dtype=bool), rule, kind.shapes)


def _scores(objects: Annotations) -> NDArray[np.float64]:
    assert objects.scores is not None
    return objects.scores


def _groups(objects: Annotations, rule: Suppression) -> NDArray[np.int64]:
    """Number of the class of each object, of which none is another one's; 0 if all may be."""
    assert objects.labels is not None
    labels = objects.labels.astype(np.int64)
    return np.zeros_like(labels) if rule.is_class_agnostic else labels


def _uprights(objects: Annotations) -> Boxes:
    """Upright boxes around the objects."""
    if objects.oriented is not None:
        return upright_of_oriented(objects.oriented)
    assert objects.boxes is not None
    return np.asarray(objects.boxes, dtype=np.float64)


def _within(objects: Annotations, windows: Boxes) -> Boxes:
    """Upright boxes around the parts of objects that lie within windows, one each or one of all."""
    if objects.oriented is not None:
        return upright_within(objects.oriented, windows)
    low, high = windows[..., [0, 1, 0, 1]], windows[..., [2, 3, 2, 3]]
    return _uprights(objects).clip(low, high)


def _together(parts: Sequence[Annotations]) -> Annotations:
    """The objects of several annotations of one image, of which all tell the same."""
    first = parts[0]
    together: dict[str, Any] = {}
    for name in ("boxes", "oriented", "labels", "scores"):
        if getattr(first, name) is not None:
            together[name] = np.concatenate([getattr(one, name) for one in parts])
    if first.masks is not None:
        masks = [one.masks for one in parts if one.masks is not None]
        regions = [region for each in masks for region in each.regions]
        together["masks"] = Masks(first.size, regions)
    return Annotations(first.size, **together)


def _are_cut(seen: Boxes, tiles: Boxes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether each box ends at an edge of its tile that isn't one of the image."""
    height, width = size
    sides = np.tile(tiles[:, 2:] - tiles[:, :2], 2)
    is_inner = (tiles > 0) & (tiles < [width, height, width, height])
    # A head doesn't meet the edge exactly.
    is_near = np.abs(seen - tiles) <= np.maximum(1, _NEAR * sides)
    return np.asarray((is_inner & is_near).any(1), dtype=bool)


def _pairs(
    objects: Annotations, groups: NDArray[np.int64], tile_of: NDArray[np.intp], tiles: Boxes
) -> Iterator[tuple[int, int]]:
    """Objects of two tiles that agree best, each with the other, in what both tiles see."""
    occupied = np.unique(tile_of)
    for i, a in enumerate(occupied.tolist()):
        later = occupied[i + 1 :]
        low = np.maximum(tiles[a, :2], tiles[later, :2])
        high = np.minimum(tiles[a, 2:], tiles[later, 2:])
        for k in np.flatnonzero((low < high).all(1)).tolist():
            first, second = (np.flatnonzero(tile_of == tile) for tile in (a, later[k]))
            shared = np.concatenate([low[k], high[k]])
            yield from _agreeing(objects, groups, first, second, shared)


def _agreeing(
    objects: Annotations,
    groups: NDArray[np.int64],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    shared: Boxes,
) -> Iterator[tuple[int, int]]:
    """Pairs of an object of one tile and one of another, within the window that both see."""
    ious = box_overlaps(*(_within(objects.select(own), shared) for own in (first, second)))
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
    objects: Annotations, is_whole: NDArray[np.bool_], rule: Suppression, shapes: Shapes
) -> Annotations:
    """Objects that stay, the highest score first."""
    groups, around = _groups(objects, rule), _uprights(objects)

    def near(i: int, others: NDArray[np.intp]) -> NDArray[np.intp]:
        """Those of the others that may overlap with an object, of its group."""
        low = np.maximum(around[i, :2], around[others, :2])
        high = np.minimum(around[i, 2:], around[others, 2:])
        found: NDArray[np.intp] = others[(low < high).all(1) & (groups[others] == groups[i])]
        return found

    def overlaps(i: int, others: NDArray[np.intp]) -> NDArray[np.float64]:
        is_crowd = np.zeros(len(others), dtype=bool)
        found: NDArray[np.float64]
        (found,) = shapes.overlaps(objects.select([i]), objects.select(others), is_crowd)
        return found

    whole, is_left = np.flatnonzero(is_whole), np.ones(len(around), dtype=bool)
    for i in np.flatnonzero(~is_whole).tolist():
        by = near(i, whole)
        ious, areas = overlaps(i, by), shapes.areas(objects.select([i, *by]))
        # An IoU and two areas tell what is shared.
        shared = ious * (areas[0] + areas[1:]) / (1 + ious)
        is_left[i] = not (shared >= _COVERED * areas[0]).any()
    left = np.flatnonzero(is_left)
    left = left[np.argsort(-_scores(objects)[left], kind="stable")]
    if rule.method != "classic":
        return objects.select(left[: rule.limit])
    kept: list[int] = []
    while len(left) and len(kept) < rule.limit:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        others = near(best, left)
        left = left[~np.isin(left, others[overlaps(best, others) > rule.iou])]
    return objects.select(kept)
