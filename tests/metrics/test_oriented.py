"""Oriented boxes measured: DOTA's rules in plain loops, and by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.metrics import dota
from transferkit.annotations import Annotations
from transferkit.metrics import (
    ORIENTED,
    count_detections,
    found_and_missed,
    oriented_overlaps,
    oriented_report,
)
from transferkit.metrics._rules import THRESHOLDS, greedy_partners, nearest_partners

NAMES = ["background", "ship", "plane"]
BOX = [30.0, 30, 40, 10, 30]


def one(boxes, labels, scores=None, ignored=None, size=(100, 100)):
    return Annotations(
        size,
        oriented=np.array(boxes, dtype=float).reshape(-1, 5),
        labels=np.array(labels, dtype=int),
        scores=None if scores is None else np.array(scores, dtype=float),
        ignored=None if ignored is None else np.array(ignored, dtype=bool),
    )


def stretched(factor):
    """A box that overlaps with `BOX` by 1 / factor."""
    return [*BOX[:2], BOX[2] * factor, *BOX[3:]]


def counted(truth, found, **options):
    return count_detections(truth, found, NAMES, shapes=ORIENTED, task="oriented", **options)


# ---- the rules ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_the_numbers_are_those_of_plain_loops(seed):
    truth, found, names = dota.scene(np.random.default_rng(seed), 4)
    if all(one.ignored.all() for one in truth):
        return
    expected = dota.numbers(truth, found, names)
    told = oriented_report(truth, found, names)
    for name, value in expected.items():
        assert told.value(name) == pytest.approx(None if np.isnan(value) else value), name


def test_the_plain_loops_had_something_to_find():
    scenes = [dota.scene(np.random.default_rng(seed), 4) for seed in range(40)]
    values = [dota.numbers(*found)["ap50"] for found in scenes]
    assert sum(0.05 < value < 0.95 for value in values) > 20
    assert sum(one.ignored.sum() for truth, _, _ in scenes for one in truth) > 50


def test_the_first_on_an_object_hits_and_the_others_are_false():
    found = one([BOX, BOX, stretched(1.1)], [1] * 3, [0.5, 0.9, 0.7])
    counts = counted([one([BOX], [1])], [found])
    assert counts.outcomes[:, 0, 0].tolist() == [1, 0, 0]
    assert counts.scores.tolist() == [0.9, 0.7, 0.5]


def test_a_detection_does_not_turn_to_another_object_as_it_does_with_coco():
    near = [32.0, 30, 40, 10, 30]
    truth = one([BOX, near], [1, 1])
    found = one([BOX, BOX], [1, 1], [0.9, 0.8])
    assert oriented_overlaps([BOX], [near])[0, 0] > 0.6
    assert counted([truth], [found]).outcomes[:, 0, 0].tolist() == [1, 0]
    overlaps, counts = oriented_overlaps([BOX, BOX], [BOX, near]), np.ones((1, 2), dtype=bool)
    assert greedy_partners(overlaps, counts, ~counts[0])[:, 0, 0].tolist() == [0, 1]
    assert nearest_partners(overlaps, counts, ~counts[0])[:, 0, 0].tolist() == [0, -1]


def test_an_overlap_has_to_be_larger_than_the_threshold():
    overlaps = np.array([[0.5], [0.5 + 1e-9]])
    partners = nearest_partners(overlaps, np.ones((1, 1), dtype=bool), np.zeros(1, dtype=bool))
    assert partners[:, 0, 0].tolist() == [-1, 0]
    assert (partners[:, 0, 1:] == -1).all()
    assert THRESHOLDS[0] == 0.5


def test_difficult_objects_count_neither_way():
    truth = one([BOX, [70, 70, 40, 10, 0]], [1, 1], ignored=[True, False])
    some = one([BOX, [70, 70, 40, 10, 0]], [1, 1], [0.9, 0.8])
    told = oriented_report([truth], [some], NAMES)
    assert (told.average_precision, told.n_objects, told.n_ignored) == (1, 1, 1)
    # A detection whose nearest is difficult is left out, though the normal one is near enough.
    truth = one([BOX, stretched(1.25)], [1, 1], ignored=[True, False])
    counts = counted([truth], [one([BOX, BOX], [1, 1], [0.9, 0.8])])
    assert counts.outcomes[:, 0, 0].tolist() == [2, 2]
    assert counts.average_precision() == 0


def test_the_average_is_an_area_and_no_mean_at_101_recalls():
    truth = [one([BOX], [1])] * 3
    found = [
        one([BOX], [1], [0.9]),
        one([[70, 70, 40, 10, 0]], [1], [0.8]),
        one([BOX], [1], [0.7]),
    ]
    # Precision 1 up to recall 1/3, then 2/3 up to recall 2/3.
    assert oriented_report(truth, found, NAMES).ap50 == pytest.approx(1 / 3 + 2 / 9)


@pytest.mark.parametrize("seed", range(4))
def test_weights_count_an_image_as_often_as_they_say(seed):
    rng = np.random.default_rng(seed)
    truth, found, names = dota.scene(rng, 12)
    rows = rng.integers(0, 12, 20)
    distinct = iter(rng.permutation(10_000) / 10_000)
    found = [
        one(f.oriented, f.labels, [next(distinct) for _ in f.labels], size=f.size) for f in found
    ]
    weighted = count_detections(truth, found, names, shapes=ORIENTED).ranked()
    repeated = count_detections(
        [truth[i] for i in rows], [found[i] for i in rows], names, shapes=ORIENTED
    )
    told = weighted.averaged(np.bincount(rows, minlength=12))
    np.testing.assert_allclose(told, repeated.precisions["all"], atol=1e-9)


# ---- the report ---------------------------------------------------------------------


def test_the_report_is_plain_values_and_tells_of_every_class():
    truth = [one([BOX, [70, 70, 40, 10, 0]], [1, 2])]
    found = [one([stretched(1.5), [70, 70, 40, 10, 0]], [1, 2], [0.9, 0.8])]
    told = oriented_report(truth, found, NAMES)
    ship, plane = told.classes
    assert (ship.ap50, ship.ap75, plane.ap75) == (1, 0, 1)
    assert told.task == "oriented"
    written = json.loads(json.dumps(told.to_dict()))
    assert written["classes"][0]["ap75"] == 0
    header, row = told.tables()[0].header, told.tables()[0].rows[0]
    assert dict(zip(header, row, strict=True))["AP75"] == "0.0"
    assert told.confusion == ((1, 0, 0), (0, 1, 0), (0, 0, 0))
    assert "AP50" in told.headline()


def test_the_baseline_is_a_typical_box_in_every_image():
    rng = np.random.default_rng(0)
    truth = []
    for _ in range(60):
        steep = np.array([50, 50, 40, 10, rng.choice([88, -88])])
        truth.append(one([steep + rng.normal(0, 1, 5)], [1]))
    # Around -90 degrees, the median of the angles would lie across all of them.
    said = [one([[50, 50, 40, 10, -90]], [1], [1.0]) for _ in truth]
    expected = oriented_report(truth, said, NAMES).ap50
    told = oriented_report(truth, [one(t.oriented, t.labels, [1.0]) for t in truth], NAMES)
    assert expected > 0.5
    assert told.baseline.of("ap50").baseline == pytest.approx(expected, abs=0.1)


def test_what_does_not_fit_is_named():
    upright = Annotations((100, 100), boxes=np.zeros((1, 4)), labels=np.ones(1, dtype=int))
    with pytest.raises(ValueError, match="truth of image 0 has no oriented boxes or no labels"):
        oriented_report([upright], [one([BOX], [1], [0.5])], NAMES)
    with pytest.raises(ValueError, match="no object to measure with in 1 images"):
        oriented_report([one([BOX], [1], ignored=[True])], [one([BOX], [1], [0.5])], NAMES)


# ---- what a picture shows -----------------------------------------------------------


def test_pictures_compare_oriented_boxes_where_both_have_them():
    # Both have the same upright box around them, but lie across one another.
    around = np.array([[10.0, 10, 50, 50]])
    one_way, other_way = (
        replace(one([[30, 30, 40, 10, angle]], [1], [0.9]), boxes=around) for angle in (45, -45)
    )
    upright = replace(other_way, oriented=None)
    assert [part.tolist() for part in found_and_missed(one_way, other_way)] == [[True], [True]]
    assert [part.tolist() for part in found_and_missed(one_way, upright)] == [[False], [False]]
