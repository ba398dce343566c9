"""What every protocol keeps to."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.protocols.test_golden import rows
from transferkit import protocols
from transferkit.protocols import Parts, create_protocol, protocol_names

NAMES = ["dino-knn20" if name == "dino-knn" else name for name in protocol_names()]


def test_every_file_of_the_folder_is_a_subject():
    files = list(Path(protocols.__file__).parent.glob("[!_]*.py"))
    assert len(NAMES) == len(files) > 0


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_frozen(name):
    settings = create_protocol(name).settings
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.feature = "logits"
    assert set(settings.geometry.options()) in (
        set(),
        {"image_size", "crop_pct", "crop_mode", "interpolation"},
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_learns_without_a_validation_part(name, n_classes):
    X, y = rows(60, 0, n_classes=n_classes)
    X = X + 12 * np.eye(n_classes, X.shape[1])[y]
    test, truth = rows(30, 1, n_classes=n_classes)
    test = test + 12 * np.eye(n_classes, X.shape[1])[truth]
    probe = create_protocol(name).fit(Parts(X.astype(np.float32), y), 0)
    scores = probe.scores(test.astype(np.float32))
    assert scores.shape == (30, n_classes)
    # 200 neighbours of 60 are all of them, and only the weights tell them apart.
    assert (scores.argmax(axis=1) == truth).mean() > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_is_what_changes_it(name):
    protocol = create_protocol(name)
    X, y = rows(60, 0)
    scores = [protocol.fit(Parts(X, y), seed).scores(X) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    if not protocol.settings.draws:
        np.testing.assert_array_equal(scores[0], scores[2])


@pytest.mark.parametrize("name", ["transfer-logreg", "dinov2-logreg", "clip", "vissl-svm"])
def test_several_labels(name):
    random = np.random.default_rng(0)
    Y = random.integers(0, 2, (80, 3))
    X = random.normal(size=(80, 5)) + 3 * Y @ random.normal(size=(3, 5))
    scores = create_protocol(name).fit(Parts(X, Y), 0).scores(X)
    assert ((scores > 0) == Y).mean() > 0.85


def test_equal_scores_go_to_the_largest_C():
    X = np.repeat(np.eye(2), 20, axis=0)
    probe = create_protocol("transfer-logreg").fit(Parts(X, np.repeat([0, 1], 20)), 0)
    assert probe.chosen["C"] == pytest.approx(1e6)
    assert probe.on_edge


def test_names_with_k():
    assert create_protocol("dino-knn200").settings.k == 200
    with pytest.raises(ValueError, match="'dino-knn': the number of neighbours is published"):
        create_protocol("dino-knn")
    with pytest.raises(ValueError, match=r"'dino-knn7'.*use dino-knn10, dino-knn20"):
        create_protocol("dino-knn7")
    with pytest.raises(ValueError, match="unknown protocol 'clipp'; did you mean 'clip'"):
        create_protocol("clipp")


def test_nothing_to_choose_by():
    with pytest.raises(ValueError, match="a class of one sample leaves nothing to choose by"):
        create_protocol("transfer-logreg").fit(Parts(np.eye(3), np.arange(3)), 0)
    with pytest.raises(ValueError, match="vissl-svm chooses by 3 folds"):
        create_protocol("vissl-svm").fit(Parts(np.eye(3), np.arange(3)), 0)


@pytest.mark.parametrize("name", ["simpleshot", "uni-logreg", "clip-benchmark"])
def test_one_label_only(name):
    with pytest.raises(ValueError, match=f"{name} is for one label per image"):
        create_protocol(name).fit(Parts(np.eye(4), np.eye(4, dtype=int)), 0)
