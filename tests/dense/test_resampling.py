"""Scores of the network's px, taken to the image's px."""

import numpy as np
import pytest
import torch

from transferkit.annotations import VOID
from transferkit.dense import resampling
from transferkit.dense.resampling import classes_in_image, scores_in_image
from transferkit.images import Frame, frame_of
from transferkit.spec import Preprocess


def preprocess(size, mode, crop_pct=1.0):
    return Preprocess(size, "bicubic", crop_pct, mode, (0.5,) * 3, (0.5,) * 3)


def at_point(scores, x, y):
    """Bilinear value of a grid at a point, by a plain loop; x and y count cells from edges."""
    height, width = scores.shape
    x, y = x - 0.5, y - 0.5
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    value = 0.0
    for dy, wy in ((0, 1 - (y - y0)), (1, y - y0)):
        for dx, wx in ((0, 1 - (x - x0)), (1, x - x0)):
            row, column = np.clip(y0 + dy, 0, height - 1), np.clip(x0 + dx, 0, width - 1)
            value += wy * wx * scores[row, column]
    return value


@pytest.mark.parametrize("mode", ["squash", "border", "center"])
@pytest.mark.parametrize("size", [(37, 53), (90, 41)])
def test_equals_a_loop_over_pixels(mode, size):
    p = preprocess((64, 96), mode)
    frame = frame_of(size, p)
    scores = torch.from_numpy(np.random.default_rng(0).normal(size=(9, 13)).astype(np.float32))
    found = scores_in_image(scores, frame, p.image_size, size)
    for i, j in [(0, 0), (5, 7), (size[0] - 1, size[1] - 1), (20, 30)]:
        ((x, y),) = frame.forward_points([[j + 0.5, i + 0.5]])
        inside = 0 <= x <= 96 and 0 <= y <= 64
        expected = at_point(scores.numpy(), x * 13 / 96, y * 9 / 64) if inside else 0
        assert found[i, j] == pytest.approx(expected, abs=1e-5)


def test_classes_are_those_of_the_highest_scores():
    frame, size = frame_of((40, 60), preprocess((64, 64), "squash")), (40, 60)
    scores = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 16, 16)).astype(np.float32))
    each = [scores_in_image(one, frame, (64, 64), size) for one in scores]
    found = classes_in_image(scores, frame, (64, 64), size)
    assert (found == np.argmax(each, axis=0)).all()


def test_what_the_network_did_not_see_is_void():
    p = preprocess((32, 32), "center")
    found = classes_in_image(torch.ones(2, 4, 4), frame_of((32, 64), p), p.image_size, (32, 64))
    assert (found[:, :16] == VOID).all()
    assert (found[:, 48:] == VOID).all()
    assert (found[:, 16:48] != VOID).all()


def test_strips_do_not_change_the_result(monkeypatch):
    frame, size = frame_of((50, 70), preprocess((64, 64), "border")), (50, 70)
    scores = torch.from_numpy(np.random.default_rng(2).normal(size=(3, 8, 8)).astype(np.float32))
    whole = classes_in_image(scores, frame, (64, 64), size)
    monkeypatch.setattr(resampling, "_AT_ONCE", 3 * 70 * 7)
    assert (classes_in_image(scores, frame, (64, 64), size) == whole).all()


def test_a_mirrored_frame_mirrors():
    scores = torch.arange(6.0).reshape(1, 6)
    plain = scores_in_image(scores, Frame(), (1, 6), (1, 6))
    mirrored = scores_in_image(scores, Frame.flip(6), (1, 6), (1, 6))
    assert plain.ravel() == pytest.approx(scores.numpy().ravel(), abs=1e-6)
    assert mirrored.ravel() == pytest.approx(scores.numpy().ravel()[::-1], abs=1e-6)
