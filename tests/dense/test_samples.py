"""Samples of maps with the class of every pixel."""

import numpy as np
import pytest
import torch

from transferkit.annotations import VOID, Annotations, AnnotationSet
from transferkit.dense.samples import DenseSamples, class_counts, class_maps
from transferkit.images import Frame


def annotated(maps, n_classes):
    names = [str(i) for i in range(n_classes)]
    return AnnotationSet(names, maps, lambda m: Annotations(m.shape, map=m))


@pytest.mark.parametrize("n_classes", [2, 255, 256, 300])
def test_every_class_and_void_come_back(n_classes):
    one = np.resize(np.arange(VOID, n_classes), (20, 20))
    targets = class_maps(annotated([one], n_classes), [Frame()], (20, 20))
    rows = np.zeros((1, 1, 2, 2), np.float16)
    (_, target), *_ = DenseSamples([[rows]], targets).__getitems__([(0, -1)])
    assert (target.numpy() == one).all()


def test_counts_leave_void_out():
    one = np.array([[0, 1, 1], [VOID, VOID, 2]])
    targets = class_maps(annotated([one, one], 4), [Frame(), Frame()], (2, 3))
    assert class_counts(targets, 4).tolist() == [2, 4, 2, 0]


def test_the_mirrored_view_has_the_mirrored_target():
    rng = np.random.default_rng(0)
    plain = [rng.normal(size=(5, 3, 2, 4)).astype(np.float16) for _ in range(2)]
    mirrored = [rows[..., ::-1].copy() for rows in plain]
    maps = [rng.integers(0, 3, (6, 8)) for _ in range(5)]
    targets = class_maps(annotated(maps, 3), [Frame()] * 5, (6, 8))
    samples = DenseSamples([plain, mirrored], targets)
    seen = set()
    for seed in range(8):
        for i, (levels, target) in enumerate(samples.__getitems__([(i, seed) for i in range(5)])):
            is_plain = (target.numpy() == maps[i]).all()
            expected = [rows[i] if is_plain else rows[i][..., ::-1] for rows in plain]
            assert all((a.numpy() == b).all() for a, b in zip(levels, expected, strict=True))
            if not is_plain:
                assert (target.numpy() == maps[i][:, ::-1]).all()
            seen.add(bool(is_plain))
    assert seen == {True, False}


def test_without_a_seed_nothing_is_mirrored():
    rows = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    samples = DenseSamples([[rows], [rows[..., ::-1].copy()]], np.zeros((1, 4, 4), np.uint8))
    levels, _ = samples[0, -1]
    assert torch.equal(levels[0], torch.from_numpy(rows[0]))
