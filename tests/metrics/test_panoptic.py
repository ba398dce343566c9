"""Panoptic quality against a second implementation, with sets of pixels."""

import dataclasses

import numpy as np
import pytest

from tests.metrics import scenes
from tests.metrics.panoptic import plain_quality
from transferkit.annotations import Annotations
from transferkit.metrics._panoptic import PanopticSegments, panoptic_segments


def segments_of(truth, found, n_classes):
    pairs = zip(truth, found, strict=True)
    return PanopticSegments.joined([panoptic_segments(*pair, n_classes) for pair in pairs])


def small(seed):
    """Scenes of few pixels."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(3):
        many = []
        for n in rng.integers(0, 8, 2):
            masks = np.zeros((n, 14, 15), bool)
            for mask in masks:
                top, left = rng.integers(0, 10, 2)
                mask[top : top + rng.integers(1, 8), left : left + rng.integers(1, 8)] = True
            labels = rng.integers(1, 4, n)
            many.append(Annotations((14, 15), masks=masks, labels=labels))
        n_true = len(many[0].labels)
        near = rng.integers(0, max(n_true, 1), 4 if n_true else 0)
        masks = np.concatenate([np.asarray(many[1].masks), np.asarray(many[0].masks)[near]])
        masks &= rng.random(masks.shape) < 0.9
        labels = np.concatenate([many[1].labels, many[0].labels[near]])
        scores = rng.random(len(labels)).round(1)
        truth.append(dataclasses.replace(many[0], ignored=rng.random(n_true) < 0.2))
        found.append(Annotations((14, 15), masks=masks, labels=labels, scores=scores))
    return truth, found, 4


@pytest.mark.parametrize("seed", range(25))
def test_it_is_what_the_paper_says(seed):
    truth, found, n_classes = small(seed)
    segments = segments_of(truth, found, n_classes)
    for threshold in (0.0, 0.3, 0.75):
        expected = plain_quality(truth, found, n_classes, threshold)
        told = segments.of_classes(threshold)
        np.testing.assert_allclose(told.quality, expected[0])
        np.testing.assert_allclose(told.segmentation, expected[1])
        np.testing.assert_allclose(told.recognition, expected[2])
        if np.isfinite(expected[0]).any():
            assert segments.average(threshold).quality == pytest.approx(np.nanmean(expected[0]))


def test_scenes_hold_what_matters():
    many = [segments_of(*small(i)) for i in range(25)]
    assert sum(int((one.overlaps > 0).sum()) for one in many) > 50
    assert sum(int((one.overlaps == 0).sum()) for one in many) > 50


def test_a_perfect_prediction_and_none():
    truth, _, names = scenes.mask_scene(3)
    truth = [dataclasses.replace(one, ignored=None) for one in truth]
    flat = []
    for one in truth:  # without overlaps nothing is lost
        masks, taken = np.asarray(one.masks).copy(), np.zeros(one.size, bool)
        for mask in masks:
            mask &= ~taken
            taken |= mask
        flat.append(dataclasses.replace(one, masks=masks))
    sure = [dataclasses.replace(one, scores=np.ones(len(one.labels))) for one in flat]
    segments = segments_of(flat, sure, len(names))
    assert segments.average(1.0) == (1, 1, 1)
    assert segments.average(2.0).quality == 0
    nothing = Annotations((3, 4), masks=np.zeros((0, 3, 4)), labels=np.zeros(0, int))
    empty = dataclasses.replace(nothing, scores=np.zeros(0))
    assert np.isnan(panoptic_segments(nothing, empty, 2).average(0.0).quality)
