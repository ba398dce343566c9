"""Masks over a picture: what is filled, how neighbours differ, and where plates stand."""

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import Annotations, Masks, Region
from transferkit.report.drawing.masks import draw_masks

CLASSES = ["background", "cat", "dog"]
COLOURS = [None, (230, 159, 0), (86, 180, 233)]
SIZE = (120, 160)


def squares(places, side=20, labels=None, **fields):
    regions = [Region(top, left, np.ones((side, side), bool)) for top, left in places]
    labels = np.ones(len(regions), int) if labels is None else np.array(labels)
    return Annotations(SIZE, masks=Masks(SIZE, regions), labels=labels, **fields)


def drawn(annotations, scale=1, **options):
    picture = Image.new("RGB", (SIZE[1] * scale, SIZE[0] * scale), (100, 100, 100))
    draw_masks(picture, annotations, CLASSES, COLOURS, **options)
    return np.asarray(picture).astype(int)


def contour(pixels, place, side=20, scale=1):
    """Colour of an object's left edge."""
    return tuple(pixels[scale * place[0] + scale * side // 2, scale * place[1]].tolist())


@pytest.mark.parametrize("scale", [1, 2])
def test_pixels_inside_are_tinted_and_those_outside_are_not(scale):
    pixels = drawn(squares([(30, 40)], labels=[2]), scale)
    is_inside = np.zeros(SIZE, bool)
    is_inside[30:50, 40:60] = True
    is_inside = is_inside.repeat(scale, 0).repeat(scale, 1)
    assert (pixels[~is_inside] == 100).all()
    assert (pixels[is_inside] != 100).any(1).all()
    assert contour(pixels, (30, 40), scale=scale) == COLOURS[2]


def test_neighbours_in_a_dense_grid_have_different_colours():
    places = [(top, left) for top in range(0, 100, 20) for left in range(0, 160, 20)]
    pixels = drawn(squares(places))
    told = {place: contour(pixels, place) for place in places}
    n_pairs = 0
    for (top, left), colour in told.items():
        for other in ((top + 20, left), (top, left + 20)):
            if other in told:
                n_pairs += 1
                assert told[other] != colour
    assert n_pairs == 67


def test_those_that_stand_alone_have_the_colour_of_their_class():
    places = [(5, 5), (50, 50), (5, 100)]
    pixels = drawn(squares(places, labels=[1, 2, 1]))
    assert [contour(pixels, p) for p in places] == [COLOURS[1], COLOURS[2], COLOURS[1]]
    # Neighbours of another class are told apart by that.
    pixels = drawn(squares([(5, 5), (5, 25)], labels=[1, 2]))
    assert [contour(pixels, p) for p in ((5, 5), (5, 25))] == COLOURS[1:]


def test_ignored_objects_are_grey_and_the_highest_score_is_on_top():
    one = squares([(5, 5), (60, 60)], ignored=np.array([True, False]))
    assert contour(drawn(one), (5, 5)) == (128, 128, 128)
    for scores, top in (([0.9, 0.1], (5, 5)), ([0.1, 0.9], (15, 5))):
        pixels = drawn(squares([(5, 5), (15, 5)], scores=np.array(scores), labels=[1, 2]))
        # A row that is an edge of one and inside of the other.
        row = 24 if top == (5, 5) else 15
        assert tuple(pixels[row, 15].tolist()) == COLOURS[1 if top == (5, 5) else 2]


def test_hatched_objects_have_stripes():
    pixels = drawn(squares([(20, 20), (60, 60)]), is_hatched=np.array([True, False]))
    colours = [
        np.unique(part.reshape(-1, 3), axis=0)
        for part in (pixels[24:36, 24:36], pixels[64:76, 64:76])
    ]
    assert [len(found) for found in colours] == [2, 1]
    assert [100, 100, 100] in colours[0].tolist()


def test_plates_tell_what_the_legend_does_not():
    def n_changed(one):
        pixels = drawn(one)
        inside = np.zeros(SIZE, bool)
        for region in one.masks.regions:
            region.paint(inside, True)
        return int((pixels[~inside] != 100).any(1).sum())

    places = [(40, 40), (90, 100)]
    assert n_changed(squares(places)) == 0  # of one class, without scores
    scored = n_changed(squares(places, scores=np.array([0.5, 0.9])))
    named = n_changed(squares(places, labels=[1, 2], scores=np.array([0.5, 0.9])))
    assert 0 < scored < named
    many = [(top, left) for top in range(0, 96, 12) for left in range(0, 120, 12)]
    assert n_changed(squares(many, 5, scores=np.ones(80))) == 0


def test_plates_cover_no_other_object():
    places = [(20, 40), (42, 40)]
    one = squares(places, scores=np.array([0.5, 0.9]))
    with_plates, without = drawn(one), drawn(squares(places))
    np.testing.assert_array_equal(with_plates[42:62, 40:60], without[42:62, 40:60])


def test_no_objects_and_masks_without_pixels():
    nothing = squares([])
    assert (drawn(nothing) == 100).all()
    empty = Annotations(
        SIZE, masks=Masks(SIZE, [Region(0, 0, np.zeros((0, 0), bool))]), labels=np.array([1]),
        scores=np.array([0.5]),
    )  # fmt: skip
    drawn(empty, 2)
