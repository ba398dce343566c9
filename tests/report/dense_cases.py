"""Small measured cases of every dense task: what was true, what was found, and the counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from transferkit.annotations import Annotations
from transferkit.images import oriented_of_corners
from transferkit.metrics import (
    ORIENTED,
    OrientedReport,
    count_detections,
    count_instances,
    count_pixels,
    gather_scores,
    report_of_detections,
    report_of_instances,
    report_of_objects,
    report_of_pixels,
    report_of_scores,
)

SIZE = (40, 60)
CLASSES = ("background", "cat", "dog")
TASKS = ("segmentation", "detection", "instances", "oriented", "anomaly")
Case = tuple[Any, Any, list[Any], list[Any]]


def photo(i: int) -> Any:
    return np.random.default_rng(i).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def objects(boxes: Any, labels: Any, scores: Any = None) -> Annotations:
    """Objects that are held in boxes, masks and oriented boxes alike."""
    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    masks = np.zeros((len(boxes), *SIZE), dtype=bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int).tolist(), strict=True):
        mask[top:bottom, left:right] = True
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    return Annotations(
        SIZE,
        boxes=boxes,
        masks=masks,
        oriented=oriented_of_corners(corners),
        labels=np.asarray(labels, dtype=int),
        scores=None if scores is None else np.asarray(scores, dtype=float),
    )


def one_of_each(n: int) -> tuple[list[Annotations], list[Annotations]]:
    """A cat that is found, one that isn't, a dog that is taken for a cat, and a false dog.

    Image i is empty if it is divided by 5.
    """
    truth, found = [], []
    for i in range(n):
        if i % 5 == 0:
            truth.append(objects([], []))
            found.append(objects([], [], []))
            continue
        x = i % 3
        cat, lost, dog = (x, 2, x + 12, 12), (20, 2, 30, 14), (40, 4, 56, 20)
        near = (x, 3, x + 12, 13)
        truth.append(objects([cat, lost, dog], [1, 1, 2]))
        scores = np.array([0.9, 0.6, 0.8, 0.1]) - 0.001 * i
        found.append(objects([near, dog, (4, 25, 18, 38), (20, 4, 30, 14)], [1, 1, 2, 1], scores))
    return truth, found


def maps(n: int) -> tuple[list[Annotations], list[Annotations]]:
    """A cat and a dog side by side, of which more is lost from image to image."""
    truth, found = [], []
    for i in range(n):
        true = np.zeros(SIZE, dtype=int)
        true[5:35, 5:25], true[5:35, 30:50] = 1, 2
        said = true.copy()
        said[5:35, 5 : 5 + i % 20] = 0
        said[5 : 5 + i % 7, 30:50] = 1
        truth.append(Annotations(SIZE, map=true))
        found.append(Annotations(SIZE, map=said, score=0.5))
    return truth, found


def strange(n: int) -> tuple[list[Annotations], list[Annotations]]:
    """Every other image has a strange square, and a higher score but for the first ones."""
    truth, found = [], []
    for i in range(n):
        true = np.zeros(SIZE, dtype=int)
        true[10:20, 10:20] = i % 2
        scores = np.random.default_rng(i).random(SIZE) + true
        truth.append(Annotations(SIZE, map=true))
        score = 0.5 + 0.01 * i * (1 if i % 2 else -1)
        score = {0: 0.9, 1: 0.2}.get(i, score)
        marked = (scores > 1).astype(int)
        found.append(Annotations(SIZE, map=marked, score=score, score_map=scores))
    return truth, found


def case(task: str, n: int = 12, classes: tuple[str, ...] = CLASSES) -> Case:
    """Counts, report, truth and predictions of n images."""
    if task == "segmentation":
        truth, found = maps(n)
        pixels = count_pixels(truth, found, classes)
        return pixels, report_of_pixels(pixels), truth, found
    if task == "anomaly":
        truth, found = strange(n)
        scores = gather_scores(truth, found, threshold=0.5)
        return scores, report_of_scores(scores), truth, found
    truth, found = one_of_each(n)
    if task == "instances":
        segments = count_instances(truth, found, classes, threshold=0.3)
        return segments, report_of_instances(segments), truth, found
    if task == "oriented":
        turned = count_detections(truth, found, classes, shapes=ORIENTED, task="oriented")
        return turned, report_of_objects(OrientedReport, turned, 0.3), truth, found
    counts = count_detections(truth, found, classes)
    return counts, report_of_detections(counts, 0.3), truth, found
