"""Linear machines of VISSL on VOC07: one per class, C by three folds on average precision."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.metrics import average_precision_11
from transferkit.protocols import Array, Geometry, Parts, Probe
from transferkit.solvers.selection import Candidate, best, walk_path

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class VisslSVM:
    """Squashed to 224 px; rows of length 1 (+1e-5), float64; liblinear, classes weighted 2 : 1.

    The published feature is the last map pooled over windows of 6 × 6 (8,192 numbers for a
    ResNet-50); here the mean over the whole map, and the row says that it deviates.

    References
    ----------
    Goyal et al. (2019), "Scaling and benchmarking self-supervised visual representation
    learning".
    """

    geometry: Geometry = Geometry(224, 1.0, "squash", "bilinear")
    feature: str = "final.avg"
    shots: tuple[int, ...] = ()
    Cs: tuple[float, ...] = (0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000)
    folds: int = 3
    max_iter: int = 2000
    tol: float = 1e-4
    positive_weight: int = 2
    epsilon: float = 1e-5
    draws: bool = False
    deviates: tuple[str, ...] = ("feature",)


Protocol = VisslSVM


def fit(protocol: VisslSVM, parts: Parts, seed: int = 0) -> Probe:
    """Choose C for each class by itself; fit on training and validation rows."""
    X, y = parts.merged()
    Z = _normalized(protocol, X)
    Y = y if y.ndim == 2 else np.eye(parts.n_classes, dtype=int)[y]
    machines, Cs, converged = [], [], []
    for column in Y.T:
        C = _chosen(protocol, Z, column)
        machine, is_good = _machine(protocol, C, Z, column)
        machines.append(machine)
        Cs.append(C)
        converged.append(is_good)

    def scores(rows: Array) -> Array:
        normalized = _normalized(protocol, rows)
        return np.stack([m.decision_function(normalized) for m in machines], axis=1)

    return Probe(
        scores,
        {"C": Cs},
        on_edge=any(C in (protocol.Cs[0], protocol.Cs[-1]) for C in Cs),
        converged=all(converged),
        has_probabilities=False,
    )


def _normalized(protocol: VisslSVM, X: Array) -> Array:
    rows = X.astype(np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / (length + protocol.epsilon))


def _machine(protocol: VisslSVM, C: float, Z: Array, y: Array) -> tuple[Any, bool]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    machine = LinearSVC(
        C=C,
        class_weight={0: 1, 1: protocol.positive_weight},
        dual=True,
        max_iter=protocol.max_iter,
        tol=protocol.tol,
        random_state=0,
    )
    # Turned into a fact of the result.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(Z, y)
    return machine, not caught


def _chosen(protocol: VisslSVM, Z: Array, y: Array) -> float:
    from sklearn.model_selection import StratifiedKFold

    if min(y.sum(), len(y) - y.sum()) < protocol.folds:
        raise ValueError(
            f"vissl-svm chooses by {protocol.folds} folds, and a class has fewer samples with or "
            f"without it; give more images per class"
        )
    folds = list(StratifiedKFold(protocol.folds).split(Z, y))

    def judge(C: float) -> Candidate:
        scores = []
        for train, held in folds:
            machine, _ = _machine(protocol, C, Z[train], y[train])
            scores.append(average_precision_11(y[held], machine.decision_function(Z[held])))
        return Candidate(C, -float(np.mean(scores)))

    return best(walk_path(protocol.Cs, judge)).C
