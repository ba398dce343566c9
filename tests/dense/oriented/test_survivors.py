"""Greedy suppression by a matrix of overlaps against a plain loop."""

import numpy as np
import pytest
import torch

from transferkit.dense.oriented._survivors import survivors_of_overlaps
from transferkit.metrics._clipping import oriented_ious


def by_loop(overlaps, scores, groups, iou):
    """One image's, from the best object to the worst."""
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if scores[i] > 0 and not any(overlaps[k][i] > iou and groups[k] == groups[i] for k in kept):
            kept.append(i)
    return [i in kept for i in range(len(scores))]


def scene(n_images, n, seed=0):
    rng = np.random.default_rng(seed)
    boxes = np.concatenate(
        [
            rng.uniform(0, 60, (n_images, n, 2)),
            rng.uniform(1, 30, (n_images, n, 2)),
            rng.uniform(-90, 90, (n_images, n, 1)),
        ],
        2,
    )
    # Near-duplicates of some of the others.
    half = n // 2
    boxes[:, half:] = boxes[:, : n - half] + rng.normal(size=(n_images, n - half, 5)) * 1e-4
    # Scores of which many are equal, and some 0.
    scores = rng.integers(0, 12, (n_images, n)) / 12
    groups = rng.integers(0, 3, (n_images, n))
    return torch.tensor(boxes).float(), torch.tensor(scores).float(), torch.tensor(groups)


@pytest.mark.parametrize("iou", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_a_plain_loop_gives_the_same(iou, n):
    for seed in range(10):
        boxes, scores, groups = scene(3, n, seed)
        overlaps = oriented_ious(boxes, boxes)
        expected = [
            by_loop(*(each[i].tolist() for each in (overlaps, scores, groups)), iou)
            for i in range(3)
        ]
        assert survivors_of_overlaps(overlaps, scores, groups, iou).tolist() == expected


def test_near_duplicates_leave_one():
    boxes, scores, groups = scene(4, 100)
    stay = survivors_of_overlaps(oriented_ious(boxes, boxes), scores, groups * 0, 0.5)
    both = stay[:, :50] & stay[:, 50:]
    assert not both.any()
    assert (stay.sum(1) > 5).all()


def test_a_long_chain_is_followed_to_its_end():
    # Each beats the next one, so every other one stays.
    n = 101
    overlaps = (torch.arange(n)[:, None] - torch.arange(n)).abs() <= 1
    scores = torch.linspace(1, 0.1, n)[None]
    stay = survivors_of_overlaps(overlaps[None].float(), scores, torch.zeros(1, n).long(), 0.5)
    assert stay[0].tolist() == [i % 2 == 0 for i in range(n)]


def test_nothing_stays_of_nothing():
    none = torch.zeros(2, 5, 5), torch.zeros(2, 5), torch.zeros(2, 5).long()
    assert not survivors_of_overlaps(*none, 0.5).any()
    empty = torch.zeros(2, 0, 0), torch.zeros(2, 0), torch.zeros(2, 0).long()
    assert survivors_of_overlaps(*empty, 0.5).shape == (2, 0)


def test_the_operator_is_sound():
    boxes, scores, _ = scene(2, 20)
    beats = oriented_ious(boxes, boxes) > 0.5
    beats &= scores[:, :, None] > scores[:, None]
    torch.library.opcheck(torch.ops.transferkit.unrivalled.default, (beats, scores > 0))
