"""Examples: the worst images and the surest mistakes, by a plain look at every image."""

import numpy as np
import pytest

from tests.report.dense_cases import case
from transferkit.metrics import found_and_missed
from transferkit.report.examples import (
    ObjectOutcomes,
    anomaly_examples,
    object_examples,
    pixel_examples,
)

THRESHOLD = 0.3


def test_images_are_sorted_by_their_own_iou():
    counts, _, truth, found = case("segmentation", 60)
    expected = []
    for true, said in zip(truth, found, strict=True):
        ious = [
            ((true.map == c) & (said.map == c)).sum() / ((true.map == c) | (said.map == c)).sum()
            for c in range(3)
        ]
        expected.append(np.mean(ious))
    examples = pixel_examples(counts)
    worst, middling, best = examples.groups.values()
    order = np.argsort(expected, kind="stable")
    assert list(worst) == order[:8].tolist()
    assert list(best) == order[::-1][:8].tolist()
    assert list(middling) == order[26:34].tolist()
    assert examples.notes[worst[0]][0] == f"mean IoU {100 * min(expected):.1f} %"
    assert examples.images == sorted({*worst, *middling, *best})


@pytest.mark.parametrize("task", ["detection", "instances", "oriented"])
def test_outcomes_are_those_of_each_image_by_itself(task):
    counts, _, truth, found = case(task, 12)
    outcomes = ObjectOutcomes.of(counts, THRESHOLD)
    for i, (true, said) in enumerate(zip(truth, found, strict=True)):
        kept = said.select(said.scores >= THRESHOLD)
        missed, false = found_and_missed(kept, true, shapes=counts.shapes)
        assert outcomes.missed[i] == missed.sum()
        assert outcomes.false[i] == false.sum()
        assert outcomes.hits[i] == len(true.labels) - missed.sum()
    assert outcomes.f1[0] == 1  # an empty image on which nothing is found
    assert outcomes.f1[1] == pytest.approx(2 / (2 + 2 + 2))


def test_no_image_fills_a_gallery():
    counts, _, _, _ = case("detection", 90)
    examples = object_examples(counts, THRESHOLD)
    assert sum(examples.n_false.values()) == sum(examples.n_missed.values()) == 24
    assert max(examples.n_false.values()) <= 4
    # The surest false ones are the dogs of the first images.
    assert set(examples.n_false) <= set(range(40))
    assert len(examples.images) <= 24 + 24 + 24


def test_anomalies_are_shown_by_what_was_said_of_them():
    scores, _, _, _ = case("anomaly", 90)
    groups = anomaly_examples(scores).groups
    assert groups["Missed"] == [1]
    assert groups["False alarms"] == [0]
    for name, is_strange in (("Found", 1), ("Rightly good", 0)):
        own = groups[name]
        assert len(own) == 8
        assert all(i % 2 == is_strange for i in own)
        values = scores.images[own]
        assert (np.diff(values) >= 0).all()
        kind = scores.images[is_strange::2][1:]
        assert {values[0], values[-1]} == {kind.min(), kind.max()}
