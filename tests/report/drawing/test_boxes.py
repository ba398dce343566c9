"""Boxes over a picture: their lines, and the plates that say what they are."""

import numpy as np
import pytest
from PIL import Image, ImageChops

from transferkit.annotations import Annotations
from transferkit.report.drawing.boxes import CROWD, draw_boxes
from transferkit.report.drawing.overlays import class_colours, overlay

SIZE = (400, 500)
GREY = (100, 100, 100)
CLASSES = ["background", "sky", "sea"]
COLOURS = class_colours(CLASSES)
SKY, SEA = COLOURS[1:]


def drawn(boxes, labels, scores=None, ignored=None, size=SIZE, **options):
    picture = Image.new("RGB", size[::-1], GREY)
    annotations = objects(boxes, labels, scores, ignored, size)
    draw_boxes(picture, annotations, CLASSES, COLOURS, 1.0, **options)
    return np.asarray(picture).astype(int)


def objects(boxes, labels, scores=None, ignored=None, size=SIZE):
    return Annotations(
        size,
        boxes=np.array(boxes, dtype=float).reshape(-1, 4),
        labels=np.array(labels, dtype=int),
        scores=None if scores is None else np.array(scores, dtype=float),
        ignored=None if ignored is None else np.array(ignored, dtype=bool),
    )


def is_colour(pixels, colour):
    return (pixels == colour).all(axis=-1)


def test_a_box_is_a_line_on_its_border_and_nothing_inside():
    pixels = drawn([[100, 200, 300, 350]], [1])
    for row, column in ((200, 200), (349, 200), (250, 100), (250, 299)):
        assert pixels[row, column].tolist() == list(SKY)
    assert is_colour(pixels[203:347, 103:297], GREY).all()
    assert is_colour(pixels[352:], GREY).all()


def test_a_dashed_box_has_gaps_on_every_side():
    full, dashed = (
        drawn([[100, 200, 300, 350]], [1], is_dashed=np.array([is_dashed]))
        for is_dashed in (False, True)
    )
    for side in ((slice(200, 201), slice(110, 290)), (slice(210, 340), slice(299, 300))):
        assert is_colour(full[side], SKY).mean() == 1
        assert 0.4 < is_colour(dashed[side], SKY).mean() < 0.8


@pytest.mark.parametrize(
    "box",
    [[0, 0, 30, 30], [470, 0, 500, 30], [480, 390, 500, 400], [0, 0, 500, 400], [-50, -50, 9, 9]],
)
def test_plates_stay_in_the_picture(box):
    """A plate beside the border is as large as one in the middle."""

    def plate(pixels):
        return is_colour(pixels, SKY).sum() + (pixels.sum(axis=-1) < 120).sum()

    middle = plate(drawn([[200, 200, 230, 230]], [1], [0.87]))
    assert plate(drawn([box], [1], [0.87])) > 0.8 * middle - 4 * 2 * 30


def test_a_plate_that_would_lie_on_another_is_left_out():
    apart = drawn([[50, 100, 200, 200], [250, 100, 400, 200]], [1, 2], [0.9, 0.8])
    stacked = drawn([[50, 100, 200, 200]] * 9, [1] * 9, np.linspace(0.9, 0.1, 9))
    one = drawn([[50, 100, 200, 200]], [1], [0.9])
    # Above, below and inside: three of the nine have room.
    areas = [is_colour(pixels, SKY).sum() for pixels in (one, stacked)]
    assert is_colour(apart, SEA).any()
    assert 1.5 * areas[0] < areas[1] < 3.2 * areas[0]


def test_many_boxes_are_thin_and_have_no_plates():
    corners = np.stack(np.divmod(np.arange(80), 10), axis=1) * 30 + 20
    boxes = np.concatenate([corners, corners + 24], axis=1)
    pixels = drawn(boxes, [1] * 80, np.ones(80))
    assert len(boxes) > CROWD
    assert is_colour(pixels, SKY).sum() == 80 * (4 * 24 - 4)
    assert is_colour(pixels, SKY).sum() + is_colour(pixels, GREY).sum() == SIZE[0] * SIZE[1]


def test_the_highest_score_is_on_top_and_small_boxes_are_over_large_ones():
    same = [[100, 100, 200, 200]] * 2
    assert drawn(same, [1, 2], [0.9, 0.1])[150, 100].tolist() == list(SKY)
    assert drawn(same, [1, 2], [0.1, 0.9])[150, 100].tolist() == list(SEA)
    crossing = [[100, 100, 120, 200], [90, 140, 300, 380]]
    for order in ([0, 1], [1, 0]):
        pixels = drawn([crossing[i] for i in order], [[1, 2][i] for i in order])
        assert pixels[141, 119].tolist() == list(SKY)


def test_ignored_objects_are_grey_and_odd_labels_white():
    pixels = drawn([[100, 100, 200, 200], [300, 100, 400, 200]], [1, 7], ignored=[True, False])
    assert pixels[150, 100].tolist() == [128] * 3
    assert pixels[150, 300].tolist() == [255] * 3
    assert drawn([], [], []).tolist() == np.full((*SIZE, 3), GREY).tolist()


@pytest.mark.parametrize(
    "box", [[10, 10, 10, 10], [10, 10, 5, 5], [-9, -9, -5, -5], [900, 0, 950, 9]]
)
def test_boxes_without_area_and_outside_do_no_harm(box):
    assert drawn([box], [1], [0.5]).shape == (*SIZE, 3)
    assert drawn([box], [1], is_dashed=np.array([True])).shape == (*SIZE, 3)
    assert drawn([[0, 0, 1, 1]], [1], [0.5], size=(1, 1)).shape == (1, 1, 3)


def test_missed_and_false_boxes_are_dashed_and_counted():
    grey = np.full((*SIZE, 3), 100, np.uint8)
    near, far = [100, 100, 200, 200], [300, 200, 400, 300]
    truth = objects([near, far], [1, 2])
    found = objects([near, far, near], [1, 1, 2], [0.9, 0.8, 0.1])
    pictures = overlay(grey, found, CLASSES, truth=truth, threshold=0.5)
    pixels = np.asarray(pictures)
    top, step = 22, SIZE[1] + 8

    def share(part, column, colour):
        side = pixels[top + 210 : top + 290, part * step + column]
        return is_colour(side, colour).mean()

    # The sea is missed, and what was found there is called sky.
    assert share(1, 399, SEA) < 0.8
    assert share(2, 399, SKY) < 0.8
    assert is_colour(pixels[top + 110 : top + 190, step + 199], SKY).all()
    assert is_colour(pixels[top + 110 : top + 190, 2 * step + 199], SKY).all()
    assert not is_colour(pixels[top : top + SIZE[0], 2 * step :], SEA).any()  # below the threshold
    # The counts are in the captions.
    other = overlay(grey, found, CLASSES, truth=truth)
    size = (0, 0, pictures.width, top)
    assert ImageChops.difference(pictures.crop(size), other.crop(size)).getbbox() is not None


def test_a_crowded_picture_is_enlarged():
    boxes = np.tile([[1.0, 1, 9, 9]], (CROWD + 1, 1))
    pixels = np.zeros((100, 120, 3), np.uint8)
    many = objects(boxes, [1] * len(boxes), size=(100, 120))
    assert overlay(pixels, many, CLASSES).width >= 640
    assert overlay(pixels, many.select([0]), CLASSES).width < 640
