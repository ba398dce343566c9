"""Oriented boxes over a picture: their lines, dashes, and what is compared."""

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import Annotations
from transferkit.images import corners_of_oriented
from transferkit.report.drawing.boxes import draw_boxes
from transferkit.report.drawing.overlays import class_colours, overlay

SIZE = (400, 500)
GREY = (100, 100, 100)
CLASSES = ["background", "sky", "sea"]
COLOURS = class_colours(CLASSES)
SKY, SEA = COLOURS[1:]
BOX = [250.0, 200, 200, 60, 30]


def objects(oriented, labels, scores=None, ignored=None, size=SIZE, **more):
    return Annotations(
        size,
        oriented=np.array(oriented, dtype=float).reshape(-1, 5),
        labels=np.array(labels, dtype=int),
        scores=None if scores is None else np.array(scores, dtype=float),
        ignored=None if ignored is None else np.array(ignored, dtype=bool),
        **more,
    )


def drawn(boxes, labels, scores=None, ignored=None, scale=1.0, **options):
    picture = Image.new("RGB", (SIZE[1], SIZE[0]), GREY)
    annotations = objects(boxes, labels, scores, ignored)
    draw_boxes(picture, annotations, CLASSES, COLOURS, scale, **options)
    return np.asarray(picture).astype(int)


def is_colour(pixels, colour):
    return (pixels == colour).all(axis=-1)


def along(box, colour, pixels):
    """Share of points on each of a box's edges that have a colour, or are beside a px that has."""
    has = np.pad(is_colour(pixels, colour), 1)
    rows, columns = SIZE
    near = np.any([has[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)
    corners = corners_of_oriented([box])[0]
    shares = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        at = np.floor(start + np.linspace(0.1, 0.9, 200)[:, None] * (end - start)).astype(int)
        shares.append(near[at[:, 1], at[:, 0]].mean())
    return np.array(shares)


@pytest.mark.parametrize("angle", [0, 30, -90, 77.7])
def test_a_box_is_a_line_along_its_edges_and_nothing_inside(angle):
    box = [*BOX[:4], angle]
    pixels = drawn([box], [1])
    assert (along(box, SKY, pixels) > 0.95).all()
    inner = [*BOX[:2], 190, 50, angle]
    assert (along(inner, SKY, pixels) == 0).all()
    assert (along(inner, (0, 0, 0), pixels) == 0).all()


def test_the_upright_box_around_it_is_not_drawn():
    upright = np.array([[150.0, 100, 350, 300]])
    picture = Image.new("RGB", (SIZE[1], SIZE[0]), GREY)
    draw_boxes(picture, objects([BOX], [1], boxes=upright), CLASSES, COLOURS, 1.0)
    np.testing.assert_array_equal(np.asarray(picture), drawn([BOX], [1]))


def test_a_scale_moves_and_enlarges():
    half = [*np.array(BOX[:4]) / 2, BOX[4]]
    assert (along(BOX, SKY, drawn([half], [1], scale=2.0)) > 0.95).all()


def test_a_dashed_box_has_gaps_on_every_side():
    pixels = drawn([BOX], [1], is_dashed=np.array([True]))
    shares = along(BOX, SKY, pixels)
    assert ((shares > 0.5) & (shares < 0.95)).all()


def test_ignored_objects_are_grey():
    pixels = drawn([BOX, [80, 80, 90, 40, -60]], [1, 2], ignored=[True, False])
    assert (along(BOX, (128, 128, 128), pixels) > 0.95).all()
    assert (along([80, 80, 90, 40, -60], SEA, pixels) > 0.95).all()


@pytest.mark.parametrize("is_dashed", [False, True])
@pytest.mark.parametrize(
    "box",
    [
        [250, 200, 0, 0, 0],
        [250, 200, 90, 0, 45],
        [-900, -900, 50, 20, 10],
        [250, 200, 1e9, 1e8, 33],
        [1e9, 200, 2e9, 100, 0],
        [250, 200, 300, 1e7, -90],
    ],
)
def test_boxes_without_area_outside_or_beyond_do_no_harm(box, is_dashed):
    pixels = drawn([box], [1], [0.5], is_dashed=np.array([is_dashed]))
    assert pixels.shape == (*SIZE, 3)


def test_the_part_of_a_huge_box_that_is_seen_is_drawn():
    # Only its upper edge goes through the picture.
    pixels = drawn([[250, 1e6 + 150, 2e6, 2e6, 0]], [1])
    assert is_colour(pixels[148:152], SKY).all(axis=1).any()
    assert not is_colour(pixels[160:], SKY).any()


def test_no_plate_lies_on_another_object():
    boxes = [[100 + 30 * i, 200 + 26 * (i % 3), 20, 10, 90] for i in range(9)]
    labels = [1 + i % 2 for i in range(9)]
    pixels = drawn(boxes, labels, np.ones(9))
    for box, label in zip(boxes, labels, strict=True):
        assert (along(box, COLOURS[label], pixels) > 0.95).all()
    # There was room for some, as there is for one that is alone.
    plate = is_colour(drawn(boxes[:1], [1], np.ones(1)), SKY).sum()
    assert is_colour(pixels, SKY).sum() > plate + 5 * 2 * 30


def test_missed_and_false_ones_are_dashed():
    grey = np.full((*SIZE, 3), 100, np.uint8)
    across = [*BOX[:4], BOX[4] + 60 - 180]
    around = np.array([[150.0, 100, 350, 300]])
    truth = objects([BOX], [1], boxes=around)
    pictures = [
        np.asarray(overlay(grey, objects([b], [1], [0.9], boxes=around), CLASSES, truth=truth))
        for b in (BOX, across)
    ]
    top, step = 22, SIZE[1] + 8
    for pixels, is_odd in zip(pictures, (False, True), strict=True):
        part = pixels[top : top + SIZE[0], step : step + SIZE[1]]
        assert (along(BOX, SKY, part) < 0.95).all() == is_odd
        assert (along(BOX, SKY, part) > 0.98).all() != is_odd
