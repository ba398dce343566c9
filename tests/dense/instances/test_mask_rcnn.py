"""Mask R-CNN's third loss, against a plainer way."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from tests.dense.instances.test_every_head import OBJECTS, make, maps_of
from transferkit.dense.detection._assignment import BACKGROUND, LEFT_OUT
from transferkit.dense.detection.faster_rcnn import Regions
from transferkit.dense.instances._coverage import read_at

BOXES = [[3.0, 5, 23, 29], [4, 4, 20, 30], [12, 2, 30, 31], [0, 0, 9, 9], [40, 10, 60, 30]]
OF = [0, 0, 1, BACKGROUND, LEFT_OUT]
LABELS = [1, 1, 3, 0, 0]


def regions(order=(0, 1, 2, 3, 4)):
    """Five regions of each of two images, in some order."""
    at = list(order)
    boxes = torch.tensor(BOXES)[at].expand(2, -1, -1)
    objects, labels = (torch.tensor(each)[at].expand(2, -1) for each in (OF, LABELS))
    return Regions(boxes, objects, labels, boxes)


def loss_of(head, *, order=(0, 1, 2, 3, 4)):
    maps, size = maps_of()
    levels = head.equally_wide(maps)
    return head.loss_of_masks(levels, size, regions(order), [OBJECTS, OBJECTS]), levels, size


@pytest.mark.parametrize("is_class_agnostic", [False, True])
def test_the_loss_is_that_of_the_true_class_in_regions_of_objects(is_class_agnostic):
    head = make("mask-rcnn", is_class_agnostic=is_class_agnostic)
    loss, levels, size = loss_of(head)
    own = []
    for image in range(2):
        for box, of, label in zip(BOXES[:3], OF, LABELS, strict=False):
            region = torch.tensor([[float(image), *box]])
            logits = head.mask_head(head.mask_regions(levels, region, size))[0]
            seen = logits[0] if is_class_agnostic else logits[label - 1]
            true = read_at(OBJECTS["masks"][[of]], OBJECTS["spans"][[of]], torch.tensor([box]), 28)[
                0
            ]
            own.append(binary_cross_entropy_with_logits(seen, true))
    assert torch.allclose(loss, torch.stack(own).mean(), atol=1e-5)


def test_masks_of_other_classes_are_left_alone():
    head = make("mask-rcnn")
    loss_of(head)[0].backward()
    gradient = head.mask_head[-1].weight.grad.abs().sum((1, 2, 3))
    # Classes 1 and 3 are there, and 2 isn't.
    assert (gradient > 0).tolist() == [True, False, True]


def test_few_regions_are_enough():
    first, _, _ = loss_of(make("mask-rcnn", n_masks=1))
    # The first region of an object, wherever it stands.
    again, _, _ = loss_of(make("mask-rcnn", n_masks=1), order=(3, 4, 0, 2, 1))
    other, _, _ = loss_of(make("mask-rcnn", n_masks=1), order=(2, 1, 0, 3, 4))
    assert torch.allclose(first, again)
    assert not torch.allclose(first, other)
