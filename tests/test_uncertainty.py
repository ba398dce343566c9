import numpy as np
import pytest
from scipy.stats import binom

from transferkit.uncertainty import (
    bootstrap_interval,
    groups,
    holm,
    mcnemar,
    mean_interval,
    paired_bootstrap,
)


def test_the_interval_of_a_share_is_the_binomial_one():
    right = np.repeat([1.0, 0.0], [80, 20])
    low, high = bootstrap_interval(lambda at: float(right[at].mean()), 100)
    assert np.allclose([low, high], np.array(binom(100, 0.8).interval(0.95)) / 100, atol=0.015)
    assert np.allclose(mean_interval(right[None]), (low, high), atol=0.015)


def test_an_interval_covers_seeds_too():
    by_seed = np.repeat([[0.0], [1.0]], 50, axis=1)
    assert mean_interval(by_seed) == (0, 1)


def test_mcnemar_is_the_sign_test_of_the_rows_that_differ():
    a = np.repeat([1, 1, 0, 0], [50, 9, 1, 40])
    b = np.repeat([1, 0, 1, 0], [50, 9, 1, 40])
    assert mcnemar(a, b) == pytest.approx(2 * binom(10, 0.5).cdf(1))
    assert mcnemar(a, b) == mcnemar(b, a)
    assert mcnemar(a, a) == 1


def test_paired_bootstrap():
    random = np.random.default_rng(0)
    a = random.random(200)
    assert paired_bootstrap(a, a) == 1
    assert paired_bootstrap(a + 0.2, a + 0.1 * random.random(200)) < 0.01
    assert paired_bootstrap(a, random.permutation(a)) > 0.05
    # A difference that one seed of three alone shows isn't one.
    by_seed = np.stack([a, a, a])
    other = by_seed + np.array([[0.3], [-0.1], [0.0]])
    assert paired_bootstrap(other, by_seed) > 0.05


def test_holm():
    assert holm([0.03, 0.01, 0.04]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_a_pair_shares_a_letter_exactly_if_it_is_not_different():
    random = np.random.default_rng(0)
    for n in (1, 2, 5, 7):
        for _ in range(20):
            different = np.triu(random.random((n, n)) < 0.4, 1)
            different |= different.T
            letters = groups(different)
            for i in range(n):
                for j in range(n):
                    assert bool(set(letters[i]) & set(letters[j])) != different[i, j]
