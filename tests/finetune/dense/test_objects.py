"""Images and their objects are changed together."""

import dataclasses

import numpy as np
import pytest
import torch

from transferkit.annotations import VOID, Annotations, AnnotationSet
from transferkit.dense.kinds import object_kind
from transferkit.finetune.dense import LiveDetectionRecipe
from transferkit.finetune.dense.objects import ObjectPixels
from transferkit.images import frame_of, list_images, oriented_of_corners, upright_of_oriented
from transferkit.spec import Preprocess

PREPROCESS = Preprocess((64, 96), "bilinear", 1.0, "squash", (0.5,) * 3, (0.5,) * 3)
# The same images with a border above and below.
BORDERED = dataclasses.replace(PREPROCESS, image_size=(96, 96), crop_mode="border")
STILL = {"mirrored": False, "zoomed": False}
# A colour for the object of each image, far from one another and from the ground's 0.
COLOURS = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 250, 250]])


def samples(n=5, kind="detection", *, preprocess=PREPROCESS, is_angular=False, **settings):
    """Images of twice the input's size with a rectangle, whose class is the image's number.

    Of an angular one the right upper corner is missing.
    """
    rng = np.random.default_rng(1)
    images = np.zeros((n, 128, 192, 3), dtype=np.uint8)
    truth = []
    for i in range(n):
        top, left = rng.integers(0, 70, 2).tolist()
        bottom, right = top + int(rng.integers(20, 58)), left + int(rng.integers(20, 100))
        images[i, top:bottom, left:right] = COLOURS[i]
        if is_angular:
            images[i, top : (top + bottom) // 2, (left + right) // 2 : right] = 0
        corners = np.array([[[left, top], [right, top], [right, bottom], [left, bottom]]])
        one = Annotations(
            (128, 192),
            boxes=np.array([[left, top, right, bottom]], dtype=float),
            masks=images[i].any(-1)[None],
            oriented=oriented_of_corners(corners),
            labels=np.array([i + 1]),
        )
        truth.append(one)
    found = AnnotationSet(("background", *"abcde"[:n]), truth)
    frames = [frame_of((128, 192), preprocess)] * n
    recipe = LiveDetectionRecipe(**{"jitter": 0.0, **settings})
    return ObjectPixels(list_images(images), found, frames, preprocess, recipe, object_kind(kind))


def seen(pixels, number):
    """Box of what has the colour of an image's object, found by its pixels; None if nothing."""
    # Nearer to the object's colour than to the ground or to any other object's.
    colours = np.vstack([[[0, 0, 0], [128, 128, 128]], COLOURS])
    distances = np.linalg.norm(pixels.numpy().transpose(1, 2, 0)[..., None, :] - colours, axis=-1)
    rows, columns = np.nonzero(distances.argmin(-1) == number + 1)
    # A lone column or row at a mixed edge of two images isn't an object.
    if len(rows) < 6:
        return None
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_without_a_seed_they_are_as_they_are():
    found = samples(mosaic=1.0, jitter=0.5)
    for i in range(5):
        pixels, target = found[i, -1]
        assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (3, 64, 96))
        assert target["labels"].tolist() == [i + 1]
        np.testing.assert_allclose(target["boxes"][0], seen(pixels, i + 1), atol=0.51)
    assert found.n_objects == 5
    assert len(list(found.truth())) == 10


@pytest.mark.parametrize(
    "settings",
    [
        {"mirrored": True, "zoomed": False},
        {"mirrored": False, "zoomed": True},
        {"zoom_out": 0.3, "zoom_in": 4.0},
        {"mosaic": 1.0},
        {"mosaic": 1.0, **STILL},
        {"turned": True, **STILL},
        {"turned": True, "mosaic": 0.5},
    ],
)
def test_boxes_are_where_the_pixels_are(settings):
    found = samples(**settings)
    n_learnt = n_ignored = 0
    for seed in range(30):
        pixels, target = found[seed % 5, seed]
        boxes, labels = target["boxes"].numpy(), target["labels"].numpy()
        assert boxes.dtype == np.float32
        assert ((boxes[:, :2] >= 0) & (boxes[:, 2:] <= (96, 64))).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        n_ignored += int((labels == VOID).sum())
        for number in range(1, 6):
            own = boxes[labels == number]
            n_learnt += len(own)
            if len(own) == 1 and (labels == VOID).sum() == 0:
                np.testing.assert_allclose(own[0], seen(pixels, number), atol=1.6)
    assert n_learnt > 10
    if settings.get("zoom_in") == 4.0:
        assert n_ignored


def test_what_is_left_out_is_not_to_be_seen():
    found = samples(zoom_out=1.0, zoom_in=6.0)
    n_empty = 0
    for seed in range(40):
        pixels, target = found[seed % 5, seed]
        if not len(target["labels"]):
            n_empty += 1
            assert seen(pixels, seed % 5 + 1) is None
            assert target["boxes"].shape == (0, 4)
            assert target["labels"].dtype == torch.int64
    assert n_empty


def test_half_are_mirrored_and_a_factor_stays_within_its_bounds():
    found = samples(mirrored=True, zoomed=False)
    plain = found.objects[0][0]["boxes"][0]
    lefts = [found[0, seed][1]["boxes"][0, 0].item() for seed in range(60)]
    flipped = 96 - plain[2].item()
    assert set(np.round(lefts, 3)) == {round(plain[0].item(), 3), round(flipped, 3)}
    assert 15 < sum(abs(left - flipped) < 1e-3 for left in lefts) < 45
    found = samples(mirrored=False, zoom_out=0.5, zoom_in=1.0)
    width = (plain[2] - plain[0]).item()
    widths = [np.ptp(found[0, seed][1]["boxes"][0, ::2].numpy()) / width for seed in range(40)]
    assert 0.5 - 1e-6 <= min(widths) < 0.55
    assert 0.95 < max(widths) <= 1 + 1e-6


def test_a_seed_decides_and_colour_leaves_boxes_alone():
    found = samples(mosaic=0.5, jitter=0.4)
    for seed in range(6):
        (a, one), (b, other) = found[2, seed], found[2, seed]
        assert torch.equal(a, b)
        assert torch.equal(one["boxes"], other["boxes"])
    still, jittered = samples(**STILL), samples(jitter=0.4, **STILL)
    assert torch.equal(jittered[1, 3][1]["boxes"], still[1, -1][1]["boxes"])
    assert not torch.equal(jittered[1, 3][0], still[1, -1][0])
    assert torch.equal(still[1, 3][0], still[1, -1][0])


CHANGES = [
    {"mirrored": True, "zoomed": False},
    {"mirrored": False, "zoomed": True},
    {"turned": True, **STILL},
    {"turned": True, "mosaic": 1.0},
]


@pytest.mark.parametrize("settings", CHANGES)
def test_masks_are_where_the_pixels_are(settings):
    found = samples(kind="instances", is_angular=True, **settings)
    n_compared = 0
    for seed in range(30):
        pixels, target = found[seed % 5, seed]
        truth = found.kind.truth(target, (64, 96))
        image = pixels.numpy().astype(int).transpose(1, 2, 0)
        labels = target["labels"].tolist()
        for label, mask, box in zip(labels, truth.masks, truth.boxes, strict=True):
            if label == VOID or labels.count(label) > 1 or np.ptp(box[[1, 3]]) < 8:
                continue
            n_compared += 1
            is_near = np.abs(image - COLOURS[label - 1]).max(-1) < 120
            # Edges are mixed colours, and a mask is held on a grid.
            assert (mask & is_near).sum() / (mask | is_near).sum() > 0.8
            (left, top), (right, bottom) = np.floor(box[:2]), np.ceil(box[2:])
            outside = mask.copy()
            outside[int(top) : int(bottom), int(left) : int(right)] = False
            assert not outside.any()
    assert n_compared > 12


@pytest.mark.parametrize("settings", CHANGES)
def test_oriented_boxes_go_where_upright_ones_go(settings):
    plain, found = samples(**settings), samples(kind="oriented", **settings)
    n_compared = 0
    for seed in range(20):
        (pixels, target), (same, other) = plain[seed % 5, seed], found[seed % 5, seed]
        assert torch.equal(pixels, same)
        assert torch.equal(target["labels"], other["labels"])
        np.testing.assert_allclose(other["boxes"], target["boxes"], atol=1e-3)
        around = upright_of_oriented(other["oriented"]).clip(0, [96, 64, 96, 64])
        if not settings.get("mosaic"):  # of which each part cuts off its own
            np.testing.assert_allclose(around, target["boxes"], atol=1e-3)
        n_compared += len(around)
    assert n_compared > 12


@pytest.mark.parametrize("settings", [STILL, {"turned": True, **STILL}, {"mosaic": 1.0}])
def test_with_a_border_too_boxes_are_where_the_pixels_are(settings):
    plain = samples(preprocess=BORDERED, **settings)
    found = samples(preprocess=BORDERED, kind="oriented", **settings)
    n_compared = 0
    for seed in range(20):
        (pixels, target), (_, other) = plain[seed % 5, seed], found[seed % 5, seed]
        assert tuple(pixels.shape) == (3, 96, 96)
        np.testing.assert_allclose(other["boxes"], target["boxes"], atol=1e-3)
        labels = target["labels"].tolist()
        for box, label in zip(target["boxes"].numpy(), labels, strict=True):
            if VOID not in labels and labels.count(label) == 1:
                np.testing.assert_allclose(box, seen(pixels, label), atol=1.6)
                n_compared += 1
    assert n_compared > 12


def test_a_key_holds_all_that_is_learnt():
    for kind, n in (("detection", 2), ("oriented", 3), ("instances", 4)):
        assert len(list(samples(kind=kind).truth())) == 5 * n
