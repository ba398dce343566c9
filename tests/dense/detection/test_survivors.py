"""The operator of suppression against greedy suppression box by box."""

import pytest
import torch
from torchvision.ops import box_iou

from transferkit.dense.detection._survivors import survivors


def greedily(boxes, scores, groups, iou):
    overlaps, kept = box_iou(boxes, boxes), []
    for i in scores.argsort(descending=True, stable=True).tolist():
        rivals = [j for j in kept if groups[j] == groups[i]]
        if scores[i] > 0 and all(overlaps[i, j] <= iou for j in rivals):
            kept.append(i)
    return [i in kept for i in range(len(boxes))]


@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_each_image_and_group_by_itself(iou):
    torch.manual_seed(0)
    corners = torch.rand(3, 60, 2) * 40
    boxes = torch.cat((corners, corners + 5 + torch.rand(3, 60, 2) * 25), -1)
    scores = (torch.rand(3, 60) - 0.2).clamp(min=0)
    groups = torch.randint(0, 3, (3, 60))
    found = survivors(boxes, scores, groups, iou).tolist()
    expected = [greedily(*image, iou) for image in zip(boxes, scores, groups, strict=True)]
    assert found == expected
    assert 0 < sum(map(sum, found)) < (scores > 0).sum()


def test_no_box_at_all():
    boxes, scores = torch.zeros(2, 5, 4), torch.zeros(2, 5)
    assert not survivors(boxes, scores, torch.zeros(2, 5).long(), 0.5).any()


def test_an_exporter_needs_its_shape_alone():
    program = torch.export.export(
        Suppressing(),
        (torch.zeros(2, 5, 4), torch.zeros(2, 5)),
        dynamic_shapes=({0: torch.export.Dim("n")}, {0: torch.export.Dim("n")}),
    )
    targets = [str(node.target) for node in program.graph.nodes]
    assert "transferkit.survivors.default" in targets


class Suppressing(torch.nn.Module):
    def forward(self, boxes, scores):
        return survivors(boxes, scores, torch.zeros_like(scores).long(), 0.5)
