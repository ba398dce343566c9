"""IoU of oriented boxes against shapely's polygons, its gradients, and its traces."""

import numpy as np
import pytest
import shapely
import torch
from torch import nn

from transferkit.images import corners_of_oriented
from transferkit.metrics import oriented_overlaps
from transferkit.metrics._clipping import oriented_ious, paired_oriented_ious

N = 10_000


def random_boxes(rng, n=N):
    centres = rng.uniform(0, 100, (n, 2))
    return np.c_[centres, np.exp(rng.uniform(0, 5, (n, 2))), rng.uniform(-90, 90, n)]


def random_pairs(rng):
    one = random_boxes(rng)
    return one, np.c_[one[:, :2] + rng.normal(0, 20, (N, 2)), random_boxes(rng)[:, 2:]]


def near_duplicates(rng):
    """Apart by 1e-12 to 1 px and degrees, in all five numbers or in some."""
    one = random_boxes(rng)
    change = rng.normal(size=one.shape) * 10 ** rng.uniform(-12, 0, (N, 1))
    change *= rng.random(one.shape) < rng.choice([0.3, 1], (N, 1))
    return one, np.c_[(one + change)[:, :2], np.abs(one + change)[:, 2:4], (one + change)[:, 4]]


def rounded_copies(rng):
    one = random_boxes(rng)
    return one, one.round(2)


def identical(rng):
    """The very same rectangle, in all the ways to write it."""
    one = random_boxes(rng)
    other = one.copy()
    other[:, 4] += rng.integers(-2, 3, N) * 180
    half = N // 2
    other[:half, 2:4] = other[:half, 3:1:-1]
    other[:half, 4] += 90
    return one, other


def nested(rng):
    """Around the same centre, turned alike or not, or sharing a side."""
    one = random_boxes(rng)
    share = rng.uniform(0.01, 1, (N, 2))
    other = np.c_[one[:, :2], one[:, 2:4] * share, one[:, 4]]
    other[::3, 4] = rng.uniform(-90, 90, len(other[::3]))
    other[1::3] = moved_along(other, (one[:, 2] - other[:, 2]) / 2)[1::3]
    return one, other


def touching(rng):
    """Beside one another with a common edge, or almost."""
    one = random_boxes(rng)
    other = np.c_[one[:, :2], random_boxes(rng)[:, 2:4], one[:, 4]]
    gap = rng.choice([0, 1e-13, -1e-13, 1e-9, -1e-9, 1e-3, -1e-3], N)
    return one, moved_along(other, (one[:, 2] + other[:, 2]) / 2 + gap)


def thin(rng):
    """1 to 1000, crossing at small angles and large ones."""
    one = random_boxes(rng)
    one[:, 3] = one[:, 2] / 1000
    other = one + rng.normal(size=one.shape) * [1, 1, 0, 0, 1] * 10 ** rng.uniform(-6, 1, (N, 1))
    return one, other


def squares(rng):
    one = random_boxes(rng)
    one[:, 3] = one[:, 2]
    other = one.copy()
    other[:, 4] += rng.choice([0, 1e-9, 30, 45, 90, 90.001, -45], N)
    return one, other


def upright(rng):
    one, other = (random_boxes(rng).round() for _ in range(2))
    one[:, 4], other[:, 4] = rng.choice([0, 90, -90], (2, N))
    return one, other


def far(rng):
    one, other = near_duplicates(rng)
    return one + np.array([1e6, -1e6, 0, 0, 0]), other + np.array([1e6, -1e6, 0, 0, 0])


KINDS = (
    *(random_pairs, near_duplicates, rounded_copies, identical, nested, touching, thin, squares),
    *(upright, far),
)


def moved_along(boxes, distance):
    turn = np.deg2rad(boxes[:, 4])
    result = boxes.copy()
    result[:, :2] += np.stack([np.cos(turn), -np.sin(turn)], 1) * distance[:, None]
    return result


def by_shapely(one, other):
    """With corners snapped to a grid of 1e-11 px: without, GEOS loses a near-duplicate at times."""
    parts = []
    for boxes in (one, other):
        near = np.c_[boxes[:, :2] - one[:, :2], boxes[:, 2:]]
        parts.append(shapely.polygons(corners_of_oriented(near)))
    shared = shapely.area(shapely.intersection(*parts, grid_size=1e-11))
    return shared / (shapely.area(parts[0]) + shapely.area(parts[1]) - shared)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_hundred_thousand_pairs_against_shapely(kind):
    assert N * len(KINDS) == 100_000
    one, other = kind(np.random.default_rng(0))
    given = torch.from_numpy(one), torch.from_numpy(other)
    ious = paired_oriented_ious(*given).numpy()
    np.testing.assert_allclose(ious, by_shapely(one, other), rtol=0, atol=1e-6)
    assert ious.dtype == np.float64
    assert ious.min() >= 0
    assert ious.max() <= 1
    np.testing.assert_allclose(paired_oriented_ious(*given[::-1]), ious, rtol=0, atol=1e-9)


def test_identical_boxes_overlap_entirely():
    one, other = map(torch.from_numpy, identical(np.random.default_rng(0)))
    assert (paired_oriented_ious(one, one) > 1 - 1e-12).all()
    assert (paired_oriented_ious(one, other) > 1 - 1e-10).all()


def test_near_duplicates_are_near_one():
    one = torch.from_numpy(random_boxes(np.random.default_rng(0)))
    for step in (10.0**power for power in range(-12, -2)):
        for axis in range(5):
            other = one.clone()
            other[:, axis] += step
            # All sides are 1 px or longer, and the longest 150.
            assert (paired_oriented_ious(one, other) > 1 - 4 * step - 1e-12).all()


def test_moving_both_far_away_changes_nothing():
    one, other = (
        np.round(boxes * 2**20) / 2**20 for boxes in random_pairs(np.random.default_rng(0))
    )
    there = np.array([2.0**30, -(2.0**29), 0, 0, 0])
    ious = [
        paired_oriented_ious(torch.from_numpy(one + by), torch.from_numpy(other + by))
        for by in (0 * there, there)
    ]
    assert torch.equal(*ious)


def test_boxes_without_area():
    boxes = torch.tensor([[5.0, 5, 0, 0, 0], [5, 5, 8, 0, 30], [5, 5, 8, 2, 30], [5, 5, 0, 2, 0]])
    expected = torch.zeros(4, 4)
    expected[2, 2] = 1
    torch.testing.assert_close(oriented_ious(boxes, boxes), expected)


@pytest.mark.parametrize("kind", [random_pairs, near_duplicates, nested], ids=lambda k: k.__name__)
def test_every_pair_is_the_paired_function(kind):
    one, other = (torch.from_numpy(boxes[:300]) for boxes in kind(np.random.default_rng(0)))
    expected = paired_oriented_ious(one[:, None], other[None])
    assert 0 < (expected == 0).sum() < expected.numel()
    torch.testing.assert_close(oriented_ious(one, other), expected, rtol=0, atol=1e-12)
    batches = one.reshape(3, 100, 5), other[:150].reshape(3, 50, 5)
    result = oriented_ious(*batches)
    assert result.shape == (3, 100, 50)
    torch.testing.assert_close(result[1], oriented_ious(batches[0][1], batches[1][1]))


@pytest.mark.parametrize(("m", "k"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_compare(m, k):
    assert oriented_ious(torch.zeros(m, 5), torch.zeros(k, 5)).shape == (m, k)
    assert oriented_overlaps(np.zeros((m, 5)), np.zeros((k, 5))).shape == (m, k)


# ---- gradients ----------------------------------------------------------------------


def test_gradients_against_differences():
    one, other = (torch.from_numpy(boxes) for boxes in random_pairs(np.random.default_rng(0)))
    ious = paired_oriented_ious(one, other)
    some = ((ious > 0.1) & (ious < 0.7)).nonzero()[:20, 0]
    given = one[some].requires_grad_(), other[some].requires_grad_()
    assert torch.autograd.gradcheck(paired_oriented_ious, given)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_and_bounded(kind, dtype):
    one, other = (
        torch.from_numpy(boxes).to(dtype).requires_grad_()
        for boxes in kind(np.random.default_rng(0))
    )
    paired_oriented_ious(one, other).sum().backward()
    for boxes in (one, other):
        # Moving an edge by 1 px changes the IoU by no more than about 1 / the shorter side.
        scale = boxes.detach()[:, 2:4].min(1, keepdim=True).values
        assert ((boxes.grad * scale)[:, :4].abs() < 5).all()
        assert boxes.grad.isfinite().all()


def test_gradients_without_area_are_finite():
    boxes = torch.tensor([[5.0, 5, 0, 0, 0], [5, 5, 8, 0, 30], [5, 5, 1e-30, 1e-30, 0]])
    for given in (boxes, boxes.double()):
        leaf = given.clone().requires_grad_()
        paired_oriented_ious(leaf[:, None], leaf[None]).sum().backward()
        assert leaf.grad.isfinite().all()


def test_climbing_the_gradient_finds_the_box():
    true = torch.tensor([50.0, 40, 30, 10, 40], dtype=torch.float64)
    box = true + torch.tensor([4.0, -3, 6, 4, 20])
    box.requires_grad_()
    optimizer = torch.optim.Adam([box], lr=0.5)
    for _ in range(150):
        optimizer.zero_grad()
        (1 - paired_oriented_ious(box, true)).backward()
        optimizer.step()
    assert paired_oriented_ious(box, true) > 0.95


# ---- traces -------------------------------------------------------------------------


class Overlapping(nn.Module):
    def forward(self, boxes, others):
        return oriented_ious(boxes, others)


def test_an_exported_graph_gives_the_same():
    one, other = (
        torch.from_numpy(boxes[:60]).reshape(2, 30, 5).float()
        for boxes in near_duplicates(np.random.default_rng(0))
    )
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Overlapping(), (one, other), dynamic_shapes=({0: batch}, {0: batch})
    )
    for given in ((one, other), (one[:1], other[:1]), (one.repeat(3, 1, 1),) * 2):
        torch.testing.assert_close(program.module()(*given), oriented_ious(*given))


def test_arrays_give_what_tensors_give():
    one, other = (boxes[:50] for boxes in random_pairs(np.random.default_rng(0)))
    expected = paired_oriented_ious(torch.from_numpy(one)[:, None], torch.from_numpy(other))
    result = oriented_overlaps(one.tolist(), other)
    assert isinstance(result, np.ndarray)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


def test_wrong_shapes_are_told():
    with pytest.raises(ValueError, match=r"shape \(2, 4\); give .* \(m, 5\)"):
        oriented_overlaps(np.zeros((2, 4)), np.zeros((1, 5)))
