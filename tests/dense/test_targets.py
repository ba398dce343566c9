"""Objects in the px of the network's input, and samples of maps with objects."""

import numpy as np
import pytest
import torch

from transferkit.annotations import VOID, Annotations
from transferkit.dense.samples import ObjectSamples, objects_together
from transferkit.dense.targets import object_target
from transferkit.images import Frame


def annotations(boxes, labels=None, ignored=None):
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    labels = np.ones(len(boxes), np.int64) if labels is None else np.array(labels)
    return Annotations((100, 100), boxes=boxes, labels=labels, ignored=ignored)


def test_boxes_move_with_the_frame_and_are_cut_off():
    truth = annotations([[10, 20, 30, 60], [90, 0, 100, 10]], [2, 3])
    frame = Frame((0.5, 0.5), (3, 0))
    target = object_target(truth, frame, (50, 50))
    np.testing.assert_allclose(target["boxes"], [[8, 10, 18, 30], [48, 0, 50, 5]])
    assert target["labels"].tolist() == [2, 3]
    assert target["boxes"].dtype == torch.float32
    assert target["labels"].dtype == torch.int64


@pytest.mark.parametrize(("left", "label"), [(60.0, 1), (94.0, 1), (96.0, VOID)])
def test_what_is_hardly_seen_is_ignored(left, label):
    target = object_target(annotations([[left, 0, left + 20, 20]]), Frame(), (100, 100))
    assert target["labels"].tolist() == [label]


def test_what_is_not_seen_is_left_out():
    target = object_target(annotations([[100, 0, 120, 20], [5, 5, 5, 9]]), Frame(), (100, 100))
    assert target["boxes"].shape == (0, 4)
    assert target["labels"].dtype == torch.int64


def test_the_ignored_stay_ignored():
    truth = annotations([[0, 0, 9, 9], [0, 0, 5, 5]], [1, 2], np.array([True, False]))
    assert object_target(truth, Frame(), (100, 100))["labels"].tolist() == [VOID, 2]


def test_samples_give_the_objects_of_their_view():
    rows = [np.full((3, 1, 2, 2), view, np.float16) for view in range(4)]
    objects = [
        [{"boxes": torch.full((i, 4), float(view)), "labels": torch.full((i,), view + 1)}
         for i in range(3)]
        for view in range(4)
    ]  # fmt: skip
    samples = ObjectSamples([[one] for one in rows], objects)
    assert samples.n_objects == 3
    seen = set()
    for seed in range(40):
        levels, targets = objects_together(samples.__getitems__([(0, seed), (1, seed), (2, seed)]))
        view = int(levels[0][0, 0, 0, 0])
        assert levels[0].shape == (3, 1, 2, 2)
        assert [len(target["boxes"]) for target in targets] == [0, 1, 2]
        assert targets[2]["labels"].tolist() == [view + 1] * 2
        seen.add(view)
    assert seen == {0, 1, 2, 3}
    assert int(samples[2, -1][0][0].max()) == 0
