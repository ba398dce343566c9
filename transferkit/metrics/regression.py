"""The report of a regression."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

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
    """

    name: str
    r2: float | None
    mae: float
    rmse: float


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
    """

    n: int
    r2: float | None
    mae: float
    rmse: float
    targets: tuple[TargetRow, ...]

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
        If there are no samples or the shapes don't fit.

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
    )


def _row(name: str, true: np.ndarray, predicted: np.ndarray) -> TargetRow:
    error = predicted - true
    spread = float(((true - true.mean()) ** 2).sum())
    return TargetRow(
        name,
        None if spread == 0 else float(1 - (error**2).sum() / spread),
        float(np.abs(error).mean()),
        float(np.sqrt((error**2).mean())),
    )
