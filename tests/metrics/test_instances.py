"""The report of instances: masks beside boxes, panoptic quality, and what is held in memory."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest

from tests.metrics import panoptic
from transferkit.annotations import Annotations, Masks, Region
from transferkit.metrics import (
    count_detections,
    count_instances,
    detection_report,
    instance_report,
    report_of_instances,
)
from transferkit.report.text import report_lines

NAMES = ["background", "cell", "other"]


def disc(top, left, side=20):
    rows, columns = (np.arange(side) + 0.5) / side * 2 - 1, (np.arange(side) + 0.5) / side * 2 - 1
    return Region(top, left, rows[:, None] ** 2 + columns**2 <= 1)


def one(regions, labels=None, scores=None, size=(200, 220), **fields):
    labels = np.ones(len(regions), int) if labels is None else np.array(labels)
    scores = None if scores is None else np.array(scores, dtype=float)
    return Annotations(size, masks=Masks(size, regions), labels=labels, scores=scores, **fields)


def test_masks_and_boxes_are_measured_beside_each_other():
    truth, found, names = panoptic.scene(0, 20)
    told = instance_report(iter(truth), iter(found), names)
    of_boxes = detection_report(truth, found, names)
    assert told.task == "instances"
    assert (told.box_average_precision, told.box_ap50) == (
        of_boxes.average_precision,
        of_boxes.ap50,
    )
    assert told.average_precision != of_boxes.average_precision
    # Where there are no boxes they are those around the masks.
    bare = [[dataclasses.replace(one, boxes=None) for one in many] for many in (truth, found)]
    around = [[dataclasses.replace(one, boxes=one.masks.boxes) for one in many] for many in bare]
    expected = count_detections(*around, names).average_precision()
    assert instance_report(*bare, names).box_average_precision == expected


def test_panoptic_quality_is_told_of_each_class_at_the_chosen_threshold():
    truth = [one([disc(10, 10), disc(60, 60), disc(110, 110)], [1, 1, 2])]
    found = [one([disc(10, 10), disc(60, 60), disc(150, 10)], [1, 1, 1], [0.9, 0.4, 0.3])]
    told = instance_report(truth, found, NAMES, threshold=0.5)
    cell, other = told.segments
    assert (cell.label, other.label) == ("cell", "other")
    assert (cell.quality, cell.segmentation, cell.recognition) == (2 / 3, 1, 2 / 3)
    assert (other.quality, other.segmentation, other.recognition) == (0, 0, 0)
    assert told.panoptic_quality == pytest.approx(1 / 3)
    assert told.segmentation_quality == pytest.approx(1 / 2)
    assert instance_report(truth, found, NAMES).panoptic_quality == pytest.approx(1 / 2)
    nothing = instance_report(truth, [one([], scores=[])], NAMES)
    assert (nothing.panoptic_quality, nothing.chosen) == (0, None)
    written = json.loads(json.dumps(told.to_dict()))
    assert written["panoptic_quality"] == told.panoptic_quality
    assert written["segments"][0]["quality"] == 2 / 3


def test_the_text_tells_of_crowds():
    few = [one([disc(10, 10), disc(60, 60)])]
    regions = [disc(top, left, 18) for top in range(0, 160, 20) for left in range(0, 180, 20)]
    many = [one(regions)]
    for truth, is_crowded in ((few, False), (many, True)):
        n = len(truth[0].labels)
        found = [dataclasses.replace(truth[0], scores=np.linspace(0.5, 1, n))]
        told = instance_report(truth, found, NAMES)
        lines = "\n".join(report_lines(told))
        assert "100.0 % AP, 100.0 % AP50 of masks" in told.headline()
        for part in ("box AP50", "panoptic quality", "SQ", "segmentation quality 100"):
            assert part in lines
        assert ("kept apart" in lines) == is_crowded
        assert told.median_objects == n


def test_counts_that_are_there_already_give_the_same_report():
    truth, found, names = panoptic.scene(1, 8)
    counts = count_instances(truth, found, names, limit=5, threshold=0.4)
    told = report_of_instances(counts)
    assert told == instance_report(truth, found, names, limit=5, threshold=0.4)
    assert told.limit == 5
    assert told.chosen.threshold == 0.4


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ([], [], "no images to measure with"),
        ([one([])], [one([], scores=[])], "no object to measure with"),
        ([one([disc(5, 5)])], [one([disc(5, 5)])], "lacks a score"),
        ([one([disc(5, 5)], [7])], [one([], scores=[])], "has class 7"),
    ],
)
def test_what_cannot_be_measured(truth, found, message):
    with pytest.raises(ValueError, match=message):
        instance_report(truth, found, NAMES)


def test_objects_without_masks_are_named():
    boxes = Annotations((9, 9), boxes=np.ones((1, 4)), labels=np.ones(1, int), scores=np.ones(1))
    with pytest.raises(ValueError, match="truth of image 0 has no masks or no labels"):
        instance_report([boxes], [boxes], NAMES)


def test_no_more_than_one_image_is_held_and_no_mask_of_a_whole_one():
    size, n_objects, n_images = (800, 900), 60, 12
    places = [(int(t), int(s)) for t, s in np.random.default_rng(0).integers(0, 700, (60, 2))]

    def images(scores):
        for _ in range(n_images):
            yield one([disc(*place, side=30) for place in places], scores=scores, size=size)

    tracemalloc.start()
    count_instances(images(None), images(np.linspace(0, 1, n_objects)), NAMES)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * n_objects * size[0] * size[1]
