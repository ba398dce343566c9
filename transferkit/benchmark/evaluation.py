"""Evaluate one cell: train a probe on some rows and measure it on the test rows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.benchmark.data import BenchmarkDataset
from transferkit.benchmark.grid import Cell
from transferkit.benchmark.measuring import measure
from transferkit.datasets import Division, draw_shots
from transferkit.heads import create_head
from transferkit.protocols import Parts, Probe, create_protocol
from transferkit.tasks import Task, task_of

__all__ = ["Outcome", "evaluate", "parts_of"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a cell.

    Parameters
    ----------
    row : dict
        The cell's part of the result row.
    values : ndarray of shape (n_test,)
        Share of right labels, or the negative squared error, of each test row.
    answers : mapping of str to ndarray, default={}
        ``true`` and ``predicted`` of each test row, and the names of ``classes`` or labels; empty
        where a prediction is a map or objects.
    """

    row: dict[str, Any]
    values: Array
    answers: Mapping[str, Array] = field(default_factory=dict)


def parts_of(
    cell: Cell, X: Array, y: Array, division: Division, dataset: BenchmarkDataset
) -> Parts:
    """Training and validation rows of a cell. With few shots there is no validation part."""
    if cell.shots is None:
        chosen = division.validation
        validation = (X[chosen], y[chosen]) if len(chosen) else None
        return Parts(X[division.train], y[division.train], validation)
    if not task_of(dataset.task).has_one_class:
        raise ValueError(f"shots are images per class, and {dataset.name} has none; use full")
    train = division.train[draw_shots(y[division.train], cell.shots, cell.seed or 0)]
    return Parts(X[train], y[train])


def evaluate(
    cell: Cell, parts: Parts, test: tuple[Array, Array], dataset: BenchmarkDataset
) -> Outcome:
    """Train and measure.

    Parameters
    ----------
    cell : Cell
        What.
    parts : Parts
        Its training and validation rows, which cells may share with their statistics.
    test : (ndarray, ndarray)
        Features and targets that are measured.
    dataset : BenchmarkDataset
        Names and task.
    """
    X, y = test
    task = task_of(dataset.task)
    start = time.perf_counter()
    if cell.kind == "protocol":
        if not task.has_classes:
            raise ValueError(f"{cell.probe} is for classes; use --heads for regression")
        probe = create_protocol(cell.probe).fit(parts, cell.seed or 0)
    else:
        probe = _head(cell, parts, task)
    fitted = time.perf_counter()
    scores = probe.scores(X)
    done = time.perf_counter()
    metrics, values = measure(task.report, probe, scores, y)
    row = {
        "n_train": len(parts.X),
        "n_val": 0 if parts.validation is None else len(parts.validation[0]),
        "n_test": len(y),
        "n_features": X.shape[1],
        "chosen": probe.chosen,
        "on_edge": probe.on_edge,
        "converged": probe.converged,
        "metrics": metrics,
        "fit_seconds": round(fitted - start, 4),
        "predict_seconds": round(done - fitted, 4),
    }
    return Outcome(row, values.astype(np.float32), _answers(task, scores, y, dataset.classes))


def _answers(task: Task, scores: Array, y: Array, classes: tuple[str, ...]) -> dict[str, Array]:
    """What is true and what is predicted, for tables per class and confusions."""
    if not task.has_classes:
        return {"true": y, "predicted": scores.reshape(y.shape)}
    predicted = scores > 0 if task.has_several_labels else scores.argmax(axis=1)
    numbers = {"true": y.astype(np.int32), "predicted": predicted.astype(np.int32)}
    return {**numbers, "classes": np.array(classes, dtype=np.str_)}


def _head(cell: Cell, parts: Parts, task: Task) -> Probe:
    head = create_head(cell.probe, task.head_kind)
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
        if not task.has_classes:
            return np.asarray(head.predict(rows))
        if has_proba:
            p = np.clip(head.predict_proba(rows).astype(np.float64), 1e-12, 1)
            odds = np.log(np.maximum(1 - p, 1e-12)) if task.has_several_labels else 0
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
