"""The report of a regression."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from transferkit.metrics.baseline import Baseline, Comparison, compare, no_better, number
from transferkit.metrics.uncertainty import bootstrap_interval, draws_for

__all__ = ["RegressionReport", "TargetRow", "regression_report"]


@dataclass(frozen=True)
class TargetRow:
    """One target of a report.

    Parameters
    ----------
    name : str
        The target.
    r2 : float or None
        Share of the variance explained; None where the true values are all alike.
    mae, rmse : float
        Mean absolute and root mean squared error, in the target's unit.
    baseline_mae : float or None
        Mean absolute error of always saying the true values' median.
    """

    name: str
    r2: float | None
    mae: float
    rmse: float
    baseline_mae: float | None = None


@dataclass(frozen=True)
class RegressionReport:
    """What `regression_report` finds.

    Parameters
    ----------
    n : int
        Samples.
    r2 : float or None
        Mean over the targets; None where one is undefined.
    mae, rmse : float
        Means over the targets.
    targets : tuple of TargetRow
        One per target.
    rmse_interval : (float, float) or None
        95 % bootstrap interval of `rmse`; those of `r2` and `mae` are in `baseline`.
    baseline : Baseline or None
        R² and MAE with their intervals, beside what is got by always saying the best constant:
        R² 0 (the mean of these samples), and the MAE of their median.
    """

    n: int
    r2: float | None
    mae: float
    rmse: float
    targets: tuple[TargetRow, ...]
    rmse_interval: tuple[float, float] | None = None
    baseline: Baseline | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self) | {"targets": [dataclasses.asdict(t) for t in self.targets]}


def regression_report(
    y_true: ArrayLike, y_pred: ArrayLike, names: Sequence[object] = ("target",)
) -> RegressionReport:
    """Compare predicted numbers with the true ones.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_targets)
        True and predicted values.
    names : sequence
        Names of the targets.

    Returns
    -------
    RegressionReport
        No warning is raised where a number is undefined.

    Raises
    ------
    ValueError
        If there are no samples, the shapes don't fit, or a value isn't finite.

    Examples
    --------
    >>> report = regression_report([1, 2, 3], [1, 2, 5])
    >>> report.r2, report.mae
    (-1.0, 0.6666666666666666)
    """
    n = len(np.asarray(y_true))
    if not n:
        raise ValueError("there are no samples to measure with")
    true = np.asarray(y_true, dtype=np.float64).reshape(n, -1)
    predicted = np.asarray(y_pred, dtype=np.float64).reshape(true.shape)
    if true.shape[1] != len(names):
        raise ValueError(f"{true.shape[1]} targets, but {len(names)} names; give one per target")
    for what, values in (("y_true", true), ("y_pred", predicted)):
        if n_wrong := int((~np.isfinite(values)).sum()):
            raise ValueError(
                f"{n_wrong:,} of {values.size:,} values of {what} are NaN or infinite; give finite "
                f"numbers"
            )
    rows = tuple(
        _row(str(name), t, p) for name, t, p in zip(names, true.T, predicted.T, strict=True)
    )
    r2 = [row.r2 for row in rows if row.r2 is not None]
    return RegressionReport(
        n=n,
        r2=float(np.mean(r2)) if len(r2) == len(rows) else None,
        mae=float(np.mean([row.mae for row in rows])),
        rmse=float(np.mean([row.rmse for row in rows])),
        targets=rows,
        rmse_interval=_rmse_interval(predicted - true),
        baseline=_baseline(true, predicted, [row.name for row in rows], len(r2) == len(rows)),
    )


def _row(name: str, true: np.ndarray, predicted: np.ndarray) -> TargetRow:
    error = predicted - true
    # Equal numbers needn't equal their mean, which is rounded.
    is_constant = bool((true == true[0]).all())
    spread = float(((true - true.mean()) ** 2).sum())
    return TargetRow(
        name,
        None if is_constant or spread == 0 else float(1 - (error**2).sum() / spread),
        float(np.abs(error).mean()),
        float(np.sqrt((error**2).mean())),
        float(np.abs(true - np.median(true)).mean()),
    )


def _rmse_interval(error: np.ndarray) -> tuple[float, float]:
    def rmse(rows: np.ndarray) -> float:
        return float(np.sqrt((error[rows] ** 2).mean(axis=0)).mean())

    return bootstrap_interval(rmse, len(error), n_draws=draws_for(error.size))


def _baseline(true: np.ndarray, predicted: np.ndarray, names: list[str], has_r2: bool) -> Baseline:
    """Compare with always saying the best constant."""
    (n, width), error = true.shape, np.abs(predicted - true)
    from_mean, from_median = true - true.mean(axis=0), np.abs(true - np.median(true, axis=0))

    def r2(rows: np.ndarray) -> tuple[float, float]:
        unexplained = (error[rows] ** 2).mean(axis=0) / (from_mean[rows] ** 2).mean(axis=0)
        return float((1 - unexplained).mean()), 0.0

    def mae(rows: np.ndarray) -> tuple[float, float]:
        return float(error[rows].mean()), float(from_median[rows].mean())

    with np.errstate(divide="ignore", invalid="ignore"):  # a draw's values may be all alike
        found = [compare("r2", r2, n, width=width)] if has_r2 else []
    found.append(compare("mae", mae, n, is_loss=True, width=width))
    rule = "always saying the same number"
    is_beaten = any(one.is_better for one in found)
    verdict = _verdict(rule, n, found, is_beaten)
    if not has_r2:
        same = [name for name, t in zip(names, true.T, strict=True) if (t == t[0]).all()]
        verdict = _undefined(same, n, "" if len(same) == len(names) else verdict)
    return Baseline(rule, is_beaten, verdict, tuple(found))


def _verdict(rule: str, n: int, found: list[Comparison], is_beaten: bool) -> str:
    first, mae = found[0], found[-1]
    numbers = f"{'R² 0, ' * (first is not mae)}MAE {number(mae.baseline)} at best"
    if is_beaten:
        return f"{rule} gets {numbers}"
    is_behind = mae.value >= mae.baseline and (first is mae or first.value <= 0)
    return no_better(rule, numbers, is_behind=is_behind)


def _undefined(same: list[str], n: int, verdict: str) -> str:
    """Say where there is no R², and what holds all the same."""
    if n == 1:
        return "one image can't show whether the model tells images apart"
    text = f"{', '.join(same)} has the same true value in all {n:,} images, so R² is undefined"
    return f"{text}; {verdict}" if verdict else text
