"""Losses of single-stage heads, each against a plain loop."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from torchvision.ops import box_iou

from transferkit.dense.detection import Target
from transferkit.dense.detection._assignment import BACKGROUND, LEFT_OUT
from transferkit.dense.detection._losses import focal_sum, paired_ious
from transferkit.dense.detection.ssd import _class_loss

TARGET = Target(boxes=torch.tensor([[0.0, 0, 9, 9]] * 3), labels=torch.tensor([2, -1, 1]))


def test_focal_loss_is_that_of_a_plain_loop():
    torch.manual_seed(0)
    scores = torch.randn(6, 2)
    assignment = torch.tensor([0, BACKGROUND, LEFT_OUT, 2, BACKGROUND, LEFT_OUT])
    expected = 0.0
    for place, owner in enumerate(assignment.tolist()):
        for label in (1, 2):
            p = 1 / (1 + math.exp(-float(scores[place, label - 1])))
            if owner == LEFT_OUT:
                continue
            if owner >= 0 and int(TARGET["labels"][owner]) == label:
                expected -= 0.25 * (1 - p) ** 2 * math.log(p)
            else:
                expected -= 0.75 * p**2 * math.log(1 - p)
    assert float(focal_sum(scores, assignment, TARGET)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("n_positive", "n_background"), [(0, 200), (2, 200), (9, 200), (9, 5)])
def test_ssd_learns_three_hard_places_for_each_of_an_object(n_positive, n_background):
    torch.manual_seed(0)
    owners = [0, 2] * n_positive
    assignment = torch.tensor(owners[:n_positive] + [BACKGROUND] * n_background + [LEFT_OUT] * 50)
    scores = 3 * torch.randn(len(assignment), 3)
    losses = {
        owner: sorted(
            (
                float(cross_entropy(scores[i], TARGET["labels"][owner] * (owner >= 0)))
                for i in range(len(assignment))
                if assignment[i] == owner
            ),
            reverse=True,
        )
        for owner in (0, 2, BACKGROUND)
    }
    n_hard = max(3 * n_positive, 8)
    expected = sum(losses[0]) + sum(losses[2]) + sum(losses[BACKGROUND][:n_hard])
    assert float(_class_loss(scores, assignment, TARGET)) == pytest.approx(expected, rel=1e-5)


def test_paired_ious_are_the_diagonal():
    torch.manual_seed(0)
    corners = torch.rand(2, 50, 2) * 20
    boxes, others = torch.cat((corners, corners + torch.rand(2, 50, 2) * 20), 2)
    assert torch.allclose(paired_ious(boxes, others), box_iou(boxes, others).diagonal(), atol=1e-6)
    assert paired_ious(torch.zeros(1, 4), torch.zeros(1, 4)).tolist() == [0.0]
