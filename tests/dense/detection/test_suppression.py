"""Suppression against a plain loop and torchvision's; its shapes; its rules."""

import dataclasses
import math

import pytest
import torch
from torchvision.ops import batched_nms, box_iou

from transferkit.dense.detection import Candidates
from transferkit.dense.detection._suppression import Suppression, suppressed


def scene(n_images=3, n=60, n_classes=3, seed=0):
    """Boxes that overlap often, of scores that all differ."""
    draw = torch.Generator().manual_seed(seed)
    corners = torch.rand(n_images, n, 2, generator=draw) * 60
    sides = 5 + torch.rand(n_images, n, 2, generator=draw) * 40
    scores = torch.stack([torch.randperm(n, generator=draw) + 1 for _ in range(n_images)]) / (n + 1)
    labels = torch.randint(1, n_classes + 1, (n_images, n), generator=draw)
    return Candidates(torch.cat((corners, corners + sides), 2), scores, labels)


def image_of(candidates, i):
    return Candidates(*(each[i] for each in candidates))


def plain_loop(boxes, scores, labels, rule):
    """Positions that stay with their scores, the best first."""
    left = {i: s for i, s in enumerate(scores.tolist()) if s >= rule.score}
    ious = box_iou(boxes, boxes).tolist()
    taken = []
    while left and len(taken) < rule.limit:
        best = max(left, key=left.get)
        if left[best] < rule.score:
            break
        taken.append((best, left.pop(best)))
        for i in list(left):
            if labels[i] != labels[best] and not rule.is_class_agnostic:
                continue
            if rule.method == "soft":
                left[i] *= math.exp(-(ious[best][i] ** 2) / rule.sigma)
            elif ious[best][i] > rule.iou:
                del left[i]
    return taken


RULES = [
    Suppression(limit=100, score=0.0),
    Suppression(limit=100, iou=0.3, score=0.3),
    Suppression(limit=7),
    Suppression(is_class_agnostic=True),
    Suppression("soft"),
    Suppression("soft", sigma=0.2, score=0.1, limit=100),
    Suppression("soft", is_class_agnostic=True, limit=7),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_what_stays_is_that_of_a_plain_loop(rule):
    candidates = scene()
    found = suppressed(candidates, rule)
    assert found.scores.shape == (3, rule.limit)
    for i in range(3):
        boxes, scores, labels = image_of(candidates, i)
        taken = plain_loop(boxes, scores, labels, rule)
        n = len(taken)
        assert 1 < n <= rule.limit
        at = torch.tensor([place for place, _ in taken])
        assert torch.equal(found.boxes[i, :n], boxes[at])
        assert torch.equal(found.labels[i, :n], labels[at])
        expected = torch.tensor([score for _, score in taken])
        assert torch.allclose(found.scores[i, :n], expected, atol=1e-6)
        assert not found.boxes[i, n:].any()
        assert not found.scores[i, n:].any()
        assert not found.labels[i, n:].any()


def test_the_classic_way_is_torchvisions():
    candidates = scene(n=300, seed=1)
    found = suppressed(candidates, Suppression(iou=0.5, score=0.0, limit=300))
    for i in range(3):
        boxes, scores, labels = image_of(candidates, i)
        kept = batched_nms(boxes, scores, labels, 0.5)
        assert torch.equal(found.boxes[i, : len(kept)], boxes[kept])
        assert int((found.scores[i] > 0).sum()) == len(kept)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_an_image_alone_or_in_a_batch(rule):
    candidates = scene()
    whole = suppressed(candidates, rule)
    for i in range(3):
        alone = suppressed(Candidates(*(each[i : i + 1] for each in candidates)), rule)
        for one, each in zip(alone, whole, strict=True):
            assert torch.equal(one[0], each[i])


@pytest.mark.parametrize("method", ["classic", "soft"])
def test_nothing_to_find(method):
    candidates = scene(n=5)
    none = candidates._replace(scores=torch.zeros(3, 5))
    found = suppressed(none, Suppression(method, limit=4))
    assert [each.shape for each in found] == [(3, 4, 4), (3, 4), (3, 4)]
    assert not any(each.any() for each in found)
    assert found.labels.dtype == torch.int64


@pytest.mark.parametrize("method", ["classic", "soft"])
def test_half_precision_is_computed_in_full(method):
    candidates = scene()
    half = Candidates(candidates.boxes.half(), candidates.scores.half(), candidates.labels)
    whole = Candidates(half.boxes.float(), half.scores.float(), half.labels)
    for a, b in zip(
        suppressed(half, Suppression(method)), suppressed(whole, Suppression(method)), strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "classical"},
        {"iou": 1.5},
        {"sigma": 0.0},
        {"score": -0.1},
        {"score": math.nan},
        {"limit": 0},
        {"limit": 2.5},
        {"limit": True},
    ],
    ids=str,
)
def test_rules_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=r"give|did you mean"):
        dataclasses.replace(Suppression(), **wrong)
