"""One suite for every head of oriented boxes: a file of the folder is tried by its name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import transferkit.dense.oriented
from transferkit.dense.detection import Suppression
from transferkit.dense.oriented import (
    OrientedTarget,
    create_oriented_head,
    default_neck,
    oriented_heads,
    suited_options,
)
from transferkit.images import canonical_oriented, upright_of_oriented
from transferkit.maps import FeatureMaps
from transferkit.metrics._clipping import oriented_ious
from transferkit.necks import create_neck, neck_names

HEADS = oriented_heads()
every_head = pytest.mark.parametrize("name", HEADS)

# Strides, size of the input, and sizes of the levels.
LEVELS = {
    "8 to 32": ((8, 16, 32), (64, 96), [(8, 12), (4, 6), (2, 3)]),
    "4 to 32": ((4, 8, 16, 32), (64, 96), [(16, 24), (8, 12), (4, 6), (2, 3)]),
    "patches of 14": ((3.5, 7, 14, 28), (56, 70), [(16, 20), (8, 10), (4, 5), (2, 2)]),
    "one": ((16,), (64, 96), [(4, 6)]),
    "odd": ((8, 16, 32), (117, 75), [(15, 10), (8, 5), (4, 3)]),
    "uneven": ((8, 16, 32), (128, 160), [(14, 18), (6, 8), (2, 3)]),
    "pixels": ((16, 32), (32, 32), [(1, 1), (1, 1)]),
}
every_level_set = pytest.mark.parametrize("levels", LEVELS)
WIDTHS = (6, 8, 10, 12)


def make(name, levels="8 to 32", n_classes=4, **options):
    strides = LEVELS[levels][0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_oriented_head(
            name, WIDTHS[: len(strides)], strides, n_classes, **{"width": 16, **options}
        )


def maps_of(levels="8 to 32", n_images=2, seed=1):
    strides, size, sides = LEVELS[levels]
    draw = torch.Generator().manual_seed(seed)
    names = [f"level{i}" for i in range(len(strides))]
    maps = {
        name: torch.randn(n_images, width, *side, generator=draw)
        for name, width, side in zip(names, WIDTHS, sides, strict=False)
    }
    return FeatureMaps(maps, dict(zip(names, strides, strict=True))), size


def part_of(maps, images):
    return FeatureMaps({n: m[images] for n, m in maps.maps.items()}, maps.strides)


def target_of(oriented, labels):
    boxes = np.array(oriented, dtype=float).reshape(-1, 5)
    return OrientedTarget(
        boxes=torch.from_numpy(upright_of_oriented(boxes)).float(),
        labels=torch.tensor(labels, dtype=torch.int64),
        oriented=torch.from_numpy(canonical_oriented(boxes)).float(),
    )


NOTHING = target_of([], [])
OBJECTS = target_of([[13, 17, 24, 20, 30], [21, 16, 29, 18, -75], [5, 5, 3, 2, 45]], [1, 3, 2])
IGNORED = target_of([[13, 17, 24, 20, 30], [16, 16, 32, 32, 0]], [-1, -1])
SCENES = {
    "objects": [OBJECTS, OBJECTS],
    "none": [NOTHING, NOTHING],
    "ignored alone": [IGNORED, IGNORED],
    "mixed": [OBJECTS, NOTHING],
    "ignored and nothing": [NOTHING, IGNORED],
}


def kind_of(parameter):
    """Name of a parameter without the numbers of levels and layers."""
    return ".".join(word for word in parameter.split(".") if not word.isdigit())


def test_every_file_is_a_subject():
    folder = Path(transferkit.dense.oriented.__file__).parent
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
    # Also without objects: processes that share their gradients wait for every parameter's.
    for parameter, values in head.named_parameters():
        assert values.grad is not None, parameter
        assert torch.isfinite(values.grad).all(), parameter
    if scene == "objects":
        # Of layers of the same kind, one for each level, those learn whose level has objects;
        # an extra level has none here.
        heard = {kind_of(n) for n, values in head.named_parameters() if values.grad.any()}
        assert heard >= {kind_of(n) for n, _ in head.named_parameters() if "extra" not in n}


@every_head
@every_level_set
def test_an_image_that_is_ignored_as_a_whole_teaches_nothing(name, levels):
    maps, size = maps_of(levels)
    everywhere = target_of([[0, 0, 2000, 2000, 20]], [-1])
    assert make(name, levels).train().loss(maps, size, [everywhere, everywhere]) == 0
    assert make(name, levels).train().loss(maps, size, [NOTHING, everywhere]) > 0


@every_head
@every_level_set
def test_candidates_have_the_promised_form(name, levels):
    head = make(name, levels).eval()
    maps, size = maps_of(levels)
    with torch.no_grad():
        boxes, scores, labels = head.candidates(maps, size)
        other = head.candidates(maps_of(levels, seed=2)[0], size)
    assert boxes.shape == (2, scores.shape[1], 5)
    assert scores.shape == labels.shape == other.scores.shape
    assert scores.shape[1] > 0
    assert ((scores >= 0) & (scores <= 1)).all()
    assert labels.dtype == torch.int64
    assert ((labels >= 1) & (labels <= 3)).all()
    every = boxes.reshape(-1, 5).double().numpy()
    assert np.isfinite(every).all()
    # One set of numbers for a rectangle: the longer side first, and angles in their range.
    assert np.allclose(canonical_oriented(every), every)


@every_head
@pytest.mark.parametrize("levels", ["8 to 32", "odd", "one"])
def test_an_image_alone_or_in_a_batch(name, levels):
    head = make(name, levels).eval()
    maps, size = maps_of(levels, n_images=3)
    rule = Suppression(score=0.0, limit=20)
    with torch.no_grad():
        whole = head.detected(maps, size, rule)
        for i in range(3):
            alone = head.detected(part_of(maps, slice(i, i + 1)), size, rule)
            assert torch.allclose(alone.boxes[0], whole.boxes[i], atol=1e-3)
            assert torch.allclose(alone.scores[0], whole.scores[i], atol=1e-5)


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
@pytest.mark.parametrize("neck", neck_names())
def test_behind_every_neck(name, neck):
    strides, size, _ = LEVELS["4 to 32"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = {} if neck == "none" else {"width": 8}
        if neck == "simple":
            module = create_neck(neck, WIDTHS[2:3], strides[2:3], **options)
        else:
            module = create_neck(neck, WIDTHS, strides, **options)
        head = create_oriented_head(name, module.out_channels, module.strides, 4, width=8)
    maps, _ = maps_of("4 to 32")
    if neck == "simple":
        maps = FeatureMaps({"level2": maps.maps["level2"]}, {"level2": 16})
    assert torch.isfinite(head.loss(module(maps), size, SCENES["mixed"]))


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
    options = suited_options(name, boxes, strides, size)
    again = json.loads(json.dumps(options))
    assert again == options
    head = make(name, **options)
    maps, _ = maps_of()
    assert torch.isfinite(head.loss(maps, size, SCENES["objects"]))


@every_head
def test_extra_levels(name):
    strides, size, _ = LEVELS["8 to 32"]
    boxes = np.array([[0.0, 0, 20, 30], [0, 0, 40, 40]])
    head = make(name, extra_levels=2, **suited_options(name, boxes, strides, size))
    maps, _ = maps_of()
    n_more = head.candidates(maps, size).scores.shape[1]
    assert n_more > make(name, extra_levels=0).candidates(maps, size).scores.shape[1]
    assert torch.isfinite(head.loss(maps, size, SCENES["objects"]))


# ---- what it learns ----

SIZE = (64, 96)


def drawn(boxes, labels):
    """An image of coloured rectangles, with smooth edges."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    image = torch.zeros(3, *SIZE)
    for (cx, cy, length, width, angle), label in zip(boxes, labels, strict=True):
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        along = np.abs((x - cx) * cos - (y - cy) * sin)
        across = np.abs((x - cx) * sin + (y - cy) * cos)
        inside = np.minimum(length / 2 - along, width / 2 - across).clip(-0.5, 0.5) + 0.5
        image[label - 1] = torch.from_numpy(inside).float()
    return image


SCENE = [
    ([[24, 22, 34, 14, 20], [70, 40, 36, 20, -50]], [1, 2]),
    ([[40, 30, 40, 24, 80]], [3]),
    ([[66, 26, 40, 18, -85], [22, 44, 26, 26, -60]], [2, 1]),
    ([[48, 32, 44, 30, 45]], [1]),
]


def maps_of_pixels(pixels):
    """What stands in the parts of every cell, and more around it."""
    maps = {}
    for stride in (8, 16):
        parts = nn.functional.pixel_unshuffle(nn.functional.avg_pool2d(pixels, stride // 4), 4)
        around = nn.functional.avg_pool2d(parts, 3, stride=1, padding=1)
        maps[f"s{stride}"] = torch.cat((parts, around), 1)
    return FeatureMaps(maps, {f"s{s}": s for s in (8, 16)})


class Small(nn.Module):
    """A neck and a head on the maps of `maps_of_pixels`."""

    def __init__(self, name):
        super().__init__()
        strides = (8, 16)
        boxes = np.concatenate([upright_of_oriented(boxes) for boxes, _ in SCENE])
        self.neck = create_neck("fpn", (96, 96), strides, width=32)
        options = suited_options(name, boxes, strides, SIZE)
        self.head = create_oriented_head(name, (32,) * 2, strides, 4, **{"width": 32, **options})

    def found(self, pixels):
        with torch.no_grad():
            maps = self.neck(maps_of_pixels(pixels))
            return self.head.detected(maps, SIZE, Suppression(limit=10))


@pytest.fixture(scope="module")
def trained():
    """Each head, trained on the pictures when it is first asked for."""
    done = {}

    def get(name):
        if name not in done:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network = Small(name)
                maps = maps_of_pixels(torch.stack([drawn(*scene) for scene in SCENE]))
                targets = [target_of(*scene) for scene in SCENE]
                optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
                for step in range(150):
                    optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (150 - step) / 75)
                    loss = network.head.loss(network.neck(maps), SIZE, targets)
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                    optimizer.step()
            done[name] = network.eval()
        return done[name]

    return get


@every_head
def test_it_learns_four_pictures_by_heart(name, trained):
    found = trained(name).found(torch.stack([drawn(*scene) for scene in SCENE]))
    for boxes, scores, labels, (true, true_labels) in zip(*found, SCENE, strict=True):
        n = len(true)
        target = target_of(true, true_labels)["oriented"]
        ious = oriented_ious(boxes[:n], target)
        # The n best are the n objects, each once, a turned square too; the next is less sure.
        assert sorted(ious.argmax(1).tolist()) == list(range(n))
        assert ious.amax(1).min() > 0.8
        assert labels[:n].tolist() == [true_labels[i] for i in ious.argmax(1).tolist()]
        assert scores[n] < scores[n - 1]


# ---- errors ----


@every_head
def test_maps_that_it_was_not_made_for(name):
    maps, size = maps_of("4 to 32")
    with pytest.raises(ValueError, match="give the maps that it was made for"):
        make(name).candidates(maps, size)


@every_head
@pytest.mark.parametrize("wrong", [{"width": 1}, {"colour": 3}])
def test_options_that_make_no_head(name, wrong):
    with pytest.raises(ValueError, match=r"give|unknown option"):
        make(name, **wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"depth": -1}, {"reach": [1.0]}, {"reach": [1.0, 2.0, 0.0]}, {"extra_levels": -1}],
    ids=str,
)
def test_options_of_rotated_fcos(wrong):
    with pytest.raises(ValueError, match="give"):
        make("rotated-fcos", **wrong)


@every_head
def test_a_head_needs_levels_and_classes(name):
    with pytest.raises(ValueError, match="one level at least"):
        create_oriented_head(name, [], [], 2)
    with pytest.raises(ValueError, match="n_classes is 1"):
        create_oriented_head(name, [8], [8], 1)
