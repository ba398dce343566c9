"""Protocols of segmentation: each against its second implementation, and what all keep to."""

import ast
import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.protocols.plain_segmentation import PLAIN_SEGMENTATION, stretched
from transferkit.annotations import VOID
from transferkit.dense.samples import DenseSamples
from transferkit.protocols import Geometry, protocol_names, segmentation
from transferkit.protocols.segmentation import _training as training
from transferkit.protocols.segmentation import (
    create_segmentation_protocol,
    segmentation_protocol_names,
)

NAMES = segmentation_protocol_names()
SIZE, N_CLASSES = (12, 16), 3
SHORT = {"steps": 14, "warmup_steps": 5, "batch_size": 4, "epochs": 3, "width": 7, "lr": 0.01}


def drawn(n, seed):
    """Maps of two levels that show the class of each quarter, and targets with void pixels."""
    random = np.random.default_rng(seed)
    quarters = random.integers(0, N_CLASSES, (n, 2, 2))
    levels = []
    for width, height in ((5, 6), (8, 3)):
        maps = random.normal(size=(n, width, height, height + 1)).astype(np.float32)
        rows, columns = np.arange(height) * 2 // height, np.arange(height + 1) * 2 // (height + 1)
        maps[:, :N_CLASSES] += 3 * (
            quarters[:, None, rows][:, :, :, columns] == np.arange(N_CLASSES)[:, None, None]
        )
        levels.append(maps)
    targets = quarters.repeat(SIZE[0] // 2, 1).repeat(SIZE[1] // 2, 2)
    targets[random.random(targets.shape) < 0.1] = VOID
    return levels, targets.astype(np.int16)


def short(name, **changes):
    named = create_segmentation_protocol(name)
    known = {field.name for field in dataclasses.fields(named.settings)}
    changed = {k: v for k, v in {**SHORT, **changes}.items() if k in known}
    return dataclasses.replace(named, settings=dataclasses.replace(named.settings, **changed))


def fit(name, seed=0, views=1, **changes):
    levels, targets = drawn(10, 0)
    mirror = [maps[..., ::-1].copy() for maps in levels]
    samples = DenseSamples([levels, mirror][:views], targets)
    return short(name, **changes).fit(samples, N_CLASSES, seed)


def scores_of(probe, levels):
    with torch.inference_mode():
        scores = probe.head([torch.from_numpy(maps) for maps in levels])
        return stretched(scores.double(), SIZE).numpy()


def test_every_file_of_the_folder_is_a_subject():
    files = list(Path(segmentation.__file__).parent.glob("[!_]*.py"))
    assert len(NAMES) == len(files) == len(PLAIN_SEGMENTATION) > 0
    assert set(NAMES) == set(PLAIN_SEGMENTATION)
    assert not set(NAMES) & set(protocol_names())


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_a_second_implementation(name):
    levels, targets = drawn(10, 0)
    test, _ = drawn(4, 1)
    plain = PLAIN_SEGMENTATION[name](short(name).settings, levels, targets, test, N_CLASSES)
    ours = scores_of(fit(name), test)
    np.testing.assert_allclose(ours, plain, rtol=0, atol=2e-4 * np.abs(plain).max())
    # And the comparison can fail: nearly every setting moves the scores by much more.
    for changed in ({"lr": 0.011}, {"counts_void": not short(name).settings.counts_void}):
        moved = np.abs(scores_of(fit(name, **changed), test) - plain).max()
        assert moved > 1e-3 * np.abs(plain).max()


@pytest.mark.parametrize("name", NAMES)
def test_learns(name):
    test, truth = drawn(20, 1)
    probe = fit(name, steps=150, epochs=60, lr=0.02)
    right = scores_of(probe, test).argmax(axis=1) == truth
    assert right[truth != VOID].mean() > 0.8
    assert probe.chosen["steps"] == (150 if "dinov2" in name else 180)
    assert probe.chosen["loss"] < 0.6


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_is_what_changes_it(name):
    test, _ = drawn(4, 1)
    scores = [scores_of(fit(name, seed), test) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_frozen_and_say_what_a_cell_needs(name):
    settings = create_segmentation_protocol(name).settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.feature = "stage1"
    assert isinstance(settings.geometry, Geometry)
    assert settings.geometry.crop_pct == 1.0  # nothing of the image is cropped away
    assert settings.feature in ("final", "pyramid")
    assert list(settings.deviates) == sorted(settings.deviates)


@pytest.mark.parametrize("name", NAMES)
def test_every_published_number_is_a_setting(name):
    """No literal stands in a function that trains, but for signs, halves and units."""
    function = create_segmentation_protocol(name).function
    trees = [ast.parse(inspect.getsource(inspect.getmodule(function)))]
    trees.append(ast.parse(inspect.getsource(segmentation._torchgeo)))
    found = {
        node.value
        for tree in trees
        for part in tree.body
        if isinstance(part, ast.FunctionDef)
        for node in ast.walk(part)
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    }
    assert found - {True, False, 2, -1} == set()


def test_mirror_images_are_seen_half_of_the_time(monkeypatch):
    seen = []
    take = DenseSamples._target
    monkeypatch.setattr(
        DenseSamples,
        "_target",
        lambda self, i, view: seen.append(view) or take(self, i, view),
    )
    fit("dinov2-linear-seg", views=2, steps=100)
    assert len(seen) == 400
    assert 150 < sum(seen) < 250


def test_fewer_images_than_a_batch():
    levels, targets = drawn(3, 0)
    for name in NAMES:
        probe = short(name).fit(DenseSamples([levels], targets), N_CLASSES)
        assert probe.chosen["steps"] == (14 if "dinov2" in name else 3)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_all_void(dtype):
    levels, targets = drawn(3, 0)
    void = np.full(targets.shape, 255 if dtype == np.uint8 else VOID, dtype)
    for name in NAMES:
        with pytest.raises(ValueError, match="not one pixel of the training images has a class"):
            short(name).fit(DenseSamples([levels], void), N_CLASSES)
    # One image that isn't is enough, however the others fall into batches.
    void[0] = 1
    for name in NAMES:
        assert np.isfinite(short(name).fit(DenseSamples([levels], void), N_CLASSES).chosen["loss"])


@pytest.mark.parametrize("counts_void", [False, True])
@pytest.mark.parametrize("at_once", [1, 10**9])
def test_the_loss_of_a_few_images_at_a_time_is_that_of_all(counts_void, at_once, monkeypatch):
    monkeypatch.setattr(training, "_AT_ONCE", at_once)
    torch.manual_seed(0)
    _, targets = drawn(5, 0)
    target = torch.from_numpy(targets).long()
    ends = [torch.randn(5, N_CLASSES, n, n + 1, requires_grad=True) for n in (6, 3)]
    value = training.pixel_loss([end * 2 for end in ends], target, counts_void=counts_void)
    found = [end.grad.clone() for end in ends]
    whole = sum(training.resized(end * 2, SIZE) for end in ends)
    loss = cross_entropy(whole, target, ignore_index=VOID, reduction="sum") / (
        target.numel() if counts_void else (target != VOID).sum()
    )
    expected = torch.autograd.grad(loss, ends)
    assert value == pytest.approx(float(loss.detach()), rel=1e-5)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_wrong_names():
    with pytest.raises(ValueError, match="unknown segmentation protocol 'dinov2-linear-sg'; did"):
        create_segmentation_protocol("dinov2-linear-sg")
