"""Detections measured: pycocotools' numbers, thresholds and confusions in plain loops."""

import dataclasses
import itertools
import json
import tracemalloc
import warnings

import numpy as np
import pytest

from tests.metrics import scenes
from transferkit.annotations import Annotations
from transferkit.metrics import count_detections, detection_report
from transferkit.metrics._boxes import box_areas, box_overlaps, paired_overlaps
from transferkit.metrics._matching import matched
from transferkit.report.text import report_lines

NAMES = ["background", "cat", "dog", "cow"]
BOX = [10.0, 10, 50, 50]


def numbers(counts):
    """The twelve numbers of COCO."""
    areas = ("small", "medium", "large")
    values = [
        counts.average_precision(),
        *(counts.average_precision(threshold=t) for t in (0, 5)),
        *(counts.average_precision(area) for area in areas),
        *(counts.average_recall(limit=limit) for limit in (1, 10, None)),
        *(counts.average_recall(area) for area in areas),
    ]
    return dict(zip(scenes.NUMBERS, values, strict=True))


def check(seed, **options):
    found = scenes.scene(seed)
    told = numbers(count_detections(*found, **options))
    expected = scenes.coco_numbers(*found, **options)
    assert told == pytest.approx(expected, abs=1e-9, nan_ok=True), seed
    return told


@pytest.mark.parametrize("start", range(0, 100, 10))
def test_the_numbers_are_those_of_pycocotools(start):
    told = [check(seed) for seed in range(start, start + 10)]
    assert sum(0.01 < one["ap"] < 0.99 for one in told) >= 3  # that there was something to find


@pytest.mark.slow
@pytest.mark.suites
def test_the_numbers_are_those_of_pycocotools_on_a_thousand_scenes():
    for seed in range(100, 1100):
        check(seed)


@pytest.mark.parametrize("limit", [10, 25])
def test_so_many_detections_of_a_class_as_are_asked_for(limit):
    told = [check(seed, limit=limit) for seed in range(20)]
    usual = [check(seed) for seed in range(20)]
    assert any(one != other for one, other in zip(told, usual, strict=True))


def test_a_crowded_image_needs_a_larger_limit():
    corners = np.stack(np.divmod(np.arange(150), 15), axis=1) * 10
    boxes = np.concatenate([corners, corners + 8], axis=1)
    labels = [1] * 150
    truth, found = [one(boxes, labels)], [one(boxes, labels, np.arange(150))]
    for limit, share in ((100, 100 / 150), (300, 1)):
        counts = count_detections(truth, found, NAMES, limit=limit)
        expected = scenes.coco_numbers(truth, found, NAMES, limit=limit)
        assert numbers(counts) == pytest.approx(expected, nan_ok=True)
        assert counts.average_recall() == pytest.approx(share)


def one(boxes, labels, scores=None, ignored=None, size=(100, 100)):
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    return Annotations(
        size,
        boxes=boxes,
        labels=np.array(labels, dtype=int),
        scores=None if scores is None else np.array(scores, dtype=float),
        ignored=None if ignored is None else np.array(ignored, dtype=bool),
    )


def report(truth, predicted, names=NAMES, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return detection_report(truth, predicted, names, **options)


# ---- boxes --------------------------------------------------------------------------


def test_overlaps_are_shares_of_pixels():
    """Boxes on whole pixels, painted and counted."""
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 20, (30, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 15, (30, 2))], axis=1)
    is_crowd = rng.random(30) < 0.3

    def painted(box):
        canvas = np.zeros((40, 40), bool)
        canvas[box[1] : box[3], box[0] : box[2]] = True
        return canvas

    told = box_overlaps(boxes, boxes, is_crowd)
    for i, j in itertools.product(range(30), range(30)):
        first, second = painted(boxes[i]), painted(boxes[j])
        whole = first.sum() if is_crowd[j] else (first | second).sum()
        assert told[i, j] == pytest.approx((first & second).sum() / whole if whole else 0)
    assert box_areas(boxes).tolist() == [painted(box).sum() for box in boxes]
    pairs = paired_overlaps(boxes[:15], boxes[15:])
    np.testing.assert_allclose(pairs, box_overlaps(boxes[:15], boxes[15:]).diagonal())
    assert box_overlaps(boxes[:0], boxes).shape == (0, 30)


# ---- matching -----------------------------------------------------------------------


def test_the_higher_score_is_served_first_and_takes_what_it_overlaps_with_most():
    truth = one([[0, 0, 10, 10], [2, 0, 12, 10]], [1, 1])
    found = one([[0, 0, 10, 10], [1.2, 0, 11.2, 10]], [1, 1], [0.5, 0.9])
    told = matched(found, truth)
    assert told.kept.tolist() == [1, 0]
    assert told.partners.tolist() == [1, 0]


def test_of_equal_overlaps_the_last_is_taken_as_pycocotools_does():
    truth = one([[0, 0, 10, 10], [4, 0, 14, 10]], [1, 1], ignored=[False, False])
    found = one([[2, 0, 12, 10], [4, 0, 14, 10]], [1, 1], [0.9, 0.8])
    assert matched(found, truth).partners.tolist() == [1, -1]
    told = numbers(count_detections([truth], [found], NAMES))
    assert told == pytest.approx(scenes.coco_numbers([truth], [found], NAMES), nan_ok=True)


def test_an_ignored_object_may_be_found_again_and_again_and_a_free_one_is_taken_before_it():
    truth = one([BOX, BOX], [1, 1], ignored=[True, False])
    told = matched(one([BOX] * 3, [1] * 3, [0.9, 0.8, 0.7]), truth)
    assert told.outcomes[:, 0, 0].tolist() == [1, 2, 2]
    assert told.partners.tolist() == [1, 0, 0]
    counts = count_detections([truth], [one([BOX] * 3, [1] * 3, [0.9, 0.8, 0.7])], NAMES)
    assert counts.average_precision() == 1


def test_an_ignored_object_of_another_class_excuses_nothing():
    truth = one([BOX, BOX], [1, 2], ignored=[False, True])
    found = one([BOX, BOX], [1, 3], [0.9, 0.8])
    assert count_detections([truth], [found], NAMES).confusion(0.0)[0].tolist() == [0, 0, 0, 1]


# ---- the best threshold, and what it gives ------------------------------------------


def plain_f1(counts, score):
    """F1, precision and recall of the detections of a score or more."""
    kept = [f for f, s in zip(counts.found, counts.scores, strict=True) if s >= score and f != 2]
    hits, n_true = kept.count(1), int(counts.counts[:, 0].sum())
    return 2 * hits / (len(kept) + n_true), hits / max(len(kept), 1), hits / n_true


@pytest.mark.parametrize("seed", range(8))
def test_no_threshold_is_better_than_the_best(seed):
    counts = count_detections(*scenes.scene(seed))
    if counts.best is None:
        assert not (counts.found == 1).any()
        return
    assert counts.best[1:] == pytest.approx(plain_f1(counts, counts.best.threshold))
    every = [plain_f1(counts, score)[0] for score in {*counts.scores, 0.0, 2.0}]
    assert counts.best.f1 == pytest.approx(max(every))


def test_the_best_threshold_lies_between_two_scores():
    truth = one([BOX], [1])
    counts = count_detections([truth], [one([BOX, [0, 0, 9, 9]], [1, 1], [0.8, 0.2])], NAMES)
    assert counts.best == pytest.approx((0.5, 1, 1, 1))
    assert count_detections([truth], [one([], [], [])], NAMES).best is None
    assert count_detections([one([], [])], [one([BOX], [1], [0.5])], NAMES).best is None


# ---- confusions ---------------------------------------------------------------------


def test_confusions_by_hand():
    far = [60.0, 60, 90, 90]
    truth = [one([BOX, far], [1, 2]), one([BOX], [3]), one([], [])]
    found = [
        # A cat called a dog, the dog missed at this score, and a second box on the cat.
        one([BOX, far, BOX], [2, 2, 3], [0.9, 0.1, 0.8]),
        one([BOX, BOX], [3, 1], [0.7, 0.9]),
        one([BOX], [1], [0.6]),
    ]
    cells = count_detections(truth, found, NAMES).confusion(0.5)
    assert cells.tolist() == [[0, 2, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("seed", range(8))
def test_confusions_add_up(seed):
    truth, found, names = scenes.scene(seed)
    counts = count_detections(truth, found, names)
    for score in (0.0, 0.3, 0.8):
        cells = counts.confusion(score)
        is_counted = (counts.scores >= score) & (counts.found != 2)
        objects = np.bincount(counts.true_labels[counts.counts[:, 0]], minlength=len(names))
        detections = np.bincount(counts.labels[is_counted], minlength=len(names))
        assert cells[1:].sum(axis=1).tolist() == objects[1:].tolist()
        assert cells[:, 1:].sum(axis=0).tolist() == detections[1:].tolist()
        hits = is_counted & (counts.found == 1)
        assert cells.trace() == hits.sum()
        assert cells[0, 0] == 0


# ---- the report ---------------------------------------------------------------------


def test_the_report_tells_of_every_class_and_image():
    truth = [one([BOX, [60, 60, 90, 90]], [1, 2], ignored=[False, True]), one([BOX], [1])]
    truth += [one([], [])]
    found = [one([BOX], [1], [0.9]), one([BOX, BOX], [1, 3], [0.8, 0.3]), one([], [], [])]
    told = report(truth, found)
    assert (told.n, told.n_empty, told.n_objects, told.n_ignored) == (3, 1, 2, 1)
    assert told.labels == ("cat", "dog", "cow")
    cat, dog, cow = told.classes
    assert (cat.average_precision, cat.precision, cat.recall) == (1, 1, 1)
    assert (cat.objects, cat.detections, cat.images) == (2, 2, 2)
    assert (dog.average_precision, dog.ap50, dog.recall, dog.curve) == (None, None, None, ())
    assert (cow.objects, cow.precision) == (0, None)  # its box is below the best threshold
    assert told.confusion == ((2, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    assert told.best == pytest.approx((0.55, 1, 1, 1))
    lines = "\n".join(report_lines(told))
    for part in (
        *("dog, cow: no object in these images", "1 of the images", "1 objects, which count"),
        *("0.55: precision 100.0 %, recall 100.0 %", "nothing found", "no object"),
    ):
        assert part in lines


def test_a_threshold_that_is_given_is_told_beside_the_best_one():
    truth = [one([BOX, [60, 60, 90, 90]], [1, 2])] * 2
    found = [one([BOX, [60, 60, 90, 90]], [1, 2], [0.9, 0.3])] * 2
    told = report(truth, found, threshold=0.5)
    assert told.best == (pytest.approx(0.3), 1, 1, 1)
    assert told.chosen == (0.5, pytest.approx(2 / 3), 1, 0.5)
    assert told.confusion[1] == (0, 0, 0, 2)
    assert [row.recall for row in told.classes] == [1, 0, None]
    lines = "\n".join(report_lines(told))
    assert "0.5: precision 100.0 %, recall 50.0 %, F1 66.7 %" in lines
    none = report(truth, found, threshold=0.95)
    assert none.chosen == (0.95, 0, None, 0)
    assert "precision n/a" in "\n".join(report_lines(none))


def test_a_report_is_plain_values():
    told = report([one([BOX], [1])], [one([BOX], [1], [0.5])])
    written = json.loads(json.dumps(told.to_dict()))
    assert set(written["best"]) == {"threshold", "f1", "precision", "recall"}
    assert set(written["classes"][0]["curve"][0]) == {"score", "precision", "recall"}
    assert written["chosen"] == written["best"]
    assert len(written["confusion"]) == len(written["labels"]) + 1


@pytest.mark.parametrize("seed", range(6))
def test_curves_hold_precision_and_recall_at_their_scores(seed):
    truth, found, names = scenes.scene(seed)
    counts, told = count_detections(truth, found, names), report(truth, found, names)
    for label, row in enumerate(told.classes, start=1):
        is_its = (counts.labels == label) & (counts.found != 2)
        assert len(row.curve) <= 50
        assert bool(row.curve) == bool(row.objects and is_its.any())
        for point in row.curve:
            kept = counts.found[is_its & (counts.scores >= point.score)]
            assert point.precision == pytest.approx((kept == 1).mean())
            assert point.recall == pytest.approx((kept == 1).sum() / row.objects)
        recalls = [point.recall for point in row.curve]
        assert recalls == sorted(recalls)
        if row.curve:
            assert recalls[-1] == (counts.found[is_its] == 1).sum() / row.objects


def plain_rule(truth, names):
    """Each class's median box in every image, with one score, as detections."""
    shares = {}
    for image in truth:
        height, width = image.size
        for box, label in zip(image.boxes, image.labels, strict=True):
            shares.setdefault(label, []).append(box / [width, height, width, height])
    said = sorted(shares)
    for image in truth:
        height, width = image.size
        boxes = [np.median(shares[c], axis=0) * [width, height, width, height] for c in said]
        yield one(boxes, said, np.ones(len(said)), size=image.size)


def test_the_baseline_is_the_median_box_in_every_image():
    rng = np.random.default_rng(0)
    truth = []
    for _ in range(40):
        size = tuple(rng.integers(200, 400, 2))
        centre = np.array(size)[::-1] * rng.normal(0.5, 0.05, 2)
        half = np.array(size)[::-1] * rng.uniform(0.15, 0.3, 2)
        box = np.concatenate([centre - half, centre + half])
        truth.append(one([box], [1 + int(rng.random() < 0.3)], size=size))
    constant = list(plain_rule(truth, NAMES))
    told = report(truth, constant)
    # All boxes of a class have one score: precision p up to recall r, nothing beyond.
    counts = count_detections(truth, constant, NAMES)
    expected = []
    for label in (1, 2):
        hits = (counts.outcomes[counts.labels == label][:, 0] == 1).sum(axis=0)
        precision, recall = hits / 40, hits / (counts.true_labels == label).sum()
        expected.append(
            [
                p * sum(r >= at / 100 for at in range(101)) / 101 if p else 0
                for p, r in zip(precision, recall, strict=True)
            ]
        )
    ap, ap50 = told.baseline.of("average_precision"), told.baseline.of("ap50")
    assert ap.baseline == pytest.approx(np.mean(expected))
    assert ap50.baseline == pytest.approx(np.mean(expected, axis=0)[0])
    assert 0.05 < ap50.baseline < 1
    exact = report(truth, [one(t.boxes, t.labels, np.ones(1), size=t.size) for t in truth])
    assert exact.baseline.is_beaten
    assert exact.average_precision == 1
    assert "each class's median box in every image gets" in exact.headline()
    nothing = report(truth, [one([], [], [], size=t.size) for t in truth])
    assert not nothing.baseline.is_beaten
    assert "no better than each class's median box" in nothing.headline()


def test_the_interval_holds_the_value_and_shrinks_with_more_images():
    rng = np.random.default_rng(0)
    width = []
    for n in (10, 160):
        truth, found = [], []
        for _ in range(n):
            boxes = scenes.drawn(rng, 6, 0)
            labels = rng.integers(1, 4, 6)
            truth.append(one(boxes, labels, size=scenes.SIZE))
            found.append(scenes.detected(rng, boxes, labels, 3, 0))
        for row in report(truth, found).rows()[:2]:
            assert row.low < row.value < row.high
        width.append(row.high - row.low)
    assert width[1] < width[0] / 2


@pytest.mark.parametrize("seed", range(6))
def test_weights_count_an_image_as_often_as_they_say(seed):
    """The bootstrap's own way to repeat images, beside repeated images."""
    truth, found, names = scenes.scene(seed)
    rng = np.random.default_rng(0)
    # No two scores are the same: of those that tie, the order would be another.
    scores = iter(rng.permutation(10_000) / 10_000)
    found = [
        dataclasses.replace(f, scores=np.array([next(scores) for _ in f.scores])) for f in found
    ]
    rows = rng.integers(0, len(truth), 2 * len(truth))
    weighted = count_detections(truth, found, names).ranked()
    repeated = count_detections([truth[i] for i in rows], [found[i] for i in rows], names)
    told = weighted.averaged(np.bincount(rows, minlength=len(truth)))
    np.testing.assert_allclose(told, repeated.precisions["all"], atol=1e-9)


# ---- what does not fit --------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "predicted", "match"),
    [
        ([one([BOX], [1])], [], "image 0 has a truth but no prediction; give one of each"),
        ([], [one([BOX], [1], [1])], "image 0 has a prediction but no truth"),
        ([], [], "there are no images to measure with"),
        ([one([], [])], [one([BOX], [1], [1])], "no object to measure with in 1 images"),
        ([one([BOX], [0])], [one([], [], [])], "truth of image 0 has class 0; give numbers from 1"),
        ([one([BOX], [1])], [one([BOX], [4], [1])], "prediction of image 0 has class 4; .* to 3"),
        ([one([BOX], [1])], [one([BOX], [1])], "prediction of image 0 lacks a score"),
        ([one([BOX], [1])], [one([BOX], [1], [np.nan])], "one that isn't finite"),
        ([one([BOX], [1])], [Annotations((100, 100))], "prediction of image 0 has no boxes"),
        ([one([BOX], [1])], [one([], [], [], size=(9, 9))], "of 100 × 100 px and the prediction"),
    ],
)
def test_what_does_not_fit_is_named(truth, predicted, match):
    with pytest.raises(ValueError, match=match):
        report(truth, predicted)


def test_many_classes():
    names = ["background", *(f"c{i}" for i in range(60))]
    boxes = [[10 * i, 0, 10 * i + 8, 9] for i in range(60)]
    labels = np.arange(1, 61)
    truth = one(boxes, labels, size=(10, 700))
    told = report([truth], [one(boxes, labels % 60 + 1, np.ones(60), size=(10, 700))], names)
    assert told.average_precision == 0
    assert told.best is None
    assert "most frequent confusions" in told.tables()[1].title


def test_one_image_is_held_at_a_time():
    size = 400

    def images(scores):
        for _ in range(30):
            rest = one([BOX], [1], scores, size=(size, size))
            yield Annotations(
                rest.size, np.zeros(rest.size), rest.boxes, labels=rest.labels, scores=rest.scores
            )

    tracemalloc.start()
    count_detections(images(None), images([0.5]), NAMES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * size**2 * 8
