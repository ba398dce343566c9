"""Suppression of oriented boxes: that of upright ones where nothing is turned."""

import pytest
import torch

from transferkit.dense.detection import Suppression, suppressed
from transferkit.dense.objects import Candidates
from transferkit.dense.oriented import suppressed_oriented
from transferkit.images import corners_of_oriented, oriented_of_corners

RULES = (
    Suppression(iou=0.3, limit=20),
    Suppression(iou=0.6, limit=100, score=0.3),
    Suppression(iou=0.3, limit=20, is_class_agnostic=True),
    Suppression("soft", limit=20),
    Suppression("soft", limit=20, is_class_agnostic=True),
)


def candidates(n=60):
    """Upright rectangles as oriented boxes, of which many overlap; and as upright ones."""
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(3, n, 2, generator=generator) * 60
    sides = torch.rand(3, n, 2, generator=generator) * 20 + 4
    sides = sides.sort(-1, descending=True).values
    oriented = torch.cat((places, sides, torch.zeros(3, n, 1)), -1)
    upright = torch.cat((places - sides / 2, places + sides / 2), -1)
    scores = (torch.rand(3, n, generator=generator) - 0.1).clamp(min=0)
    labels = torch.randint(1, 4, (3, n), generator=generator)
    return Candidates(oriented, scores, labels), Candidates(upright, scores, labels)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_of_upright_rectangles_the_same_stay(rule):
    oriented, upright = candidates()
    found, expected = suppressed_oriented(oriented, rule), suppressed(upright, rule)
    assert found.boxes.shape == (3, rule.limit, 5)
    torch.testing.assert_close(found.scores, expected.scores)
    assert torch.equal(found.labels, expected.labels)
    centres = (expected.boxes[..., :2] + expected.boxes[..., 2:]) / 2
    torch.testing.assert_close(found.boxes[..., :2], centres)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_turning_the_whole_picture_changes_nothing_but_the_boxes(rule):
    given, _ = candidates()
    turn = torch.deg2rad(torch.tensor(33.0))
    rotation = torch.tensor([[turn.cos(), -turn.sin()], [turn.sin(), turn.cos()]])
    corners = torch.from_numpy(corners_of_oriented(given.boxes.reshape(-1, 5).numpy())).float()
    turned = torch.from_numpy(oriented_of_corners((corners @ rotation).numpy())).float()
    found = suppressed_oriented(given._replace(boxes=turned.reshape(3, -1, 5)), rule)
    expected = suppressed_oriented(given, rule)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.labels, expected.labels)
    torch.testing.assert_close(found.boxes[..., 2:4], expected.boxes[..., 2:4])


def test_near_duplicates_leave_one_and_what_is_left_over_is_nothing():
    box = torch.tensor([30.0, 30, 20, 8, 25])
    boxes = box + torch.randn(1, 40, 5, generator=torch.Generator().manual_seed(0)) * 1e-4
    given = Candidates(boxes, torch.linspace(0.9, 0.5, 40)[None], torch.ones(1, 40).long())
    found = suppressed_oriented(given, Suppression(limit=50))
    assert (found.scores > 0).sum() == 1
    assert found.scores[0, 0] == pytest.approx(0.9)
    assert not found.boxes[0, 1:].any()
    assert not found.labels[0, 1:].any()
