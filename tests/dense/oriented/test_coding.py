"""Numbers that oriented boxes are told by: exact, and as smooth as the boxes."""

import numpy as np
import torch

from transferkit.dense.oriented._coding import canonical, codes_of, local_points, rectangles_of
from transferkit.images import canonical_oriented, corners_of_oriented
from transferkit.metrics import oriented_overlaps


def boxes_of(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform([0, 0, 4, 4, -90], [90, 60, 40, 40, 90], (n, 5))


def coded(boxes):
    points = torch.zeros(len(boxes), 2, dtype=torch.float64)
    return codes_of(torch.from_numpy(boxes), points, torch.full((len(boxes),), 8.0).double())


def decoded(codes):
    points = torch.zeros(*codes.shape[:-1], 2, dtype=codes.dtype)
    return rectangles_of(codes, points, torch.full(codes.shape[:-1], 8.0, dtype=codes.dtype))


def test_a_box_is_told_exactly():
    boxes = canonical_oriented(boxes_of(2000))
    again = canonical(decoded(coded(boxes))).numpy()
    assert np.allclose(again, boxes, atol=1e-6)


def test_squares_come_back_at_their_angle():
    boxes = boxes_of(200)
    boxes[:, 3] = boxes[:, 2]
    again = canonical(decoded(coded(boxes))).numpy()
    assert np.diagonal(oriented_overlaps(again, boxes)).min() > 1 - 1e-6


def test_boxes_that_are_almost_the_same_have_codes_that_are():
    # Where the angle leaves its range, and where a side becomes the longer one, too.
    boxes = boxes_of(2000, seed=1)
    boxes[:500, 4] = np.where(boxes[:500, 4] > 0, 90, -90)
    boxes[500:1000, 3] = boxes[500:1000, 2]
    away = np.random.default_rng(2).uniform(-1, 1, boxes.shape) * 1e-3
    one, other = coded(canonical_oriented(boxes)), coded(canonical_oriented(boxes + away))
    assert (one - other).abs().max() < 1e-3


def test_canonical_as_for_images():
    boxes = np.concatenate([boxes_of(500), [[0, 0, 2, 4, 0], [0, 0, 2, 4, -90], [0, 0, 3, 3, 9]]])
    again = canonical(torch.from_numpy(boxes)).numpy()
    assert np.allclose(again, canonical_oriented(boxes), atol=1e-9)


def test_corners_lie_at_the_ends_of_both_sides():
    boxes = boxes_of(50)
    corners = torch.from_numpy(corners_of_oriented(boxes))
    local = local_points(corners, torch.from_numpy(boxes)[:, None])
    expected = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]]).double()
    assert torch.allclose(local, expected.expand_as(local))


def test_wild_codes_make_finite_boxes_and_gradients():
    codes = (torch.randn(500, 7, generator=torch.Generator().manual_seed(0)) * 1e3).requires_grad_()
    boxes = canonical(decoded(codes))
    assert torch.isfinite(boxes).all()
    boxes.sum().backward()
    assert torch.isfinite(codes.grad).all()
