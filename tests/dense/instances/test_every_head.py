"""One suite for every instance head: a file of the folder is tried by its name.

Levels and maps are those of the suite of detection heads.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import transferkit.dense.instances
from tests.dense.detection.test_every_head import (
    LEVELS,
    WIDTHS,
    every_level_set,
    kind_of,
    maps_of,
    maps_of_pixels,
    part_of,
)
from transferkit.annotations import Annotations, Masks
from transferkit.dense.detection import Suppression, suppressed
from transferkit.dense.instances import (
    InstanceDetections,
    create_instance_head,
    default_neck,
    instance_heads,
    suited_options,
)
from transferkit.dense.kinds import object_kind
from transferkit.images import Frame
from transferkit.necks import create_neck, neck_names

KIND = object_kind("instances")
HEADS = instance_heads()
every_head = pytest.mark.parametrize("name", HEADS)


def make(name, levels="8 to 32", n_classes=4, **options):
    strides = LEVELS[levels][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = {"width": 16, "mask_width": 8, **options}
        return create_instance_head(name, WIDTHS[: len(strides)], strides, n_classes, **given)


def target_of(boxes, labels, size=(64, 96)):
    """Ellipses in some boxes; a label below 0 is ignored."""
    masks = np.zeros((len(boxes), *size), dtype=bool)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        dx, dy = (
            (x - (left + right) / 2) / (right - left),
            (y - (top + bottom) / 2) / (bottom - top),
        )
        mask[:] = dx**2 + dy**2 <= 0.25
    labels = np.array(labels, dtype=np.int64)
    one = Annotations(
        size,
        boxes=np.array(boxes, dtype=float).reshape(-1, 4),
        masks=masks,
        labels=np.abs(labels),
        ignored=labels < 0,
    )
    return KIND.target(KIND.held(one), Frame(), size)


NOTHING = target_of([], [])
OBJECTS = target_of([[3, 5, 23, 29], [12, 2, 30, 31], [1, 1, 4, 3]], [1, 3, 2])
IGNORED = target_of([[3, 5, 23, 29], [0, 0, 32, 32]], [-1, -1])
SCENES = {
    "objects": [OBJECTS, OBJECTS],
    "none": [NOTHING, NOTHING],
    "ignored alone": [IGNORED, IGNORED],
    "mixed": [OBJECTS, NOTHING],
    "ignored and nothing": [NOTHING, IGNORED],
}
RULE = Suppression(score=0.0, limit=20)


def test_every_file_is_a_subject():
    folder = Path(transferkit.dense.instances.__file__).parent
    assert len(HEADS) == len(list(folder.glob("[!_]*.py"))) >= 1


@every_head
@every_level_set
@pytest.mark.parametrize("scene", SCENES)
def test_loss_is_finite_and_every_parameter_learns(name, levels, scene):
    head = make(name, levels).train()
    maps, size = maps_of(levels)
    torch.manual_seed(0)
    loss = head.loss(maps, size, SCENES[scene])
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    loss.backward()
    for parameter, values in head.named_parameters():
        assert values.grad is not None, parameter
        assert torch.isfinite(values.grad).all(), parameter
    heard = {kind_of(n) for n, values in head.named_parameters() if values.grad.any()}
    every = {kind_of(n) for n, _ in head.named_parameters()}
    assert (
        heard == every
        if scene == "objects"
        else not any("mask" in n for n in heard) or (scene == "mixed")
    )


@every_head
def test_an_image_that_is_ignored_as_a_whole_teaches_nothing(name):
    maps, size = maps_of()
    everywhere = {**IGNORED, "boxes": torch.tensor([[-1000.0, -1000, 1000, 1000]] * 2)}
    assert make(name).train().loss(maps, size, [everywhere, everywhere]) == 0
    assert make(name).train().loss(maps, size, [NOTHING, everywhere]) > 0


@every_head
@every_level_set
@pytest.mark.parametrize("is_class_agnostic", [False, True])
def test_detections_have_the_promised_form(name, levels, is_class_agnostic):
    head = make(name, levels, is_class_agnostic=is_class_agnostic).eval()
    maps, size = maps_of(levels)
    with torch.no_grad():
        found = head.detected(maps, size, RULE)
        boxes = suppressed(head.candidates(maps, size), RULE)
    assert isinstance(found, InstanceDetections)
    # They are those that the boxes' own rule leaves.
    assert all(torch.equal(a, b) for a, b in zip(found, boxes, strict=False))
    assert found.masks.shape == (2, RULE.limit, 28, 28)
    assert ((found.masks >= 0) & (found.masks <= 1)).all()
    is_object = found.labels > 0
    assert is_object.any()
    assert (found.masks[is_object].flatten(1).max(1).values > 0).all()
    assert not found.masks[~is_object].any()


@every_head
@pytest.mark.parametrize("levels", ["8 to 32", "odd", "one"])
def test_an_image_alone_or_in_a_batch(name, levels):
    head = make(name, levels).eval()
    maps, size = maps_of(levels, n_images=3)
    with torch.no_grad():
        whole = head.detected(maps, size, RULE)
        for i in range(3):
            alone = head.detected(part_of(maps, slice(i, i + 1)), size, RULE)
            for a, b in zip(alone, whole, strict=True):
                assert torch.allclose(a[0].float(), b[i].float(), atol=1e-3)


@every_head
def test_in_a_graph_of_fixed_shapes_it_finds_the_same(name, monkeypatch):
    head = make(name).eval()
    maps, size = maps_of()
    rule = Suppression(iou=0.3, limit=400)  # with places where there is no object
    with torch.no_grad():
        found = head.detected(maps, size, rule)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        again = head.detected(maps, size, rule)
    assert (found.labels == 0).any()
    for a, b in zip(found, again, strict=True):
        assert torch.allclose(a.float(), b.float(), atol=1e-5)


@every_head
def test_bfloat16_computes_its_loss_in_float32(name):
    head = make(name).train()
    maps, size = maps_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head.loss(maps, size, SCENES["mixed"])
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(torch.isfinite(values.grad).all() for values in head.parameters())


@every_head
def test_default_neck_is_one(name):
    assert default_neck(name) in neck_names()


@every_head
@pytest.mark.parametrize("n_boxes", [0, 1, 50])
def test_suited_options_are_json_and_are_taken(name, n_boxes):
    draw = np.random.default_rng(0)
    corners = draw.uniform(0, 60, (n_boxes, 2))
    boxes = np.concatenate((corners, corners + draw.uniform(0, 30, (n_boxes, 2))), 1)
    strides, size, _ = LEVELS["8 to 32"]
    for most in (1, 300):
        options = suited_options(name, boxes, strides, size, most=most)
        assert json.loads(json.dumps(options)) == options
        head = make(name, **options)
        assert torch.isfinite(head.loss(maps_of()[0], size, SCENES["objects"]))


# ---- what it learns ----

SIZE = (64, 96)


def pictures():
    """Four images of coloured ellipses, and what stands on them."""
    objects = [
        [((8, 10, 40, 34), 1), ((52, 20, 90, 58), 2)],
        [((16, 6, 48, 54), 3)],
        [((50, 6, 84, 44), 2), ((4, 30, 34, 60), 1)],
        [((24, 12, 72, 50), 1)],
    ]
    pixels, targets = torch.zeros(4, 3, *SIZE), []
    for image, own in zip(pixels, objects, strict=True):
        target = target_of([box for box, _ in own], [label for _, label in own])
        targets.append(target)
        for mask, (_, label) in zip(KIND.truth(target, SIZE).masks, own, strict=True):
            image[label - 1][torch.from_numpy(mask)] = 1
    return pixels, targets


class Small(nn.Module):
    """A neck and a head on the maps of `maps_of_pixels`."""

    def __init__(self, name):
        super().__init__()
        strides = (8, 16, 32)
        boxes = torch.cat([target["boxes"] for target in pictures()[1]]).numpy()
        self.neck = create_neck("fpn", (6, 6, 6), strides, width=32)
        options = {
            "width": 32,
            "box_width": 64,
            "mask_width": 16,
            "mask_depth": 2,
            "per_level": 64,
            "n_proposals": 64,
            "n_drawn": 32,
            **suited_options(name, boxes, strides, SIZE),
        }
        self.head = create_instance_head(name, (32,) * 3, strides, 4, **options)


@every_head
def test_it_learns_four_pictures_by_heart(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Small(name)
        pixels, targets = pictures()
        maps = maps_of_pixels(pixels)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        for step in range(120):
            optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (120 - step) / 60)
            loss = network.head.loss(network.neck(maps), SIZE, targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    with torch.no_grad():
        found = network.eval().head.detected(network.neck(maps), SIZE, Suppression(limit=10))
    for i, target in enumerate(targets):
        truth, own = KIND.truth(target, SIZE), KIND.found(found, i, Frame(), SIZE)
        n = len(truth.labels)
        overlaps = Masks(SIZE, own.masks.regions[:n]).overlaps(truth.masks)
        # The n best are the n objects, each once.
        assert sorted(overlaps.argmax(1).tolist()) == list(range(n))
        assert overlaps.max(1).min() > 0.7
        assert (own.labels[:n] == truth.labels[overlaps.argmax(1)]).all()


# ---- errors ----


@every_head
@pytest.mark.parametrize("wrong", [{"mask_width": 0}, {"mask_depth": 0}, {"n_masks": 0},
                                   {"width": 1}, {"colour": 3}])  # fmt: skip
def test_options_that_make_no_head(name, wrong):
    with pytest.raises(ValueError, match=r"give|unknown option"):
        make(name, **wrong)


@every_head
def test_maps_that_it_was_not_made_for(name):
    maps, size = maps_of("4 to 32")
    with pytest.raises(ValueError, match="give the maps that it was made for"):
        make(name).detected(maps, size, RULE)
