"""One cell: train a probe on some rows, measure it on the test rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from transferkit.benchmark.data import Dataset, Rows
from transferkit.benchmark.grid import Cell
from transferkit.benchmark.temperature import temperature_of
from transferkit.heads import create_head
from transferkit.metrics import calibration_error, mean_average_precision_11, multilabel_report
from transferkit.protocols import Parts, Probe, create_protocol
from transferkit.uncertainty import bootstrap_interval, mcnemar

__all__ = ["Outcome", "evaluate", "shots_of"]

Array = NDArray[Any]
LEVEL = 0.05
"""Of the test whether a cell is better than its baseline."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a cell found.

    Parameters
    ----------
    row : dict
        Its part of the result row.
    values : ndarray of shape (n_test,)
        Share of right labels, or the negative squared error, of each test row.
    """

    row: dict[str, Any]
    values: Array


def shots_of(y: Array, shots: int, seed: int) -> Array:
    """Positions of so many rows of each class; of a seed's draws the fewer are the first."""
    random = np.random.default_rng(seed)
    chosen = []
    for c in np.unique(y):
        rows = random.permutation(np.flatnonzero(y == c))
        if len(rows) < shots:
            raise ValueError(
                f"{shots} shots, but class {c} has {len(rows)} images to train on; give fewer"
            )
        chosen.append(rows[:shots])
    return np.sort(np.concatenate(chosen))


def parts_of(cell: Cell, X: Array, dataset: Dataset, y: Array, rows: Rows) -> Parts:
    """Training and validation rows of a cell; few shots come without the validation part."""
    if cell.shots is None:
        val = (X[rows.val], y[rows.val]) if len(rows.val) else None
        return Parts(X[rows.train], y[rows.train], val)
    if dataset.task != "classification":
        raise ValueError(f"shots are images per class, and {dataset.name} has none; use full")
    train = rows.train[shots_of(y[rows.train], cell.shots, cell.seed or 0)]
    return Parts(X[train], y[train])


def evaluate(cell: Cell, parts: Parts, X: Array, dataset: Dataset, y: Array, rows: Rows) -> Outcome:
    """Train and measure.

    Parameters
    ----------
    cell : Cell
        What.
    parts : Parts
        Its training and validation rows, which cells may share with their statistics.
    X : ndarray of shape (n_rows, n_features)
        Features of all readable images.
    dataset : Dataset
        Names and task.
    y : ndarray
        Targets of the same rows.
    rows : Rows
        Which rows are for what.
    """
    start = time.perf_counter()
    if cell.kind == "protocol":
        if dataset.task == "regression":
            raise ValueError(f"{cell.probe} is for classes; use --heads for regression")
        probe = create_protocol(cell.probe).fit(parts, cell.seed or 0)
    else:
        probe = _head(cell, parts, dataset.task)
    fitted = time.perf_counter()
    scores = probe.scores(X[rows.test])
    done = time.perf_counter()
    metrics, values = _measured(dataset.task, probe, scores, y[rows.test])
    row = {
        "n_train": len(parts.X),
        "n_val": 0 if parts.validation is None else len(parts.validation[0]),
        "n_test": len(rows.test),
        "n_features": X.shape[1],
        "chosen": probe.chosen,
        "on_edge": probe.on_edge,
        "converged": probe.converged,
        "metrics": metrics,
        "fit_seconds": round(fitted - start, 4),
        "predict_seconds": round(done - fitted, 4),
    }
    return Outcome(row, values.astype(np.float32))


def _head(cell: Cell, parts: Parts, task: str) -> Probe:
    head = create_head(cell.probe, "regression" if task == "regression" else "classification")
    if cell.seed is not None and "random_state" in head.get_params():
        head.set_params(random_state=cell.seed)
    X, y = parts.X, parts.y
    options: dict[str, Any] = {}
    if parts.validation is not None and "validation" in signature(head.fit).parameters:
        options = {"validation": parts.validation}
    else:
        X, y = parts.merged()
    if "statistics" in signature(head.fit).parameters:
        options["statistics"] = parts.statistics
    head.fit(X, y, **options)
    has_proba = hasattr(head, "predict_proba")

    def scores(rows: Array) -> Array:
        if task == "regression":
            return np.asarray(head.predict(rows))
        if has_proba:
            p = np.clip(head.predict_proba(rows).astype(np.float64), 1e-12, 1)
            odds = np.log(np.maximum(1 - p, 1e-12)) if task == "multilabel" else 0
            return np.asarray(np.log(p) - odds)
        margin = np.asarray(head.decision_function(rows))
        return np.stack([-margin, margin], axis=1) if margin.ndim == 1 else margin

    names = ("C_", "alpha_", "n_iter_", "k_")
    chosen = {
        n.removesuffix("_"): float(getattr(head, n))
        for n in names
        if isinstance(getattr(head, n, None), int | float)
    }
    on_edge, converged = (getattr(head, n, None) for n in ("C_on_edge_", "converged_"))
    return Probe(
        scores,
        chosen,
        on_edge if isinstance(on_edge, bool) else None,
        converged if isinstance(converged, bool) else None,
        has_proba,
    )


def _measured(task: str, probe: Probe, scores: Array, y: Array) -> tuple[dict[str, Any], Array]:
    if task == "regression":
        error = scores.reshape(y.shape) - y
        values = -(error**2).reshape(len(y), -1).mean(axis=1)
        spread = ((y - y.mean(axis=0)) ** 2).reshape(len(y), -1).mean()

        def r2(at: Array) -> float:
            return float(1 + values[at].mean() / spread)

        main = {"r2": r2(np.arange(len(y))), "mae": float(np.abs(error).mean())}
        low, high = bootstrap_interval(r2, len(y))
        worth = {"baseline": 0.0, "is_better": low > 0}
        return {**main, "main": "r2", "interval": [low, high], **worth}, values
    if task == "multilabel":
        values = ((scores > 0) == y).mean(axis=1)

        def ap(at: Array) -> float:
            return mean_average_precision_11(y[at], scores[at])

        metrics = {"map": ap(np.arange(len(y))), "label_accuracy": float(values.mean())}
        interval = bootstrap_interval(ap, len(y), n_draws=500)
        # AUROC decides what mAP is worth: see `MultilabelReport.baseline`.
        found = multilabel_report(y, scores > 0, scores, range(y.shape[1])).baseline
        precision = None if found is None else found.of("mean_average_precision")
        worth = {"baseline": 1.0, "is_better": False}  # where every image has the same labels
        if precision is not None:
            worth = {"baseline": precision.baseline, "is_better": precision.is_better}
        return {**metrics, "main": "map", "interval": list(interval), **worth}, values
    return _classified(probe, scores, y)


def _classified(probe: Probe, scores: Array, y: Array) -> tuple[dict[str, Any], Array]:
    from sklearn.metrics import f1_score, recall_score, roc_auc_score

    predicted = scores.argmax(axis=1)
    right = (predicted == y).astype(np.float64)
    seen, counts = np.unique(y, return_counts=True)
    said = y == seen[counts.argmax()]  # always the most frequent class
    metrics: dict[str, Any] = {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(
            recall_score(y, predicted, labels=seen, average="macro", zero_division=0)
        ),
        "macro_f1": float(f1_score(y, predicted, average="macro", zero_division=0)),
        "main": "accuracy",
        "interval": list(bootstrap_interval(lambda at: float(right[at].mean()), len(y))),
        "baseline": float(said.mean()),
        "is_better": bool(right.sum() > said.sum() and mcnemar(right, said) < LEVEL),
    }
    if scores.shape[1] == 2 and len(seen) == 2:
        metrics["auroc"] = float(roc_auc_score(y, scores[:, 1] - scores[:, 0]))
    if probe.has_probabilities:
        metrics["ece"] = calibration_error(right, softmax(scores, axis=1))
        if probe.held is not None:
            temperature = temperature_of(*probe.held)
            metrics["temperature"] = temperature
            metrics["ece_scaled"] = calibration_error(right, softmax(scores / temperature, axis=1))
    return metrics, right
