"""Random scenes with objects and detections, and pycocotools' numbers for them."""

import contextlib
import dataclasses
import io

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from transferkit.annotations import Annotations, Masks, Region

SIZE = 400, 500
NUMBERS = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar", "ar_small", "ar_medium", "ar_large"),
)


def scene(seed):
    """Return truth, detections and classes: crowds, ties, empty images, many and few boxes."""
    rng = np.random.default_rng(seed)
    n_classes = int(rng.choice([1, 2, 3, 20]))
    # On a grid, overlaps are often equal, or just on a threshold or a border of areas.
    grid = int(rng.choice([0, 1, 4]))
    truth, found = [], []
    for _ in range(rng.integers(1, 6)):
        n = int(rng.choice([0, 1, 3, 10, 30]))
        boxes, labels = drawn(rng, n, grid), rng.integers(1, n_classes + 1, n)
        if n and rng.random() < 0.5:  # heaps, in which a detection can choose
            boxes = boxes[rng.integers(0, max(1, n // 5), n)]
            boxes = on_grid(boxes + rng.normal(0, rng.choice([0.5, 2, 5]), boxes.shape), grid)
        is_crowd = rng.random(n) < rng.choice([0, 0.2])
        truth.append(Annotations(SIZE, boxes=boxes, labels=labels, ignored=is_crowd))
        found.append(detected(rng, boxes, labels, n_classes, grid))
    return truth, found, ["background", *map(str, range(n_classes))]


def drawn(rng, n, grid):
    sides = np.exp(rng.uniform(1, 5.3, (n, 2)))
    corners = rng.uniform(0, 1, (n, 2)) * SIZE[::-1]
    return on_grid(np.concatenate([corners, corners + sides], axis=1), grid)


def on_grid(boxes, grid):
    if grid:
        boxes = np.round(boxes * grid) / grid
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 0.25)
    return boxes


def detected(rng, true, labels, n_classes, grid):
    """Detections near the objects, several of each, and some anywhere, in any order."""
    n_stray = int(rng.choice([0, 5, 20, 150]))
    boxes, said = [drawn(rng, n_stray, grid)], [rng.integers(1, n_classes + 1, n_stray)]
    for _ in range(rng.integers(0, 4)):
        moved = true + rng.normal(0, rng.choice([0, 1, 4, 15]), true.shape)
        other = rng.integers(1, n_classes + 1, len(true))
        boxes.append(on_grid(moved, grid))
        said.append(np.where(rng.random(len(true)) < 0.8, labels, other))
    order = rng.permutation(sum(map(len, said)))
    scores = rng.random(len(order)).round(1 if rng.random() < 0.5 else 9)
    return Annotations(
        SIZE, boxes=np.concatenate(boxes)[order], labels=np.concatenate(said)[order], scores=scores
    )


def mask_scene(seed):
    """The same with a mask in every box, most of them ellipses; boxes are of another opinion."""
    truth, found, classes = scene(seed)
    rng = np.random.default_rng([seed, 1])
    return *([masked(rng, one) for one in many] for many in (truth, found)), classes


def masked(rng, one):
    regions = []
    edges = one.boxes.round().clip(0, [*SIZE[::-1]] * 2).astype(int)
    for left, top, right, bottom in edges.tolist():
        size = max(bottom - top, 0), max(right - left, 0)
        rows, columns = ((np.arange(n) + 0.5) / max(n, 1) * 2 - 1 for n in size)
        pixels = rows[:, None] ** 2 + columns**2 <= 1
        if rng.random() < 0.2:
            pixels |= rng.random(size) < 0.3
        regions.append(Region(top, left, pixels))
    boxes = one.boxes + rng.normal(0, 3, one.boxes.shape)
    return dataclasses.replace(one, masks=Masks(SIZE, regions), boxes=boxes)


def coco_numbers(truth, found, classes, limit=100, kind="bbox"):
    """Return the twelve numbers that pycocotools prints, NaN where it says -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(as_coco(truth, classes, kind), as_coco(found, classes, kind), kind)
        evaluation.params.maxDets = [1, 10, limit]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = np.where(evaluation.stats == -1, np.nan, evaluation.stats)
    # Its AP looks for 100 detections whatever it was told.
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    known = precision[precision > -1]
    stats[0] = known.mean() if known.size else np.nan
    return dict(zip(NUMBERS, stats.tolist(), strict=True))


def as_coco(many, classes, kind="bbox"):
    """Annotations as pycocotools holds them; its ids begin at 1, as it takes 0 for none."""
    rows = []
    for i, one in enumerate(many):
        is_crowd = np.zeros(len(one.labels)) if one.ignored is None else one.ignored
        scores = np.zeros(len(one.labels)) if one.scores is None else one.scores
        masks = [None] * len(one.labels) if one.masks is None else one.masks
        told = zip(one.boxes, one.labels, is_crowd, scores, masks, strict=True)
        for box, label, crowd, score, mask in told:
            left, top, right, bottom = map(float, box)
            size = right - left, bottom - top
            row = {"id": len(rows) + 1, "image_id": i + 1, "category_id": int(label)}
            row |= {"bbox": [left, top, *size], "area": size[0] * size[1]}
            if mask is not None:
                runs = mask_api.encode(np.asfortranarray(mask, dtype=np.uint8))
                row |= {"segmentation": runs}
                row |= {"area": float(mask.sum())} if kind == "segm" else {}
            rows.append(row | {"iscrowd": int(crowd), "score": float(score)})
    held = COCO()
    held.dataset = {
        "images": [
            {"id": i + 1, "height": one.size[0], "width": one.size[1]} for i, one in enumerate(many)
        ],
        "categories": [{"id": c} for c in range(1, len(classes))],
        "annotations": rows,
    }
    held.createIndex()
    return held
