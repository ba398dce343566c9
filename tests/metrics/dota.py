"""Random scenes of oriented boxes, and DOTA's rules for them in plain loops."""

from types import SimpleNamespace

import numpy as np
import shapely

from transferkit.annotations import Annotations
from transferkit.images import canonical_oriented, corners_of_oriented

SIZE = 400, 500
THRESHOLDS = [0.5 + 0.05 * i for i in range(10)]
AREAS = {"all": (0, np.inf), "small": (0, 1024), "medium": (1024, 9216), "large": (9216, np.inf)}


def scene(rng, n_images=6, n_classes=2, n_most=8, share_ignored=0.2):
    """Return truth, detections and classes: heaps, difficult ones, ties, many and few boxes."""
    truth, found = [], []
    for _ in range(n_images):
        boxes = drawn(rng, int(rng.integers(0, n_most)))
        if len(boxes) and rng.random() < 0.4:  # heaps, in which the nearest may be taken
            boxes = boxes[rng.integers(0, max(1, len(boxes) // 3), len(boxes))]
            boxes = moved(rng, boxes, 3)
        labels = rng.integers(1, n_classes + 1, len(boxes))
        is_ignored = rng.random(len(boxes)) < share_ignored
        truth.append(Annotations(SIZE, oriented=boxes, labels=labels, ignored=is_ignored))
        found.append(detected(rng, boxes, labels, n_classes))
    return truth, found, ["background", *map(str, range(n_classes))]


def drawn(rng, n):
    sides = np.exp(rng.uniform(1.5, 5, (n, 2)))
    centres = rng.uniform(0, 1, (n, 2)) * SIZE[::-1]
    return canonical_oriented(np.c_[centres, sides, rng.uniform(-90, 90, n)])


def moved(rng, boxes, by):
    changed = boxes + rng.normal(0, by, boxes.shape) * [1, 1, 0.5, 0.5, 1]
    changed[:, 2:4] = np.maximum(changed[:, 2:4], 0.5)
    return canonical_oriented(changed)


def detected(rng, true, labels, n_classes):
    n_stray = int(rng.choice([0, 3, 15]))
    boxes, said = [drawn(rng, n_stray)], [rng.integers(1, n_classes + 1, n_stray)]
    for _ in range(rng.integers(0, 4)):
        boxes.append(moved(rng, true, rng.choice([0.1, 1, 4])))
        other = rng.integers(1, n_classes + 1, len(true))
        said.append(np.where(rng.random(len(true)) < 0.8, labels, other))
    order = rng.permutation(sum(map(len, said)))
    scores = rng.random(len(order)).round(1 if rng.random() < 0.5 else 9)
    return Annotations(
        SIZE,
        oriented=np.concatenate(boxes)[order],
        labels=np.concatenate(said)[order],
        scores=scores,
    )


# ---- the rules ----------------------------------------------------------------------


def numbers(truth, found, classes):
    """Every number of the report, NaN where there is no object."""
    told, pairs = {}, list(zip(truth, found, map(overlaps_of, found, truth), strict=True))
    for area in AREAS:
        rows = [
            [judged(pairs, c, threshold, area) for c in range(1, len(classes))]
            for threshold in THRESHOLDS
        ]
        asked = [[one for one in row if one.n_true] for row in rows]
        told[area] = [[area_under(one) for one in row] for row in asked]
        if area == "all":
            recalls = [[sum(one.hits) / one.n_true for one in row] for row in asked]

    def mean(values):
        return float(np.mean(values)) if np.size(values) else np.nan

    return {
        "average_precision": mean(told["all"]),
        "ap50": mean(told["all"][0]),
        "ap75": mean(told["all"][5]),
        **{f"ap_{area}": mean(told[area]) for area in ("small", "medium", "large")},
        "average_recall": mean(recalls),
    }


def judged(pairs, label, threshold, area):
    """Whether each detection of a class is a hit, the highest score first; and how many to find."""
    low, high = AREAS[area]
    n_true, said, taken = 0, [], set()
    images = []
    for i, (true, one, overlaps) in enumerate(pairs):
        of_class = [k for k, its in enumerate(true.labels) if its == label]
        areas = [true.oriented[k][2] * true.oriented[k][3] for k in of_class]
        is_asked = [
            not (true.ignored is not None and true.ignored[k]) and low <= its <= high
            for k, its in zip(of_class, areas, strict=True)
        ]
        n_true += sum(is_asked)
        images.append((overlaps[:, of_class].tolist(), is_asked))
        said += [(-one.scores[d], i, d) for d, its in enumerate(one.labels) if its == label]
    hits = []
    for _, i, d in sorted(said):
        overlaps, is_asked = images[i]
        best = max(range(len(is_asked)), key=lambda k: overlaps[d][k], default=None)
        if best is not None and overlaps[d][best] > threshold:
            if not is_asked[best]:
                continue
            if (i, best) not in taken:
                taken.add((i, best))
                hits.append(True)
                continue
        sides = pairs[i][1].oriented[d][2:4]
        if low <= sides[0] * sides[1] <= high:
            hits.append(False)
    return SimpleNamespace(hits=hits, n_true=n_true)


def overlaps_of(found, true):
    one, other = (shapely.polygons(corners_of_oriented(each.oriented)) for each in (found, true))
    shared = shapely.area(shapely.intersection(one[:, None], other[None], grid_size=1e-10))
    return shared / (shapely.area(one)[:, None] + shapely.area(other) - shared)


def area_under(one):
    """Area under the precision, at each recall the highest there or beyond, step by step."""
    n_hits = np.cumsum(one.hits)
    precisions = n_hits / np.arange(1, len(one.hits) + 1)
    total = 0.0
    for step in range(1, one.n_true + 1):
        reached = precisions[n_hits >= step]
        total += (reached.max() if len(reached) else 0) / one.n_true
    return total
