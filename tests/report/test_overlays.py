"""Overlays: every pixel of a picture is checked by what should stand there."""

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import VOID, Annotations
from transferkit.report.overlays import class_colours, heat, overlay, pair

SIZE = (400, 500)
GREY = np.full((*SIZE, 3), 100, np.uint8)
CLASSES = ["background", "sky", "sea"]
SKY, SEA = class_colours(CLASSES)[1:]


def patches():
    """Sky and sea in squares, and void."""
    classes = np.zeros(SIZE, int)
    classes[100:200, 100:200] = 1
    classes[250:300, 300:400] = 2
    classes[350:380, 20:60] = VOID
    return classes


def pixels(image):
    return np.asarray(image).astype(int)


def mixed(colour):
    return np.round(0.55 * 100 + 0.45 * np.array(colour)).astype(int)


def test_classes_are_coloured_with_contours_and_the_background_is_not():
    drawn = pixels(overlay(GREY, Annotations(SIZE, map=patches()), CLASSES))
    assert drawn[50, 50].tolist() == [100, 100, 100]
    assert abs(drawn[150, 150] - mixed(SKY)).max() <= 1
    assert abs(drawn[275, 350] - mixed(SEA)).max() <= 1
    assert abs(drawn[365, 40] - mixed((128, 128, 128))).max() <= 1
    assert drawn[100, 150].tolist() == list(SKY)  # its contour
    assert drawn[199, 150].tolist() == list(SKY)
    assert drawn[99, 150].tolist() == [100, 100, 100]
    legend = {tuple(colour) for colour in drawn[SIZE[0] :].reshape(-1, 3).tolist()}
    assert {SKY, SEA, (128, 128, 128)} <= legend


def test_without_a_background_every_class_is_coloured():
    drawn = pixels(overlay(GREY, Annotations(SIZE, map=np.maximum(patches(), 0)), ["a", "b", "c"]))
    colours = class_colours(["a", "b", "c"])
    assert None not in colours
    assert abs(drawn[50, 50] - mixed(colours[0])).max() <= 1


def test_many_classes_have_colours_of_their_own():
    names = [f"c{i}" for i in range(200)]
    assert len(set(class_colours(names))) == 200
    assert class_colours(["good", "defect"])[0] is None


def test_the_legend_names_what_occurs_and_grows_in_lines():
    names = ["background", *(f"a class of a rather long name {i}" for i in range(30))]
    few = overlay(GREY, Annotations(SIZE, map=patches()), names)
    many = np.repeat(np.arange(SIZE[0]) % 31, SIZE[1]).reshape(SIZE)
    assert overlay(GREY, Annotations(SIZE, map=many), names).height > few.height > SIZE[0]
    nothing = overlay(GREY, Annotations(SIZE, map=np.zeros(SIZE, int)), names)
    assert nothing.size == SIZE[::-1]
    np.testing.assert_array_equal(pixels(nothing), GREY)


def test_the_truth_stands_between_the_image_and_what_was_predicted():
    one, truth = Annotations(SIZE, map=patches()), Annotations(SIZE, map=patches() * 0 + 2)
    drawn = pixels(overlay(GREY, one, CLASSES, truth=truth))
    top, step = 22, SIZE[1] + 8
    assert drawn.shape[1] == 3 * SIZE[1] + 2 * 8
    at = [drawn[top + 150, i * step + 150] for i in range(3)]
    assert at[0].tolist() == [100, 100, 100]
    assert abs(at[1] - mixed(SEA)).max() <= 1
    assert abs(at[2] - mixed(SKY)).max() <= 1


def test_objects_are_filled_or_have_boxes():
    mask = patches() == 1
    objects = Annotations(SIZE, masks=mask[None], labels=np.array([1]), boxes=np.ones((1, 4)))
    drawn = pixels(overlay(GREY, objects, CLASSES))
    assert drawn[100, 150].tolist() == list(SKY)
    assert abs(drawn[150, 150] - np.round(0.6 * 100 + 0.4 * np.array(SKY))).max() <= 1
    assert drawn[50, 50].tolist() == [100, 100, 100]
    boxes = Annotations(SIZE, boxes=np.array([[10, 20, 60.0, 90]]), labels=np.array([2]))
    drawn = pixels(overlay(GREY, boxes, CLASSES))
    for row, column in ((20, 30), (89, 30), (50, 10), (50, 59)):
        assert drawn[row, column].tolist() == list(SEA)
    assert drawn[50, 30].tolist() == [100, 100, 100]


def test_scores_are_heat_and_their_region_a_contour():
    scores = np.zeros(SIZE)
    scores[100:200, 100:200] = 4
    scores[0, 0] = np.nan
    one = Annotations(SIZE, score_map=scores, score=4.0, map=(scores == 4).astype(int))
    drawn = pixels(overlay(GREY, one, ["good", "defect"]))[22:]
    low, high = heat(np.array([[0.0, 4.0]]), 0, 4)[0].astype(int)
    assert abs(drawn[50, 50] - np.round(0.75 * 100 + 0.25 * low)).max() <= 1
    assert abs(drawn[150, 150] - np.round(0.15 * 100 + 0.85 * high)).max() <= 1
    assert drawn[100, 150].tolist() == [0, 255, 255]
    # In one range for many pictures, this one is half as strange.
    half = pixels(overlay(GREY, one, ["good", "defect"], score_range=(0, 8)))[22:]
    assert half[150, 150].sum() < drawn[150, 150].sum()


def test_heat_goes_from_dark_to_light_and_takes_anything():
    colours = heat(np.linspace(0, 1, 50)[None], 0, 1)[0].astype(int)
    light = colours @ [0.3, 0.6, 0.1]
    assert (np.diff(light) > -1).all()
    assert heat(np.array([[np.nan, np.inf, -np.inf, 3]]), 3, 3).shape == (1, 4, 3)
    same = Annotations(SIZE, score_map=np.full(SIZE, np.nan))
    assert overlay(GREY, same, ["good", "defect"]).size == SIZE[::-1]


@pytest.mark.parametrize(("size", "longest"), [((8, 10), 320), ((1, 1), 320), ((3, 4000), 1600)])
def test_small_pictures_are_enlarged_and_large_ones_shrunk(size, longest):
    one = Annotations(size, map=np.zeros(size, int), boxes=np.ones((1, 4)), labels=np.array([0]))
    drawn = overlay(np.zeros((*size, 3), np.uint8), one, CLASSES)
    assert abs(max(drawn.size) - longest) <= 10
    assert drawn.mode == "RGB"


def test_files_and_images_are_taken_and_sizes_compared(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    one = Annotations(SIZE, map=patches())
    np.testing.assert_array_equal(
        pixels(overlay(tmp_path / "a.png", one, CLASSES)), pixels(overlay(GREY, one, CLASSES))
    )
    other = Annotations((2, 3), map=np.zeros((2, 3), int))
    with pytest.raises(ValueError, match="annotations of 2 × 3 px for an image of 400 × 500"):
        overlay(GREY, other, CLASSES)
    with pytest.raises(ValueError, match="truth of 2 × 3 px"):
        overlay(GREY, one, CLASSES, truth=other)


def test_the_truth_is_drawn_as_what_was_predicted():
    mask = patches() == 1
    boxes, labels = np.array([[100.0, 100, 200, 200]]), np.array([1])
    truth = Annotations(SIZE, masks=mask[None], labels=labels, boxes=boxes, map=patches())
    found = Annotations(SIZE, labels=labels, boxes=boxes, scores=np.array([0.9]))
    top, step = 22, SIZE[1] + 8
    drawn = pixels(overlay(GREY, found, CLASSES, truth=truth))
    for i in (1, 2):  # boxes, and no mask
        assert drawn[top + 150, i * step + 100].tolist() == list(SKY)
        assert drawn[top + 150, i * step + 150].tolist() == [100, 100, 100]
    only_map = Annotations(SIZE, map=patches())
    drawn = pixels(overlay(GREY, only_map, CLASSES, truth=truth))
    np.testing.assert_array_equal(
        drawn[top:, step : step + SIZE[1]], drawn[top:, 2 * step : 2 * step + SIZE[1]]
    )


def test_masks_that_are_missed_or_false_are_hatched():
    masks = np.zeros((2, *SIZE), bool)
    masks[0, 50:100, 50:100] = masks[1, 250:300, 250:300] = True
    truth = Annotations(SIZE, masks=masks, labels=np.array([1, 1]))
    found = Annotations(
        SIZE, masks=masks[::-1] & (np.arange(SIZE[0]) > 150)[:, None], labels=np.array([1, 2]),
        scores=np.array([0.9, 0.8]),
    )  # fmt: skip
    drawn = pixels(overlay(GREY, found, CLASSES, truth=truth))
    top, step = 22, SIZE[1] + 8

    def is_striped(part, row, column):
        inner = drawn[top + row + 10 : top + row + 40, part * step + column + 10 :][:, :30]
        return len(np.unique(inner.reshape(-1, 3), axis=0)) == 2

    assert is_striped(1, 50, 50)
    assert not is_striped(1, 250, 250)
    assert not is_striped(2, 250, 250)


def test_a_pair_stands_side_by_side_or_one_above_the_other():
    for size, expected in (((300, 500), (120, 148)), ((500, 450), (220, 120))):
        classes = np.zeros(size, int)
        classes[: size[0] // 2] = 1
        true, found = Annotations(size, map=classes), Annotations(size, map=0 * classes)
        drawn = pair(np.full((*size, 3), 100, np.uint8), found, CLASSES, true, largest=120)
        assert drawn.size == expected
        picture = pixels(drawn)
        assert abs(picture[20, 20] - mixed(SKY)).max() <= 1
        assert picture[-60, -20].tolist() == [100, 100, 100]
    alone = pixels(pair(GREY, Annotations(SIZE, map=patches()), CLASSES, None, largest=125))
    assert (alone[:, :125] == 100).all()
