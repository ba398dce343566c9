"""The comparison of an exported detector's boxes with the model's."""

import numpy as np

from transferkit.export._detector import edges_apart
from transferkit.export._objects import nearest_alike

BOXES = np.array([[0, 0, 8, 8], [20, 0, 40, 10], [1, 1, 9, 9], [0, 0, 0, 0]], np.float32)
SCORES = np.array([0.9, 0.8, 0.7, 0], np.float32)
LABELS = np.array([1, 1, 2, 0])


def distances(boxes=BOXES, scores=SCORES, labels=LABELS, least=0.05):
    """Of the boxes from those above."""
    own, other = (
        dict(zip(("boxes", "scores", "labels"), side, strict=True))
        for side in ((BOXES, SCORES, LABELS), (boxes, scores, labels))
    )
    apart = edges_apart(own["boxes"], other["boxes"])
    _, found = nearest_alike(own, other, apart, least, 1e-3)
    return found[np.isfinite(found)].tolist()


def test_the_same():
    assert distances() == [0, 0, 0]


def test_the_order_doesn_t_matter():
    order = [2, 0, 1, 3]
    assert distances(BOXES[order], SCORES[order], LABELS[order]) == [0, 0, 0]


def test_an_edge_elsewhere():
    moved = BOXES.copy()
    moved[1, 3] += 0.25
    assert distances(moved) == [0, 0.25, 0]


def test_another_class_or_score_is_no_partner():
    assert distances(labels=np.array([1, 2, 2, 0])) == [0, 40, 0]
    assert distances(scores=np.array([0.9, 0.8, 0.6, 0], np.float32)) == [0, 0, 9]


def test_a_box_near_the_threshold_may_lack_a_partner():
    without = np.array([0.9, 0.8, 0, 0], np.float32)
    assert distances(scores=without) == [0, 0, 9]
    assert distances(scores=without, least=0.6995) == [0, 0]
