"""The report of a segmentation: void, classes that never occur, what doesn't fit, the baseline."""

import tracemalloc
import warnings

import numpy as np
import pytest

from tests.report.test_text import pairs
from transferkit.annotations import VOID, Annotations
from transferkit.metrics import count_pixels, segmentation_report
from transferkit.report.text import report_lines

NAMES = ("sky", "sea", "sand")


def annotated(*maps):
    arrays = [np.asarray(one) for one in maps]
    return [Annotations(one.shape, map=one) for one in arrays]


def report(truth, predicted, names=NAMES):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return segmentation_report(annotated(*truth), annotated(*predicted), names)


def test_numbers_worked_out_by_hand():
    told = report([[[0, 0, 1, 1]], [[1, 1, 1, VOID]]], [[[0, 1, 1, 1]], [[1, 1, 0, 0]]])
    # Sky: 1 hit, 2 true, 2 predicted; sea: 4 hits, 5 true, 5 predicted.
    assert told.confusion == ((1, 1, 0, 0), (1, 4, 0, 0), (0, 0, 0, 0))
    assert told.mean_iou == pytest.approx((1 / 3 + 4 / 6) / 2)
    assert told.mean_dice == pytest.approx((2 / 4 + 8 / 10) / 2)
    assert told.pixel_accuracy == pytest.approx(5 / 7)
    sky, sea, _ = told.classes
    assert (sky.precision, sky.recall, sky.share, sky.images) == (0.5, 0.5, 2 / 7, 1)
    assert (sea.iou, sea.dice, sea.images) == (pytest.approx(2 / 3), pytest.approx(0.8), 2)
    assert (told.n, told.n_pixels, told.n_void) == (2, 7, 0)


def test_a_class_that_never_occurs_is_left_out_of_the_means():
    told = report([[[0, 1]]], [[[0, 1]]])
    sand = told.classes[2]
    assert (sand.iou, sand.dice, sand.precision, sand.recall, sand.boundary_f) == (None,) * 5
    assert told.mean_iou == told.mean_dice == told.boundary_f == 1
    assert pairs(report_lines(told))["left out"] == "sand: in neither the truth nor a prediction"
    # Once it is predicted, it is wrong everywhere, and counts.
    wrong = report([[[0, 1]]], [[[0, 2]]])
    assert (wrong.classes[2].iou, wrong.classes[2].precision, wrong.classes[2].recall) == (
        0,
        0,
        None,
    )
    assert wrong.mean_iou == pytest.approx(1 / 3)


def test_void_counts_nowhere_in_the_truth_and_as_an_error_in_a_prediction():
    assert report([[[0, 1, VOID]]], [[[0, 1, 0]]]).mean_iou == 1
    told = report([[[0, 1, 1]]], [[[0, VOID, 7]]])
    assert told.confusion[1] == (0, 0, 0, 2)
    assert told.pixel_accuracy == pytest.approx(1 / 3)
    lines = report_lines(told)
    assert "none of these" in lines[lines.index(told.tables()[1].title) + 1]


def test_an_image_that_is_all_void_changes_nothing():
    void = np.full((1, 2), VOID)
    told, alone = report([[[0, 1]], void], [[[0, 0]], [[1, 1]]]), report([[[0, 1]]], [[[0, 0]]])
    assert told.confusion == alone.confusion
    assert (told.n, told.n_void) == (2, 1)
    assert pairs(report_lines(told))["all void"] == "1 of the images, which measure nothing"
    with pytest.raises(ValueError, match="no pixel to measure with in 1 images: give at least one"):
        report([void], [[[0, 1]]])
    with pytest.raises(ValueError, match="no pixel to measure with in 0 images"):
        report([], [])


def test_one_image_beats_nothing():
    told = report([[[0, 1]]], [[[0, 1]]])
    assert not told.baseline.is_beaten
    assert told.baseline.verdict.startswith("no better than 'sky' everywhere (25.0 % mIoU), as far")
    same = report([[[0, 0]]] * 9, [[[0, 0]]] * 9)
    assert "all known pixels are of 'sky', which can't show" in same.headline()


def test_the_baseline_is_the_most_frequent_class_everywhere():
    rng = np.random.default_rng(0)
    truth = [np.where(rng.random((6, 6)) < 0.3, rng.integers(1, 3, (6, 6)), 0) for _ in range(20)]
    told = report(truth, truth)
    constant = report(truth, [np.zeros((6, 6), int)] * 20)
    for name in ("mean_iou", "mean_dice", "pixel_accuracy"):
        assert told.baseline.of(name).baseline == pytest.approx(constant.value(name))
        assert constant.baseline.of(name).gain_low == constant.baseline.of(name).gain_high == 0
    assert told.baseline.is_beaten
    assert not constant.baseline.is_beaten
    shown = f"{100 * constant.mean_iou:.1f} % mIoU"
    assert constant.headline().endswith(f"no better than 'sky' everywhere ({shown})")


def test_the_interval_holds_the_value_and_shrinks_with_more_images():
    rng = np.random.default_rng(0)
    width = []
    for n in (10, 160):
        truth = rng.integers(0, 3, (n, 8, 8))
        wrong = rng.random(truth.shape) < rng.random((n, 1, 1)) / 2
        found = np.where(wrong, rng.integers(0, 3, truth.shape), truth)
        row = report(truth, found).rows()[0]
        assert row.low < row.value < row.high
        width.append(row.high - row.low)
    assert width[1] < width[0] / 2


def test_many_classes_and_one():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 200, (3, 40, 40))
    told = report(truth, truth, [str(i) for i in range(200)])
    assert told.mean_iou == 1
    assert "most frequent confusions" in told.tables()[1].title
    assert report([[[0]]], [[[0]]], ["all"]).boundary_f is None


@pytest.mark.parametrize(
    ("truth", "predicted", "match"),
    [
        ([[[0]]], [], "image 0 has a truth but no prediction; give one of each"),
        ([], [[[0]]], "image 0 has a prediction but no truth"),
        ([[[0, 1]]], [[[0]]], "true map of image 0 is 1 × 2 px and the predicted one 1 × 1 px"),
        ([[[0]], [[3]]], [[[0]], [[0]]], "true map of image 1 has class 3; give numbers from 0 to"),
        ([[[-2]]], [[[0]]], "has class -2; give numbers from 0 to 2, or -1 for void"),
    ],
)
def test_what_does_not_fit_is_named(truth, predicted, match):
    with pytest.raises(ValueError, match=match):
        report(truth, predicted)


def test_a_map_that_is_missing():
    with pytest.raises(ValueError, match="the prediction of image 0 has no map"):
        segmentation_report(annotated([[0]]), [Annotations((1, 1))], NAMES)


def test_one_image_is_held_at_a_time():
    size = 400

    def maps():
        for _ in range(30):
            yield Annotations((size, size), map=np.zeros((size, size), np.int64))

    tracemalloc.start()
    count_pixels(maps(), maps(), NAMES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * size**2 * 8


def squares(left, side=10, size=40):
    found = np.zeros((size, size), int)
    found[5 : 5 + side, left : left + side] = 1
    return found


def test_boundary_f_falls_off_beyond_the_tolerance():
    scores = [
        count_pixels(
            annotated(squares(10)), annotated(squares(10 + d)), "ab", tolerance=2
        ).boundary_f
        for d in (0, 2, 3, 20)
    ]
    assert scores[0].tolist() == scores[1].tolist() == [1, 1]
    assert 0.4 < scores[2][1] < 0.9
    assert scores[3][1] == 0


def test_boundaries_beside_void_are_not_asked_for():
    """A square whose right side is void: a prediction of any right side is as good."""
    truth = squares(10)
    truth[:, 18:] = VOID
    one, other = squares(10), squares(10, side=20)
    for found in (one, np.where(np.arange(40) >= 18, other, one)):
        told = count_pixels(annotated(truth), annotated(found), "ab")
        assert told.boundary_f.tolist() == [1, 1]
