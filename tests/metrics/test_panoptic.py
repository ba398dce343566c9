"""Panoptic quality against a second implementation, with sets of pixels."""

import dataclasses

import numpy as np
import pytest

from tests.metrics import scenes
from transferkit.annotations import Annotations
from transferkit.metrics._panoptic import PanopticSegments, panoptic_segments


def pixels(mask):
    return {tuple(at) for at in np.argwhere(mask).tolist()}


def slow(truth, predicted, n_classes, threshold):
    """PQ, SQ and RQ of each class as the paper tells them."""
    hits, false, missed = ([0.0] * n_classes for _ in range(3))
    shared = [0.0] * n_classes
    for true, found in zip(truth, predicted, strict=True):
        ignored = np.zeros(len(true.labels), bool) if true.ignored is None else true.ignored
        objects, groups, taken = {}, {}, set()
        for k in np.argsort(-true.masks.areas, kind="stable"):
            into = groups if ignored[k] else objects
            for other in into:
                into[other] = into[other] - pixels(true.masks[int(k)])
            into[k] = pixels(true.masks[int(k)])
        open_ones = {k for k, one in objects.items() if one}
        for i in np.argsort(-found.scores, kind="stable"):
            if found.scores[i] < threshold:
                continue
            whole, label = pixels(found.masks[int(i)]), found.labels[i]
            own = whole - taken
            if not own or len(own) < len(whole) / 2:
                continue
            taken |= own
            for k in open_ones:
                overlap = len(own & objects[k]) / len(own | objects[k])
                if overlap > 0.5 and true.labels[k] == label:
                    hits[label] += 1
                    shared[label] += overlap
                    open_ones.remove(k)
                    break
            else:
                around = set().union(*(one for k, one in groups.items() if true.labels[k] == label))
                false[label] += len(own & around) / len(own) <= 0.5
        for k in open_ones:
            missed[true.labels[k]] += 1
    rows = []
    for tp, fp, fn, total in zip(hits, false, missed, shared, strict=True):
        whole = tp + fp / 2 + fn / 2
        sq, rq = total / max(tp, 1), tp / whole if whole else np.nan
        rows.append((total / whole if whole else np.nan, sq, rq))
    return np.array(rows).T


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
        expected = slow(truth, found, n_classes, threshold)
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
