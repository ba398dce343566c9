"""Compare a report's numbers with their baseline, which is got without looking at an image."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.uncertainty import bootstrap_draws, draws_for, middle

__all__ = ["FEW", "Baseline", "Comparison", "compare", "from_draws", "no_better"]

Array = NDArray[Any]

FEW = 8
"""Fewer measured rows than this never show that a model is better than its baseline: a
bootstrap of so few rows is far too sure of itself."""


@dataclass(frozen=True)
class Comparison:
    """One number of a report beside its baseline.

    Parameters
    ----------
    metric : str
        Its name.
    value : float
        The model's.
    low, high : float
        95 % interval of it.
    baseline : float
        What is got without looking at an image.
    gain_low, gain_high : float
        95 % interval of how much better the model is than the baseline, from a paired
        bootstrap over the measured rows.
    is_better : bool
        Whether that interval lies above 0, on at least `FEW` rows.
    """

    metric: str
    value: float
    low: float
    high: float
    baseline: float
    gain_low: float
    gain_high: float
    is_better: bool


@dataclass(frozen=True)
class Baseline:
    """The comparisons of a report's numbers with their baselines.

    Parameters
    ----------
    rule : str
        How predictions are made without looking at an image, in words. It knows the measured
        part's labels, so none that knows less does better.
    is_beaten : bool
        Whether the model is better, beyond what chance may give.
    verdict : str
        The same in words, with the rule's numbers.
    comparisons : tuple of Comparison
        The most important first.
    """

    rule: str
    is_beaten: bool
    verdict: str
    comparisons: tuple[Comparison, ...]

    def of(self, metric: str) -> Comparison | None:
        """Return the comparison of one metric, if there is one."""
        return next((c for c in self.comparisons if c.metric == metric), None)


def compare(
    metric: str,
    measure: Callable[[Array], tuple[float, float]],
    n: int,
    *,
    is_loss: bool = False,
    interval: tuple[float, float] | None = None,
    width: int = 1,
) -> Comparison:
    """Compare a metric with its baseline.

    Parameters
    ----------
    metric : str
        Its name.
    measure : callable
        Positions of rows → the model's value and the baseline's on them; NaN where undefined.
    n : int
        Rows.
    is_loss : bool, default=False
        Whether less is better.
    interval : (float, float), optional
        Of the model's value, where there is a better one than the bootstrap's.
    width : int, default=1
        Values of a row, so that many are drawn less often.
    """
    value, baseline = measure(np.arange(n))
    return from_draws(
        metric,
        (value, baseline),
        bootstrap_draws(measure, n, n_draws=draws_for(n * width)),
        n,
        is_loss=is_loss,
        interval=interval,
    )


def from_draws(
    metric: str,
    found: tuple[float, float],
    draws: Array,
    n: int,
    *,
    is_loss: bool = False,
    interval: tuple[float, float] | None = None,
) -> Comparison:
    """Do as `compare` from both values and their draws, an array of shape (n_draws, 2)."""
    draws = draws[np.isfinite(draws).all(axis=1)]  # a draw may leave a number undefined
    if not len(draws):
        draws = np.array([found])
    gains = draws[:, 1] - draws[:, 0] if is_loss else draws[:, 0] - draws[:, 1]
    low, high = middle(draws[:, 0]) if interval is None else interval
    gain_low, gain_high = middle(gains)
    value, baseline = map(float, found)
    is_better = bool(gain_low > 0 and n >= FEW)
    return Comparison(metric, value, low, high, baseline, gain_low, gain_high, is_better)


def no_better(rule: str, numbers: str, *, is_behind: bool) -> str:
    """Sentence that a model is no better than its baseline, or only a little, perhaps by chance."""
    text = f"no better than {rule} ({numbers})"
    return text if is_behind else f"{text}, as far as these images can tell"
