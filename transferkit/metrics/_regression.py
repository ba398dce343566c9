"""The report of a regression."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from transferkit.metrics._baseline import Baseline, Comparison, compare, no_better
from transferkit.metrics._metric import Predictions, four_digits, thousandths
from transferkit.metrics._registry import measured
from transferkit.metrics._report import ReportTable, TaskReport
from transferkit.metrics.mae import mae_of_targets
from transferkit.metrics.r2 import r2_of_targets
from transferkit.metrics.rmse import rmse_of_targets
from transferkit.uncertainty import bootstrap_interval, draws_for

__all__ = ["RegressionReport", "TargetRow", "predicted_numbers", "regression_report"]

_METRICS = ("r2", "mae", "rmse")


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
class RegressionReport(TaskReport):
    """The result of `regression_report`.

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
    others : mapping of str to (float or None)
        The metrics of `transferkit.metrics.of` that are none of these.
    """

    task: ClassVar[str] = "regression"
    n: int
    r2: float | None
    mae: float
    rmse: float
    targets: tuple[TargetRow, ...]
    rmse_interval: tuple[float, float] | None = None
    baseline: Baseline | None = None
    others: Mapping[str, float | None] = field(default_factory=dict, hash=False)

    def _numbers(self) -> str:
        return (
            f"R² {_r2(self.r2)}{self._range('r2', thousandths)}, MAE {four_digits(self.mae)}, "
            f"RMSE {four_digits(self.rmse)}"
        )

    def tables(self) -> list[ReportTable]:
        """Every target, where there are several."""
        if len(self.targets) == 1:
            return []
        header = ("target", "R²", "MAE", "MAE of a constant", "RMSE")
        rows = [
            (
                row.name,
                _r2(row.r2),
                four_digits(row.mae),
                "n/a" if row.baseline_mae is None else four_digits(row.baseline_mae),
                four_digits(row.rmse),
            )
            for row in self.targets
        ]
        return [ReportTable(header, rows)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return super().to_dict() | {"targets": [dataclasses.asdict(row) for row in self.targets]}


def _r2(value: float | None) -> str:
    return "n/a" if value is None else thousandths(value)


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
    predictions = predicted_numbers(y_true, y_pred, names)
    values: dict[str, Any] = measured(predictions)
    return RegressionReport(
        n=len(predictions),
        **{name: values.pop(name) for name in _METRICS},
        targets=_rows(predictions),
        rmse_interval=_rmse_interval(predictions.errors),
        baseline=_baseline(predictions),
        others=values,
    )


def predicted_numbers(y_true: ArrayLike, y_pred: ArrayLike, names: Sequence[object]) -> Predictions:
    """Check predicted numbers beside the true ones; arguments are those of the report."""
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
    targets = tuple(map(str, names))
    return Predictions("regression", true, predicted, None, targets, len(targets))


def _rows(found: Predictions) -> tuple[TargetRow, ...]:
    constant = np.abs(found.y_true - np.median(found.y_true, axis=0))
    columns = (r2_of_targets(found), mae_of_targets(found), rmse_of_targets(found), constant.T)
    return tuple(
        TargetRow(name, r2, mae, rmse, float(errors.mean()))
        for name, r2, mae, rmse, errors in zip(found.classes, *columns, strict=True)
    )


def _rmse_interval(error: np.ndarray) -> tuple[float, float]:
    def rmse(rows: np.ndarray) -> float:
        return float(np.sqrt((error[rows] ** 2).mean(axis=0)).mean())

    return bootstrap_interval(rmse, len(error), n_draws=draws_for(error.size))


def _baseline(found: Predictions) -> Baseline:
    """Compare with always predicting the best constant."""
    true, error, has_r2 = found.y_true, np.abs(found.errors), None not in r2_of_targets(found)
    n, width = true.shape
    from_mean, from_median = true - true.mean(axis=0), np.abs(true - np.median(true, axis=0))

    def r2(rows: np.ndarray) -> tuple[float, float]:
        unexplained = (error[rows] ** 2).mean(axis=0) / (from_mean[rows] ** 2).mean(axis=0)
        return float((1 - unexplained).mean()), 0.0

    def mae(rows: np.ndarray) -> tuple[float, float]:
        return float(error[rows].mean()), float(from_median[rows].mean())

    with np.errstate(divide="ignore", invalid="ignore"):  # a draw's values may be all alike
        compared = [compare("r2", r2, n, width=width)] if has_r2 else []
    compared.append(compare("mae", mae, n, is_loss=True, width=width))
    rule = "always saying the same number"
    is_beaten = any(one.is_better for one in compared)
    verdict = _verdict(rule, compared, is_beaten)
    if not has_r2:
        names = found.classes
        same = [name for name, t in zip(names, true.T, strict=True) if (t == t[0]).all()]
        verdict = _undefined(same, n, "" if len(same) == len(names) else verdict)
    return Baseline(rule, is_beaten, verdict, tuple(compared))


def _verdict(rule: str, found: list[Comparison], is_beaten: bool) -> str:
    first, mae = found[0], found[-1]
    numbers = f"{'R² 0, ' * (first is not mae)}MAE {four_digits(mae.baseline)} at best"
    if is_beaten:
        return f"{rule} gets {numbers}"
    is_behind = mae.value >= mae.baseline and (first is mae or first.value <= 0)
    return no_better(rule, numbers, is_behind=is_behind)


def _undefined(same: list[str], n: int, verdict: str) -> str:
    """Sentence about targets without an R², and about the errors that are known all the same."""
    if n == 1:
        return "one image can't show whether the model tells images apart"
    text = f"{', '.join(same)} has the same true value in all {n:,} images, so R² is undefined"
    return f"{text}; {verdict}" if verdict else text
