"""Outliers by their own class's distances."""

import numpy as np
import pytest

from transferkit.inspection.neighbors import Neighbourhoods
from transferkit.inspection.outliers import LEAST_DEVIATION, outliers, robust_deviations


def test_deviations_by_a_loop():
    rng = np.random.default_rng(0)
    values = rng.normal(size=60)
    labels = ["a"] * 30 + ["b"] * 25 + ["c"] * 5
    expected = np.empty(60)
    for i, label in enumerate(labels):
        own = [v for v, other in zip(values, labels, strict=True) if other == label]
        own = values if len(own) < 20 else np.array(own)
        middle = np.median(own)
        expected[i] = (values[i] - middle) / (1.4826 * np.median(abs(own - middle)))
    np.testing.assert_allclose(robust_deviations(values, labels), expected)


def test_an_odd_row_is_found_and_stays():
    rows = np.random.default_rng(0).normal([6, 0, 0, 0], 0.3, size=(80, 4))
    rows[17] = [0, 0, 7, 0]
    found = outliers(Neighbourhoods.of(rows))
    assert found[0].image == 17
    assert not found[0].is_excluded
    assert 1 - 1 / LEAST_DEVIATION <= found[0].score < 1


def test_what_is_far_depends_on_the_class():
    """A varied class hides what would be odd in a narrow one."""
    rng = np.random.default_rng(0)
    narrow = rng.normal([9, 0, 0, 0, 0], 0.05, size=(60, 5))
    varied = rng.normal([0, 9, 0, 0, 0], 2.0, size=(60, 5))
    narrow[7] = [9, 0, 2, 0, 0]
    rows, labels = np.concatenate([narrow, varied]), ["narrow"] * 60 + ["varied"] * 60
    near = Neighbourhoods.of(rows)
    assert 7 in [one.image for one in outliers(near, labels)]
    assert 7 not in [one.image for one in outliers(near)]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_images_have_no_outliers(n):
    assert outliers(Neighbourhoods.of(np.ones((n, 3)))) == []


def test_equal_rows_are_no_outliers():
    assert outliers(Neighbourhoods.of(np.ones((30, 3)))) == []
