"""Masks of objects measured: pycocotools' numbers, and overlaps in plain loops."""

import numpy as np
import pytest

from tests.metrics import scenes
from tests.metrics.test_detection import numbers
from transferkit.annotations import Annotations
from transferkit.metrics import MASKS, count_detections


def check(seed, **options):
    found = scenes.mask_scene(seed)
    told = numbers(count_detections(*found, shapes=MASKS, **options))
    expected = scenes.coco_numbers(*found, kind="segm", **options)
    assert told == pytest.approx(expected, abs=1e-9, nan_ok=True), seed
    return told


@pytest.mark.parametrize("start", range(0, 30, 10))
def test_the_numbers_are_those_of_pycocotools(start):
    told = [check(seed) for seed in range(start, start + 10)]
    assert sum(0.01 < one["ap"] < 0.99 for one in told) >= 3  # that there was something to find


@pytest.mark.slow
@pytest.mark.suites
def test_the_numbers_are_those_of_pycocotools_on_hundreds_of_scenes():
    for seed in range(100, 500):
        check(seed)


def test_so_many_masks_of_a_class_as_are_asked_for():
    assert any(check(seed, limit=10) != check(seed) for seed in range(8))


def test_overlaps_are_shares_of_pixels_and_those_in_a_crowd_of_the_own_ones():
    rng = np.random.default_rng(0)
    masks = rng.random((12, 9, 11)) < rng.random((12, 1, 1))
    masks[3] = False
    is_crowd = rng.random(12) < 0.3
    one = Annotations((9, 11), masks=masks)
    told = MASKS.overlaps(one, one, is_crowd)
    for i, first in enumerate(masks):
        for k, second in enumerate(masks):
            whole = first.sum() if is_crowd[k] else (first | second).sum()
            assert told[i, k] == pytest.approx((first & second).sum() / whole if whole else 0)
    assert MASKS.areas(one).tolist() == masks.sum((1, 2)).tolist()
