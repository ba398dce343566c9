"""One suite for every detection head: a file of the folder is tried by its name."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

import transferkit.dense.detection
from transferkit.dense.detection import (
    Target,
    create_detection_head,
    default_neck,
    detection_heads,
    suited_options,
)
from transferkit.dense.detection._suppression import Suppression, suppressed
from transferkit.maps import FeatureMaps
from transferkit.necks import create_neck, neck_names

HEADS = detection_heads()
every_head = pytest.mark.parametrize("name", HEADS)
ONE_STAGE = ("fcos", "retinanet", "ssd")

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
        return create_detection_head(
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


def target_of(boxes, labels):
    return Target(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
    )


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


def kind_of(parameter):
    """Name of a parameter without the numbers of levels and layers."""
    return ".".join(word for word in parameter.split(".") if not word.isdigit())


def test_every_file_is_a_subject():
    folder = Path(transferkit.dense.detection.__file__).parent
    assert len(HEADS) == len(list(folder.glob("[!_]*.py"))) >= 4


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
    everywhere = target_of([[-1000, -1000, 1000, 1000]], [-1])
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
    assert boxes.shape == (2, scores.shape[1], 4)
    assert scores.shape == labels.shape == other.scores.shape
    assert scores.shape[1] > 0
    assert ((scores >= 0) & (scores <= 1)).all()
    assert labels.dtype == torch.int64
    assert ((labels >= 1) & (labels <= 3)).all()
    assert (boxes >= 0).all()
    assert (boxes[..., 0::2] <= size[1]).all()
    assert (boxes[..., 1::2] <= size[0]).all()
    assert (boxes[..., 2:] >= boxes[..., :2]).all()


@every_head
@pytest.mark.parametrize("levels", ["8 to 32", "odd", "one"])
def test_an_image_alone_or_in_a_batch(name, levels):
    head = make(name, levels).eval()
    maps, size = maps_of(levels, n_images=3)
    rule = Suppression(score=0.0, limit=20)
    with torch.no_grad():
        whole = suppressed(head.candidates(maps, size), rule)
        for i in range(3):
            alone = suppressed(head.candidates(part_of(maps, slice(i, i + 1)), size), rule)
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
        head = create_detection_head(name, module.out_channels, module.strides, 4, width=8)
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


def test_heads_of_one_stage_take_extra_levels():
    able = {n for n in HEADS if "extra_levels" in inspect.signature(type(make(n))).parameters}
    assert able == set(ONE_STAGE)


@pytest.mark.parametrize("name", ONE_STAGE)
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


def pictures():
    """Four images of coloured rectangles, and what stands on them."""
    rectangles = [
        [((8, 10, 40, 34), 1), ((52, 20, 90, 58), 2)],
        [((16, 6, 48, 54), 3)],
        [((50, 6, 84, 44), 2), ((4, 30, 34, 60), 1)],
        [((24, 12, 72, 50), 1)],
    ]
    pixels = torch.zeros(4, 3, *SIZE)
    targets = []
    for image, objects in zip(pixels, rectangles, strict=True):
        for (left, top, right, bottom), label in objects:
            image[label - 1, top:bottom, left:right] = 1
        targets.append(target_of([box for box, _ in objects], [label for _, label in objects]))
    return pixels, targets


def maps_of_pixels(pixels):
    """Colours and places, averaged over the cells of each level, and over more around them."""
    maps = {}
    for stride in (8, 16, 32):
        near = nn.functional.avg_pool2d(pixels, stride)
        far = nn.functional.avg_pool2d(near, 3, stride=1, padding=1)
        maps[f"s{stride}"] = torch.cat((near, far), 1)
    return FeatureMaps(maps, {f"s{s}": s for s in (8, 16, 32)})


class Small(nn.Module):
    """A neck and a head on the maps of `maps_of_pixels`."""

    def __init__(self, name):
        super().__init__()
        strides = (8, 16, 32)
        boxes = torch.cat([target["boxes"] for target in pictures()[1]]).numpy()
        self.neck = create_neck("fpn", (6, 6, 6), strides, width=32)
        options = suited_options(name, boxes, strides, SIZE)
        self.head = create_detection_head(name, (32,) * 3, strides, 4, **{"width": 32, **options})

    def found(self, pixels):
        with torch.no_grad():
            candidates = self.head.candidates(self.neck(maps_of_pixels(pixels)), SIZE)
        return suppressed(candidates, Suppression(limit=10))


@pytest.fixture(scope="module")
def trained():
    """Each head, trained on the pictures when it is first asked for."""
    done = {}

    def get(name):
        if name not in done:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                network = Small(name)
                pixels, targets = pictures()
                maps = maps_of_pixels(pixels)
                optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
                for step in range(80):
                    optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (80 - step) / 40)
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
    pixels, targets = pictures()
    found = trained(name).found(pixels)
    for boxes, scores, labels, target in zip(*found, targets, strict=True):
        n = len(target["boxes"])
        ious = box_iou(boxes[:n], target["boxes"])
        # The n best are the n objects, each once, and the next is much less sure.
        assert sorted(ious.argmax(1).tolist()) == list(range(n))
        assert ious.amax(1).min() > 0.75
        assert torch.equal(labels[:n], target["labels"][ious.argmax(1)])
        assert scores[n] < scores[n - 1]


@every_head
def test_a_moved_scene_moves_the_boxes(name, trained):
    # By a stride of the coarsest level, so that every level sees the same, but for its edges.
    pixels = torch.zeros(2, 3, *SIZE)
    pixels[0, 1, 16:48, 16:48] = 1
    pixels[1, :, :, 32:] = pixels[0, :, :, :-32]
    found = trained(name).found(pixels)
    assert found.labels[:, 0].tolist() == [2, 2]
    moved = found.boxes[1, 0] - found.boxes[0, 0]
    assert torch.allclose(moved, torch.tensor([32.0, 0, 32, 0]), atol=8)


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
    ("name", "wrong"),
    [
        ("fcos", {"depth": -1}),
        ("fcos", {"reach": [1.0]}),
        ("fcos", {"reach": [1.0, 2.0, 0.0]}),
        ("fcos", {"extra_levels": -1}),
        ("retinanet", {"sizes": [[8.0]]}),
        ("ssd", {"ratios": []}),
    ],
    ids=str,
)
def test_options_of_one_head(name, wrong):
    with pytest.raises(ValueError, match="give"):
        make(name, **wrong)


@every_head
def test_a_head_needs_levels_and_classes(name):
    with pytest.raises(ValueError, match="one level at least"):
        create_detection_head(name, [], [], 2)
    with pytest.raises(ValueError, match="n_classes is 1"):
        create_detection_head(name, [8], [8], 1)
