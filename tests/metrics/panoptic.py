"""Panoptic quality as the paper tells it, with sets of pixels; and scenes of masks for it."""

import dataclasses
import functools

import numpy as np

from transferkit.annotations import Annotations, Masks, Region

SIZE = (130, 150)


def pixels(mask):
    return set(np.flatnonzero(mask).tolist())


def plain_quality(truth, predicted, n_classes, threshold):
    """PQ, SQ and RQ of each class as the paper tells them."""
    hits, false, missed = ([0.0] * n_classes for _ in range(3))
    shared = [0.0] * n_classes
    for true, found in zip(truth, predicted, strict=True):
        ignored = np.zeros(len(true.labels), bool) if true.ignored is None else true.ignored
        objects, groups, taken = {}, {}, set()
        for k in np.argsort(-true.masks.areas, kind="stable"):
            into = groups if ignored[k] else objects
            for other in into:
                into[other] = into[other] - pixels(true.masks[int(k)])
            into[k] = pixels(true.masks[int(k)])
        open_ones = {k for k, one in objects.items() if one}
        for i in np.argsort(-found.scores, kind="stable"):
            if found.scores[i] < threshold:
                continue
            whole, label = pixels(found.masks[int(i)]), found.labels[i]
            own = whole - taken
            if not own or len(own) < len(whole) / 2:
                continue
            taken |= own
            for k in open_ones:
                overlap = len(own & objects[k]) / len(own | objects[k])
                if overlap > 0.5 and true.labels[k] == label:
                    hits[label] += 1
                    shared[label] += overlap
                    open_ones.remove(k)
                    break
            else:
                around = set().union(*(one for k, one in groups.items() if true.labels[k] == label))
                false[label] += len(own & around) / len(own) <= 0.5
        for k in open_ones:
            missed[true.labels[k]] += 1
    rows = []
    for tp, fp, fn, total in zip(hits, false, missed, shared, strict=True):
        whole = tp + fp / 2 + fn / 2
        sq, rq = total / max(tp, 1), tp / whole if whole else np.nan
        rows.append((total / whole if whole else np.nan, sq, rq))
    return np.array(rows).T


@functools.lru_cache(maxsize=20)
def scene(seed, n):
    """Truth without overlaps and detections near it, of two classes, in n images."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for i in range(n):
        boxes = drawn(rng, int(rng.integers(0, 5)))
        if i == 0:  # a large one
            boxes = np.concatenate([[[5, 5, 145, 125]], boxes])
        labels = rng.integers(1, 3, len(boxes))
        copies = np.arange(len(boxes)).repeat(rng.integers(0, 4, len(boxes)))
        moved = np.concatenate([boxes[copies] + rng.normal(0, 3, (len(copies), 4)), drawn(rng, 2)])
        said = np.where(rng.random(len(copies)) < 0.8, labels[copies], 1)
        said = np.concatenate([said, rng.integers(1, 3, 2)])
        flat = apart(masks_of(boxes))
        kept = flat.areas > 0
        truth.append(Annotations(SIZE, masks=flat[kept], boxes=boxes[kept], labels=labels[kept]))
        found.append(Annotations(SIZE, masks=masks_of(moved), boxes=moved, labels=said))
    # Scores that tie would be told in another order after a permutation.
    scores = iter(rng.permutation(100 * n) / (100 * n))
    found = [
        dataclasses.replace(one, scores=np.array([next(scores) for _ in one.labels]))
        for one in found
    ]
    return truth, found, ["background", "a", "b"]


def drawn(rng, n):
    sides = np.exp(rng.uniform(1.5, 4.75, (n, 2)))
    corners = rng.uniform(0, 1, (n, 2)) * (np.array(SIZE[::-1]) - sides).clip(0)
    return np.concatenate([corners, corners + sides], axis=1)


def masks_of(boxes):
    """Ellipses."""
    regions = []
    for left, top, right, bottom in boxes.round().clip(0, [*SIZE[::-1]] * 2).astype(int).tolist():
        size = max(bottom - top, 0), max(right - left, 0)
        rows, columns = ((np.arange(n) + 0.5) / max(n, 1) * 2 - 1 for n in size)
        regions.append(Region(top, left, rows[:, None] ** 2 + columns**2 <= 1.2))
    return Masks(SIZE, regions)


def apart(masks):
    """The same where none overlaps another."""
    taken, kept = np.zeros(SIZE, bool), []
    for mask in masks:
        kept.append(mask & ~taken)
        taken |= mask
    return Masks.of_array(np.array(kept).reshape(-1, *SIZE))
