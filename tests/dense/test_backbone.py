"""A backbone and a neck in one module, below torchvision's detectors and below our heads."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD

from transferkit import create_backbone
from transferkit.dense.backbone import PyramidBackbone, with_neck
from transferkit.dense.detection import create_detection_head, detection_heads
from transferkit.dense.segmentation import create_segmentation_head
from transferkit.necks import create_neck


def stages(name="test_resnet", **options):
    return create_backbone(name, pretrained=False, features_only=True, **options)


@pytest.mark.parametrize(
    ("name", "options", "neck", "strides"),
    [
        ("test_resnet", {"output_indices": (2, 3, 4)}, "fpn", (8, 16, 32)),
        ("test_resnet", {"output_indices": (2, 4)}, "panet", (8, 32)),
        ("test_resnet", {"output_indices": (4,), "output_stride": 16}, "none", (16,)),
        ("test_vit", {}, "fpn", (4, 8, 16, 32)),
        ("test_vit", {"layers": ["final"]}, "simple", (4, 8, 16, 32)),
        ("test_convnext", {"output_indices": (1, 2, 3)}, "bifpn", (8, 16, 32)),
    ],
)
def test_levels_of_any_neck(name, options, neck, strides):
    backbone = with_neck(stages(name, image_size=(64, 96), **options), neck)
    levels = backbone(torch.zeros(2, 3, 64, 96))
    assert list(levels) == [str(i) for i in range(len(strides))]
    assert backbone.strides == strides
    sizes = [(64 // stride, 96 // stride) for stride in strides]
    assert [tuple(x.shape[2:]) for x in levels.values()] == sizes
    assert {x.shape[1] for x in levels.values()} == {backbone.out_channels}


def test_levels_are_those_of_neck_and_backbone():
    backbone = with_neck(stages(output_indices=(2, 3, 4)), "fpn", width=16)
    images = torch.rand(2, 3, 64, 96)
    maps = backbone.maps(images)
    expected = backbone.neck(backbone.backbone.maps(images))
    for level, name in zip(backbone(images).values(), expected.maps, strict=True):
        assert torch.equal(level, maps.maps[name])
        assert torch.equal(level, expected.maps[name])


def test_widths_that_differ_are_told_one_by_one():
    backbone = with_neck(stages(output_indices=(2, 4)), "none")
    assert backbone.out_channels == (48, 96)


def test_a_frozen_backbone_stays_so_while_the_neck_learns():
    backbone = with_neck(stages(output_indices=(2, 3, 4))).train()
    assert not backbone.backbone.training
    assert backbone.neck.training
    sum(x.sum() for x in backbone(torch.rand(1, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in backbone.neck.parameters())
    assert all(p.grad is None for p in backbone.backbone.parameters())


def test_a_head_of_ours_stands_on_it():
    backbone = with_neck(stages(output_indices=(2, 3, 4)), "fpn", width=16)
    head = create_segmentation_head("fpn", (16, 16, 16), backbone.strides, n_classes=3)
    assert head(backbone.maps(torch.rand(2, 3, 64, 64))).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("name", detection_heads())
def test_any_detection_head_of_ours_stands_on_it(name):
    backbone = with_neck(stages(output_indices=(2, 3, 4), trainable=True), "fpn", width=16)
    head = create_detection_head(name, (16, 16, 16), backbone.strides, n_classes=3)
    truth = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 30.0]]), "labels": torch.tensor([1])}
    loss = head.train().loss(backbone.maps(torch.rand(2, 3, 64, 96)), (64, 96), [truth, truth])
    loss.backward()
    trained = [p for p in backbone.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in trained)
    with torch.no_grad():
        found = head.eval().candidates(backbone.eval().maps(torch.rand(2, 3, 64, 96)), (64, 96))
    assert found.boxes.shape[0] == 2


def test_ssd_takes_the_bare_backbone():
    backbone = stages(output_indices=(3, 4), trainable=True)
    anchors = DefaultBoxGenerator([[2], [2]], min_ratio=20, max_ratio=90)
    detector = SSD(backbone, anchors, (64, 64), 3, image_mean=backbone.mean)
    truth = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 30.0]]), "labels": torch.tensor([1])}
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    losses = detector.train()(images, [truth, truth])
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)
    assert len(detector.eval()(images)) == 2


def test_a_neck_of_other_widths_is_refused():
    with pytest.raises(ValueError, match=r"widths \[8, 16\].*make it for these"):
        PyramidBackbone(stages(output_indices=(2, 3)), create_neck("fpn", [8, 16], [8, 16]))
