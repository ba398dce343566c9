"""What holds of every metric: each file of the folder, found by itself.

A metric that is added needs no entry here; one that scikit-learn or a few plain lines also
compute may have one in `SECOND`.
"""

import itertools
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from tests.metrics import dota, panoptic, scenes
from transferkit import metrics
from transferkit.annotations import VOID, Annotations
from transferkit.metrics import (
    Metric,
    predicted_classes,
    predicted_labels,
    predicted_numbers,
    report_of,
)

FOLDER = Path(metrics.__file__).parent
FILES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
REPORTS = (
    *("anomaly", "classification", "detection", "instances", "multilabel", "oriented"),
    *("regression", "segmentation"),
)
OBJECTS = ("detection", "instances", "oriented")
CASES = [(task, metric.name) for task in REPORTS for metric in metrics.of(task)]
N = 60


def classes(rng, n=N, with_proba=True, n_classes=3):
    proba = rng.dirichlet(np.ones(n_classes), n)
    true = np.array([rng.choice(n_classes, p=p) for p in proba])
    given = proba if with_proba else None
    return predicted_classes(true, proba.argmax(axis=1), given, np.arange(n_classes))


def labels(rng, n=N, with_proba=True):
    true = rng.random((n, 3)) < 0.4
    proba = np.clip(true * 0.4 + rng.random((n, 3)) * 0.6, 0, 1)
    return predicted_labels(true, proba > 0.5, proba if with_proba else None, "abc")


def numbers(rng, n=N, with_proba=True):
    true = rng.normal(size=(n, 2))
    return predicted_numbers(true, true + 0.5 * rng.normal(size=true.shape), ["x", "y"])


def pixels(rng, n=N, with_proba=True, n_classes=3):
    truth = rng.integers(0, n_classes, (n, 6, 5)).repeat(2, axis=1)
    wrong = rng.random(truth.shape) < 0.2
    predicted = np.where(wrong, rng.integers(-1, n_classes, truth.shape), truth)
    truth[rng.random(truth.shape) < 0.1] = VOID
    return Maps(truth, predicted, tuple("abc"))


class Maps(metrics.PixelCounts):
    """Counts that remember the maps that they are taken from."""

    def __init__(self, truth, predicted, names):
        counts = metrics.count_pixels(annotated(truth), annotated(predicted), names)
        super().__init__(**vars(counts))
        for name, maps in (("truth", truth), ("found", predicted)):
            object.__setattr__(self, name, maps)


def strangeness(rng, n=N, with_proba=True):
    truth = np.zeros((n, 9, 7), int)
    for one in truth[: n // 2]:
        for _ in range(rng.integers(1, 4)):
            i, j = rng.integers(0, 7), rng.integers(0, 5)
            one[i : i + rng.integers(1, 4), j : j + 2] = 1
    found = rng.integers(-40, 40, truth.shape) / 64 + 0.5 * truth
    truth[rng.random(truth.shape) < 0.1] = VOID
    images = found.max(axis=(1, 2)) + rng.integers(0, 20, n) / 64
    return Strange(truth, found, images, 0.6 if with_proba else None)


class Strange(metrics.AnomalyScores):
    """Scores that remember the maps that they are taken from."""

    def __init__(self, truth, found, images, threshold):
        true, predicted = annotated(truth), scored(found, images)
        scores = metrics.gather_scores(true, predicted, threshold=threshold)
        super().__init__(**vars(scores))
        for name, values in (("truth", truth), ("found", found)):
            object.__setattr__(self, name, values)


def scored(found, images):
    pairs = zip(found, images, strict=True)
    return (Annotations(one.shape, score=score, score_map=one) for one, score in pairs)


def boxes(rng, n=N, with_proba=True):
    truth, found, names = [], [], ["background", "a", "b"]
    for _ in range(n):
        true = scenes.drawn(rng, rng.integers(0, 5), 0)
        labels = rng.integers(1, 3, len(true))
        truth.append(Annotations(scenes.SIZE, boxes=true, labels=labels))
        found.append(scenes.detected(rng, true, labels, 2, 0))
    if n == N:  # scores that tie would be told in another order after a permutation
        scores = iter(rng.permutation(100 * N * 5) / (100 * N * 5))
        found = [replace(f, scores=np.array([next(scores) for _ in f.labels])) for f in found]
    return Objects("detection", truth, found, names)


def masks(rng, n=N, with_proba=True):
    return Instances("instances", *panoptic.scene(int(rng.integers(2**32)), n))


def oriented_boxes(rng, n=N, with_proba=True):
    truth, found, names = dota.scene(rng, n, share_ignored=0)
    if n == N:
        scores = iter(rng.permutation(100 * N * 5) / (100 * N * 5))
        found = [replace(f, scores=np.array([next(scores) for _ in f.labels])) for f in found]
    return Objects("oriented", truth, found, names)


class Objects(metrics.DetectionCounts):
    """Counts that remember the objects that they are taken from."""

    def __init__(self, task, truth, found, names):
        counts = metrics.count_detections(truth, found, names, shapes=SHAPES[task], task=task)
        super().__init__(**vars(counts))
        object.__setattr__(self, "of", (truth, found, names))


class Instances(metrics.InstanceCounts):
    """The same of masks."""

    def __init__(self, task, truth, found, names):
        super().__init__(**vars(metrics.count_instances(truth, found, names)))
        object.__setattr__(self, "of", (truth, found, names))


def objects(task, *given):
    return (Instances if task == "instances" else Objects)(task, *given)


SHAPES = {"detection": metrics.BOXES, "instances": metrics.MASKS, "oriented": metrics.ORIENTED}


def annotated(maps):
    return (Annotations(one.shape, map=one) for one in maps)


DRAWN = {
    "anomaly": strangeness,
    "classification": classes,
    "detection": boxes,
    "instances": masks,
    "multilabel": labels,
    "oriented": oriented_boxes,
    "regression": numbers,
    "segmentation": pixels,
}


def reported(found):
    """The report of what was drawn."""
    if found.task == "anomaly":
        truth, predicted = annotated(found.truth), scored(found.found, found.images)
        return metrics.anomaly_report(truth, predicted, threshold=found.threshold)
    if found.task in OBJECTS:
        truth, predicted, names = found.of
        return report_of(found.task, iter(truth), iter(predicted), None, names)
    if found.task == "segmentation":
        truth, predicted = annotated(found.truth), annotated(found.found)
        return report_of(found.task, truth, predicted, None, found.classes)
    return report_of(found.task, found.y_true, found.y_pred, found.proba, found.classes)


def perfect(found):
    """The same samples, predicted right and without a doubt."""
    if found.task == "anomaly":
        sure = (found.truth == 1).astype(float)
        return Strange(found.truth, sure, sure.max(axis=(1, 2)), 0.5)
    if found.task == "segmentation":
        return Maps(found.truth, found.truth, found.classes)
    if found.task in OBJECTS:
        truth, _, names = found.of
        sure = [replace(t, scores=np.ones(len(t.labels))) for t in truth]
        return objects(found.task, truth, sure, names)
    proba = None
    if found.task == "classification":
        proba = np.eye(found.n_known)[found.y_true]
    if found.task == "multilabel":
        proba = found.y_true.astype(float)
    return reordered(found, slice(None), y_pred=found.y_true, proba=proba)


def reordered(found, rows, *, y_pred=None, proba=None):
    if found.task == "anomaly":
        return Strange(found.truth[rows], found.found[rows], found.images[rows], found.threshold)
    if found.task == "segmentation":
        return Maps(found.truth[rows], found.found[rows], found.classes)
    if found.task in OBJECTS:
        truth, predicted, names = found.of
        rest = [truth[i] for i in rows], [predicted[i] for i in rows], names
        return objects(found.task, *rest)
    y_pred = found.y_pred if y_pred is None else y_pred
    proba = found.proba if proba is None else proba
    return metrics.Predictions(
        found.task,
        found.y_true[rows],
        y_pred[rows],
        None if proba is None else proba[rows],
        found.classes,
        found.n_known,
    )


def mean_over_classes(of):
    """Mean of a number of each class, from the pixels of all images, in a plain loop."""

    def compute(p):
        values = []
        for c in range(len(p.classes)):
            known = p.truth != VOID
            true, predicted = (p.truth == c) & known, (p.found == c) & known
            if (true | predicted).any():
                values.append(of(true, predicted))
        return np.mean(values)

    return compute


def boundary_loop(p):
    """Every boundary pixel against every other, image by image and class by class."""
    scores = {}
    for truth, found in zip(p.truth, p.found, strict=True):
        reach = max(1, 0.0075 * np.sqrt(truth.shape[0] ** 2 + truth.shape[1] ** 2))
        found = np.where(truth == VOID, VOID, np.where(found == VOID, 99, found))
        for c in range(len(p.classes)):
            one, other = boundary_pixels(truth, c), boundary_pixels(found, c)
            if one or other:
                scores.setdefault(c, []).append(boundary_f(one, other, reach))
    return np.mean([np.mean(values) for values in scores.values()])


def boundary_pixels(classes, c):
    height, width = classes.shape
    pixels = []
    for i, j in zip(*np.nonzero(classes == c), strict=True):
        for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if 0 <= k < height and 0 <= m < width and classes[k, m] not in (c, VOID):
                pixels.append((int(i), int(j)))
                break
    return pixels


def boundary_f(true, predicted, reach):
    def near(pixels, others):
        hits = [any(np.hypot(i - k, j - m) <= reach for k, m in others) for i, j in pixels]
        return np.mean(hits) if hits else 0

    precision, recall = near(predicted, true), near(true, predicted)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0


def calibration_loop(p):
    """A loop over the 15 bins."""
    confidence, right = p.proba.max(axis=1), p.y_true == p.y_pred
    total = 0.0
    for k in range(15):
        inside = (confidence > k / 15) & (confidence <= (k + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


def aupro_loop(p):
    """Every threshold, every region, and a straight line between the points."""
    good, points = p.found[p.truth == 0], [(0.0, 0.0)]
    regions = []
    for truth, found in zip(p.truth == 1, p.found, strict=True):
        numbers, count = ndimage.label(truth, np.ones((3, 3)))
        regions += [found[numbers == i + 1] for i in range(count)]
    for threshold in np.unique(p.found)[::-1]:
        overlaps = [(region >= threshold).mean() for region in regions]
        points.append(((good >= threshold).mean(), np.mean(overlaps)))
    total = 0.0
    for (x, y), (u, v) in itertools.pairwise(points):
        if x < 0.3 and u > x:
            end = min(u, 0.3)
            at_end = y + (v - y) * (end - x) / (u - x)
            total += (end - x) * (y + at_end) / 2
    return total / 0.3


def coco(number):
    """One of pycocotools' numbers."""
    return lambda counts: scenes.coco_numbers(*counts.of)[number]


def coco_masks(number):
    return lambda counts: scenes.coco_numbers(*counts.of, kind="segm")[number]


def plain_panoptic(counts):
    truth, found, names = counts.of
    return np.nanmean(panoptic.plain_quality(truth, found, len(names), counts.best.threshold)[0])


def by_dota(number):
    """One of the numbers of DOTA's rules in plain loops."""
    return lambda counts: dota.numbers(*counts.of)[number]


SECOND = {
    ("anomaly", "image_auroc"): lambda p: roc_auc_score(p.is_anomalous, p.images),
    ("anomaly", "pixel_auroc"): lambda p: roc_auc_score(
        p.truth[p.truth != VOID], p.found[p.truth != VOID]
    ),
    ("anomaly", "aupro"): aupro_loop,
    ("anomaly", "anomaly_f1"): lambda p: f1_score(p.is_anomalous, p.images > 0.6),
    ("classification", "accuracy"): lambda p: accuracy_score(p.y_true, p.y_pred),
    ("classification", "balanced_accuracy"): lambda p: balanced_accuracy_score(p.y_true, p.y_pred),
    ("classification", "macro_f1"): lambda p: f1_score(p.y_true, p.y_pred, average="macro"),
    ("classification", "log_loss"): lambda p: log_loss(p.y_true, p.proba, labels=range(p.n_known)),
    ("classification", "calibration_error"): calibration_loop,
    ("detection", "average_precision"): coco("ap"),
    ("detection", "ap50"): coco("ap50"),
    ("detection", "ap75"): coco("ap75"),
    ("detection", "ap_small"): coco("ap_small"),
    ("detection", "ap_medium"): coco("ap_medium"),
    ("detection", "ap_large"): coco("ap_large"),
    ("detection", "average_recall"): coco("ar"),
    ("instances", "average_precision"): coco_masks("ap"),
    ("instances", "ap50"): coco_masks("ap50"),
    ("instances", "ap75"): coco_masks("ap75"),
    ("instances", "ap_small"): coco_masks("ap_small"),
    ("instances", "ap_medium"): coco_masks("ap_medium"),
    ("instances", "ap_large"): coco_masks("ap_large"),
    ("instances", "average_recall"): coco_masks("ar"),
    ("instances", "box_average_precision"): coco("ap"),
    ("instances", "box_ap50"): coco("ap50"),
    ("instances", "panoptic_quality"): plain_panoptic,
    ("oriented", "average_precision"): by_dota("average_precision"),
    ("oriented", "ap50"): by_dota("ap50"),
    ("oriented", "ap75"): by_dota("ap75"),
    ("oriented", "ap_small"): by_dota("ap_small"),
    ("oriented", "ap_medium"): by_dota("ap_medium"),
    ("oriented", "ap_large"): by_dota("ap_large"),
    ("oriented", "average_recall"): by_dota("average_recall"),
    ("multilabel", "exact_match"): lambda p: accuracy_score(p.y_true, p.y_pred),
    ("multilabel", "macro_f1"): lambda p: f1_score(p.y_true, p.y_pred, average="macro"),
    ("multilabel", "mean_average_precision"): lambda p: average_precision_score(p.y_true, p.proba),
    ("multilabel", "mean_auroc"): lambda p: roc_auc_score(p.y_true, p.proba),
    ("regression", "r2"): lambda p: r2_score(p.y_true, p.y_pred),
    ("regression", "mae"): lambda p: mean_absolute_error(p.y_true, p.y_pred),
    ("regression", "rmse"): lambda p: root_mean_squared_error(p.y_true, p.y_pred),
    ("segmentation", "mean_iou"): mean_over_classes(lambda t, p: (t & p).sum() / (t | p).sum()),
    ("segmentation", "mean_dice"): mean_over_classes(
        lambda t, p: 2 * (t & p).sum() / (t.sum() + p.sum())
    ),
    ("segmentation", "pixel_accuracy"): lambda p: (p.truth == p.found)[p.truth != VOID].mean(),
    ("segmentation", "boundary_f"): boundary_loop,
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_holds_a_metric_of_its_name(name):
    metric = metrics.get(name)
    assert isinstance(metric, Metric)
    assert metric.name == name
    assert metric.title
    assert metric.tasks
    assert set(metric.tasks) <= set(REPORTS)
    assert metrics.names() == FILES


def test_every_metric_of_a_task_stands_in_its_report():
    rng = np.random.default_rng(0)
    for task in REPORTS:
        found = DRAWN[task](rng)
        report = reported(found)
        written = json.loads(json.dumps(report.to_dict()))
        assert [row.metric for row in report.rows()] == metrics.of(task)
        for row in report.rows():
            assert written[row.metric.name] == row.value == row.metric.of(found)


@pytest.mark.parametrize(("task", "name"), CASES)
@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_second_implementation(task, name, seed):
    found = DRAWN[task](np.random.default_rng(seed))
    value = metrics.get(name).of(found)
    assert isinstance(value, float)
    if (task, name) in SECOND:
        assert value == pytest.approx(SECOND[task, name](found), rel=1e-9)
    if metrics.get(name).is_share:
        assert 0 <= value <= 1


@pytest.mark.parametrize(("task", "name"), CASES)
def test_the_order_of_the_rows_is_of_no_importance(task, name):
    rng = np.random.default_rng(0)
    found = DRAWN[task](rng)
    again = reordered(found, rng.permutation(N))
    assert metrics.get(name).of(again) == pytest.approx(metrics.get(name).of(found), rel=1e-9)


@pytest.mark.parametrize(("task", "name"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_better_than_perfect_predictions(task, name, seed):
    found = DRAWN[task](np.random.default_rng(seed))
    metric = metrics.get(name)
    best, value = metric.of(perfect(found)), metric.of(found)
    assert (best >= value) if metric.higher_is_better else (best <= value)


@pytest.mark.parametrize(("task", "name"), CASES)
def test_a_value_is_written_as_text(task, name):
    metric = metrics.get(name)
    value = metric.of(DRAWN[task](np.random.default_rng(0)))
    for number in (value, 0.0, 1.0, 0.12345):
        text = metric.text(number)
        assert isinstance(text, str)
        assert any(character.isdigit() for character in text)
        assert text.isprintable()
    assert metric.text(None) == "n/a"
    assert metric.short
    assert metric.card_title


def hard(task):
    """Predictions that leave one or another metric undefined."""
    rng = np.random.default_rng(0)
    draw = DRAWN[task]
    yield draw(rng, 1)
    yield draw(rng, 2)
    yield draw(rng, with_proba=False)
    if task == "classification":
        yield predicted_classes(["a"] * 5, ["a"] * 5, np.ones((5, 1)), ["a"])
        yield predicted_classes(["a"] * 5, ["b"] * 5, [[0.5, 0.5]] * 5, ["a", "b"])
        yield predicted_classes(["zebra"] * 5, ["a"] * 5, [[1.0, 0.0]] * 5, ["a", "b"])
    if task == "multilabel":
        for value in (0, 1):
            yield predicted_labels(
                np.full((4, 2), value), np.full((4, 2), 1 - value), np.full((4, 2), 0.5), "ab"
            )
    if task == "segmentation":
        for truth, found in ((0, 0), (0, 1), (0, VOID), (2, 9)):
            yield Maps(np.full((2, 1, 1), truth), np.full((2, 1, 1), found), tuple("abc"))
    if task in OBJECTS:
        held = SHAPES[task].held
        shape = {"boxes": (4,), "masks": (9, 9), "oriented": (5,)}[held]
        nothing = Annotations((9, 9), **{held: np.zeros((0, *shape))}, labels=np.zeros(0, int))
        sure = replace(nothing, scores=np.zeros(0))
        some = Annotations((9, 9), **{held: np.ones((1, *shape))}, labels=np.ones(1, int))
        for truth, found in ((nothing, sure), (nothing, replace(some, scores=np.ones(1)))):
            yield objects(task, [truth] * 2, [found] * 2, ["background", "a"])
        yield objects(task, [some] * 2, [sure] * 2, ["background", "a"])
        ignored = replace(some, ignored=np.array([True]))
        yield objects(task, [ignored], [sure], ["background", "a"])
    if task == "anomaly":
        for truth, found in ((0, 0), (1, 0), (VOID, 1)):
            yield Strange(np.full((2, 1, 1), truth), np.full((2, 1, 1), found), [found] * 2, 0.5)
    if task == "regression":
        yield predicted_numbers([0.1] * 3, [0.1, 0.2, 0.3], ["age"])
        yield predicted_numbers([[0.1, 1], [0.1, 2]], [[0.1, 1], [0.1, 3]], ["a", "b"])
        yield predicted_numbers([3, 4], [3, 3], ["age"])


@pytest.mark.parametrize(("task", "name"), CASES)
def test_undefined_is_none_without_a_warning(task, name):
    for found in hard(task):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value = metrics.get(name).of(found)
        assert value is None or np.isfinite(value)


def test_metrics_without_probabilities_are_none():
    rng = np.random.default_rng(0)
    found = classes(rng, with_proba=False)
    assert metrics.get("log_loss").of(found) is metrics.get("calibration_error").of(found) is None
    found = labels(rng, with_proba=False)
    assert metrics.get("mean_auroc").of(found) is None


def test_wrong_names():
    with pytest.raises(ValueError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        metrics.get("acuracy")
    with pytest.raises(ValueError, match="unknown task 'detecting'; did you mean 'detection'"):
        report_of("detecting", [1], [1], None, ["a"])
    with pytest.raises(ValueError, match="y_pred holds other values than 0 and 1"):
        report_of("multilabel", [[1, 0]], [[2, 0]], None, "ab")
