"""Which cells learn which oriented box."""

import numpy as np
import torch

from transferkit.dense.detection._anchors import anchors_of_level, points_of_level
from transferkit.dense.detection._assignment import BACKGROUND, LEFT_OUT
from transferkit.dense.detection._assignment import by_statistics as of_upright_boxes
from transferkit.dense.oriented import OrientedTarget
from transferkit.dense.oriented._assignment import by_statistics
from transferkit.images import canonical_oriented, corners_of_oriented, upright_of_oriented

SIZE, STRIDES = (96, 128), (4, 8, 16)
POINTS = [points_of_level((96 // s, 128 // s), s, SIZE) for s in STRIDES]


def target_of(oriented, labels=None):
    boxes = canonical_oriented(np.array(oriented, dtype=float).reshape(-1, 5))
    return OrientedTarget(
        boxes=torch.from_numpy(upright_of_oriented(boxes)).float(),
        labels=torch.tensor([1] * len(boxes) if labels is None else labels, dtype=torch.int64),
        oriented=torch.from_numpy(boxes).float(),
    )


def assigned(target):
    return by_statistics(POINTS, [8.0 * s for s in STRIDES], target, n_nearest=9)


def is_inside(points, box):
    """Whether points are left of all edges of a box, going around it."""
    corners = corners_of_oriented([box])[0]
    edges = np.roll(corners, -1, 0) - corners
    away = points[:, None] - corners
    return (edges[:, 0] * away[..., 1] - edges[:, 1] * away[..., 0] > 0).all(1)


def test_upright_boxes_are_learnt_as_in_detection():
    rng = np.random.default_rng(0)
    squares = [
        anchors_of_level((96 // s, 128 // s), s, SIZE, [(8.0 * s, 8.0 * s)]) for s in STRIDES
    ]
    for _ in range(20):
        boxes = rng.uniform([10, 10, 12, 12, 0], [110, 80, 60, 60, 0], (6, 5))
        boxes[:, 4] = 90 * rng.integers(-1, 1, 6)
        target = target_of(boxes, rng.integers(-1, 4, 6))
        target["labels"][target["labels"] == 0] = 1
        expected = of_upright_boxes(squares, target, n_nearest=9)
        assert torch.equal(assigned(target), expected)


def test_cells_lie_in_the_turned_box_they_learn():
    points = torch.cat(POINTS).numpy()
    box = [60, 50, 70, 9, 40]
    at = (assigned(target_of([box])) == 0).nonzero()[:, 0]
    assert len(at) >= 3
    assert is_inside(points[at], box).all()


def test_an_object_smaller_than_the_cells_has_the_nearest_one():
    result = assigned(target_of([[33.5, 40.1, 1.5, 0.5, 30]]))
    (at,) = (result == 0).nonzero()[:, 0].tolist()
    assert torch.cat(POINTS)[at].tolist() == [34, 42] or torch.cat(POINTS)[at].tolist() == [34, 38]


def test_what_is_ignored_is_left_out():
    box = [60, 50, 50, 20, -30]
    result = assigned(target_of([box], [-1]))
    inside = is_inside(torch.cat(POINTS).numpy(), box)
    assert (result[inside] == LEFT_OUT).all()
    assert (result[~inside] == BACKGROUND).all()


def test_an_object_in_an_ignored_one_is_learnt():
    result = assigned(target_of([[60, 50, 100, 90, 0], [60, 50, 30, 12, 60]], [-1, 2]))
    assert (result == 1).sum() >= 3
    assert not (result == 0).any()
