"""Cut-outs: what is in them, and where the outlines are."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.report.dense_cases import CLASSES, objects
from transferkit.report.object_crops import false_crops, missed_crops

AMBER, BLUE = np.array((255, 176, 0)), np.array((86, 200, 255))


def opened(picture):
    with Image.open(io.BytesIO(picture.image)) as image:
        return np.asarray(image).astype(int)


def n_near(pixels, colour):
    return int((np.abs(pixels - colour).max(axis=2) < 60).sum())


def grey():
    return Image.fromarray(np.full((40, 60, 3), 90, np.uint8))


@pytest.mark.parametrize("held", ["boxes", "masks", "oriented"])
def test_what_is_wrong_is_drawn_thick(held):
    absent = {name: None for name in ("masks", "oriented", "boxes") if name != held}
    truth, found = objects([(2, 2, 14, 14)], [1]), objects([(40, 20, 52, 32)], [1], [0.7])
    for one in (truth, found):
        for name in absent:
            object.__setattr__(one, name, None)
    ((score, false),) = false_crops(grey(), found, truth, CLASSES, 4, "a.png")
    assert score == 0.7
    assert list(false.lines) == ["nothing is annotated here", "a.png"]
    pixels = opened(false)
    assert max(pixels.shape) == 240
    assert n_near(pixels, AMBER) > 500
    assert n_near(pixels, BLUE) == 0  # the true one is elsewhere
    ((share, missed),) = missed_crops(grey(), found, truth, CLASSES, 4, "a.png", 0.5)
    assert share == pytest.approx(12 * 12 / (40 * 60))
    assert missed.title == "cat, 12 × 12 px"
    assert list(missed.lines) == ["nothing is found here", "a.png"]
    assert n_near(opened(missed), BLUE) > 500


def test_reasons():
    truth = objects([(2, 2, 14, 14), (40, 20, 52, 32)], [1, 2])
    found = objects(
        [(2, 2, 14, 14), (3, 2, 15, 14), (8, 2, 20, 14), (40, 21, 52, 33), (46, 20, 58, 32)],
        [1, 1, 1, 1, 1],
        [0.9, 0.8, 0.7, 0.6, 0.5],
    )
    reasons = [one.lines[0] for _, one in false_crops(grey(), found, truth, CLASSES, 9, "")]
    assert reasons == [
        "a second one for an object",
        "overlaps its object by 0.33 only",
        "annotated as dog",
        "overlaps another class by 0.33",
    ]
    ((_, missed),) = missed_crops(grey(), found, truth, CLASSES, 9, "", 0.3)
    assert missed.lines[0] == "taken for cat (0.60)"
    first, second = missed_crops(grey(), found, truth, CLASSES, 9, "", 0.95)
    assert first[1].lines[0] == "found with a score of 0.90"
    assert second[1].lines[0] == "taken for cat (0.60)"
    near = objects([(8, 2, 20, 14)], [1], [0.9])
    told = {one.lines[0] for _, one in missed_crops(grey(), near, truth, CLASSES, 9, "", 0.3)}
    assert told == {"nearest: overlap 0.33, score 0.90", "nothing is found here"}


def test_objects_at_the_edge_and_larger_than_the_image():
    truth = objects([(0, 0, 60, 40), (58, 38, 60, 40)], [1, 2])
    found = objects([], [], [])
    pictures = missed_crops(grey(), found, truth, CLASSES, 9, "", 0.5)
    whole, corner = (opened(picture) for _, picture in pictures)
    assert whole.shape[:2] == (160, 240)
    assert corner.shape[:2] == (240, 240)
