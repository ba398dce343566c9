import sys

import numpy as np
import pytest

from tests.report.measured import classified, labelled, numbered
from transferkit.report.feature_map import (
    check_mapping,
    feature_charts,
    on_a_plane,
    some_images,
)


def test_pca_is_that_of_the_covariance():
    X = np.random.default_rng(0).normal(size=(40, 5)) * [5, 3, 1, 0.5, 0.1]
    points, about = on_a_plane(X, "pca")
    values, vectors = np.linalg.eigh(np.cov(X.T))
    expected = (X - X.mean(axis=0)) @ vectors[:, [-1, -2]]
    assert np.allclose(np.abs(points), np.abs(expected))
    assert f"{100 * values[-2:].sum() / values.sum():.0f} %" in about


def test_tsne_is_the_same_again_and_keeps_groups_apart():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 6)) + 20 * (np.arange(30) % 2)[:, None]
    points, _ = on_a_plane(X, "tsne")
    assert np.array_equal(points, on_a_plane(X, "tsne")[0])
    distances = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(30)
    assert (distances.argmin(axis=1) % 2 == np.arange(30) % 2).all()


@pytest.mark.parametrize("mapping", ["pca", "tsne"])
@pytest.mark.parametrize("shape", [(1, 3), (3, 3), (5, 1)])
def test_few_rows_and_columns(mapping, shape):
    points, _ = on_a_plane(np.arange(np.prod(shape), dtype=float).reshape(shape), mapping)
    assert points.shape == (shape[0], 2)
    assert np.isfinite(points).all()


def test_every_class_keeps_an_image():
    classes = np.repeat([0, 1, 2], [5000, 300, 1])
    at = some_images(classes, 1000)
    assert len(at) <= 1000
    assert np.bincount(classes[at]).tolist() == [943, 56, 1]
    assert (np.diff(at) > 0).all()
    assert np.array_equal(at, some_images(classes, 1000))


def test_names_of_maps(monkeypatch):
    with pytest.raises(ValueError, match="unknown map 'tsnee'; did you mean 'tsne'"):
        check_mapping("tsnee")
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"needs umap-learn.*choose pca or tsne"):
        check_mapping("umap")


def points_of(chart):
    """x, y, symbol and picture of every point."""
    return [
        point
        for trace in chart.figure["data"]
        for point in zip(
            trace["x"], trace["y"], trace["marker"]["symbol"], trace["customdata"], strict=True
        )
    ]


def test_mistakes_are_marked_and_points_have_their_pictures():
    measured = classified(n=40)
    (chart,), _ = feature_charts(measured, "pca")
    points = points_of(chart)
    assert len(points) == len(chart.pictures) == 40
    assert sorted(point[3] for point in points) == list(range(40))
    wrong = sum(point[2] == "x" for point in points)
    assert wrong == int((~measured.found.is_right).sum()) > 0


def test_many_classes_are_coloured_by_right_and_wrong():
    (chart,), _ = feature_charts(classified(n=100, labels=[f"c{i:02}" for i in range(30)]), "pca")
    assert [trace["name"] for trace in chart.figure["data"]] == ["right", "wrong"]


def test_numbers_and_labels():
    measured = numbered()
    (chart,), _ = feature_charts(measured, "pca")
    (trace,) = chart.figure["data"]
    assert sorted(trace["marker"]["color"]) == sorted(measured.found.y_true[:, 0])
    (chart,), _ = feature_charts(labelled(), "pca")
    assert {trace["name"] for trace in chart.figure["data"]} == {
        "none",
        "red",
        "round",
        "red, round",
    }
    assert feature_charts(measured, "none") == ([], [])
