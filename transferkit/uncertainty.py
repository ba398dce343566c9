"""Bootstrap intervals, paired tests, and groups of results that can't be told apart."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

__all__ = [
    "bootstrap_draws",
    "bootstrap_interval",
    "draws_for",
    "groups",
    "holm",
    "mcnemar",
    "mean_interval",
    "middle",
    "paired_bootstrap",
    "share_interval",
]

Array = NDArray[Any]
N_DRAWS = 2000
# Values gathered by all draws that are worth the wait (about a second), and draws that suffice
# where there are more: intervals of so many rows are narrow.
_BUDGET, _LEAST = 20_000_000, 100


def bootstrap_interval(
    measure: Callable[[Array], float],
    n: int,
    *,
    level: float = 0.95,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a measure over test rows that are drawn with replacement.

    Parameters
    ----------
    measure : callable
        Positions of rows → number.
    n : int
        Rows.
    level : float, default=0.95
        Share of the draws inside.
    n_draws : int, default=2000
        Draws.
    seed : int, default=0
        Of the draws; the same rows are drawn for everything measured on n rows.

    References
    ----------
    Efron (1979), "Bootstrap methods: another look at the jackknife".

    Examples
    --------
    >>> right = np.array([1.0] * 90 + [0.0] * 10)
    >>> low, high = bootstrap_interval(lambda rows: right[rows].mean(), 100)
    >>> 0.8 < low < 0.9 < high < 1
    True
    """
    return middle(bootstrap_draws(measure, n, n_draws=n_draws, seed=seed), level)


def bootstrap_draws(
    measure: Callable[[Array], Any], n: int, *, n_draws: int = N_DRAWS, seed: int = 0
) -> Array:
    """Values of a measure, or of several at once, over test rows drawn with replacement.

    Parameters
    ----------
    measure : callable
        Positions of rows → number, or as many numbers each time.
    n, n_draws, seed
        As in `bootstrap_interval`.

    Returns
    -------
    ndarray of shape (n_draws,) or (n_draws, n_measures)
        The same rows are drawn for all measures, so their differences are paired.
    """
    random = np.random.default_rng(seed)
    return np.array([measure(random.integers(0, n, n)) for _ in range(n_draws)])


def draws_for(n_values: int) -> int:
    """Number of draws for a bootstrap of so many values: 2000, or fewer where values are many."""
    return int(np.clip(_BUDGET // max(n_values, 1), _LEAST, N_DRAWS))


def share_interval(n_right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share, which a bootstrap can't give where all or none are right.

    Parameters
    ----------
    n_right, n : int
        So many of how many.
    level : float, default=0.95
        Coverage.

    References
    ----------
    Wilson (1927), "Probable inference, the law of succession, and statistical inference".

    Examples
    --------
    >>> [round(share, 3) for share in share_interval(5, 5)]
    [0.566, 1.0]
    """
    interval = binomtest(n_right, n).proportion_ci(level, method="wilson")
    # Rounding may leave 1 - 1e-16 beside a share of 1.
    return min(float(interval.low), n_right / n), max(float(interval.high), n_right / n)


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, n_draws: int = N_DRAWS, seed: int = 0
) -> tuple[float, float]:
    """Interval of a mean over seeds and test rows, both drawn with replacement.

    Parameters
    ----------
    values : array-like of shape (n_seeds, n_samples)
        Of one seed, only rows are drawn.
    level, n_draws, seed
        As in `bootstrap_interval`.

    References
    ----------
    Owen (2007), "The pigeonhole bootstrap", for two crossed factors.
    """
    return middle(_drawn_means(np.asarray(values, float), n_draws, seed), level)


def middle(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Ends of the middle part of some values, such as 95 % of them."""
    low, high = np.quantile(np.asarray(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _drawn_means(values: Array, n_draws: int, seed: int) -> Array:
    random = np.random.default_rng(seed)
    n_seeds, n = values.shape
    means = np.empty(n_draws)
    for i in range(n_draws):
        drawn = values[random.integers(0, n_seeds, n_seeds)].mean(axis=0)
        means[i] = drawn[random.integers(0, n, n)].mean()
    return means


def mcnemar(right_a: ArrayLike, right_b: ArrayLike) -> float:
    """Exact p-value of two classifiers being right equally often on the same rows.

    Parameters
    ----------
    right_a, right_b : array-like of bool of shape (n_samples,)
        Whether each is right.

    References
    ----------
    McNemar (1947), "Note on the sampling error of the difference between correlated
    proportions"; Dietterich (1998), section 3.1.

    Examples
    --------
    >>> mcnemar([1, 1, 0, 0], [1, 0, 1, 0])
    1.0
    """
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, *, n_draws: int = N_DRAWS, seed: int = 0) -> float:
    """Two-sided p-value of equal means, seeds and rows being drawn for both at once.

    Parameters
    ----------
    a, b : array-like of shape (n_samples,) or (n_seeds, n_samples)
        A value for each row, such as whether it is right.
    n_draws, seed
        As in `bootstrap_interval`.

    Examples
    --------
    >>> paired_bootstrap([1, 1, 0, 0], [0, 0, 1, 1]) > 0.5
    True
    """
    difference = np.atleast_2d(np.asarray(a, float) - np.asarray(b, float))
    if not difference.any():
        return 1.0
    means = _drawn_means(difference, n_draws, seed)
    share = min((means <= 0).mean(), (means >= 0).mean())
    # Never less than what this many draws can tell.
    return float(min(1.0, 2 * max(share, 1 / n_draws)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, in the order given.

    References
    ----------
    Holm (1979), "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def groups(is_different: Array) -> list[str]:
    """Give letters to things, so that two that share a letter can't be told apart.

    Parameters
    ----------
    is_different : ndarray of bool of shape (n, n)
        Symmetric; things sorted from the best to the worst.

    Returns
    -------
    list of str
        Letters of each, ``a`` for the first group; a pair shares a letter exactly if it
        isn't different.

    References
    ----------
    Piepho (2004), "An algorithm for a letter-based representation of all-pairwise
    comparisons".

    Examples
    --------
    >>> different = np.zeros((3, 3), bool)
    >>> different[0, 2] = different[2, 0] = True
    >>> groups(different)
    ['a', 'ab', 'b']
    """
    n = len(is_different)
    columns = [set(range(n))]
    for i in range(n):
        for j in range(i + 1, n):
            if not is_different[i, j]:
                continue
            split = [c - {k} if {i, j} <= c else c for c in columns for k in (j, i)]
            unique = [c for at, c in enumerate(split) if c not in split[:at]]
            columns = [c for c in unique if not any(c < other for other in unique)]
    columns.sort(key=lambda c: sorted(c))
    return ["".join(_letter(k) for k, c in enumerate(columns) if i in c) for i in range(n)]


def _letter(k: int) -> str:
    return chr(ord("a") + k) if k < 26 else f"({k + 1})"
