"""Fitted heads in a form that other programs run; a file here belongs to the head of its name.

A file exposes ``convert(head, task)``, which gives the head as a `TensorHead` or a `TreeSum`. If
the head is linear in the features, it exposes ``linear_map(head)`` as well. Estimators of
scikit-learn's own have no file, since skl2onnx writes them; nor has a head that no other program
can run.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np

from transferkit import registry
from transferkit.export._refusal import refused
from transferkit.export.heads._tensors import TensorHead
from transferkit.export.heads._trees import TreeSum
from transferkit.tasks import Task

__all__ = ["TensorHead", "TreeSum", "convert", "linear_map"]

HEADS = "transferkit.heads"


def convert(head: Any, task: Task) -> TensorHead | TreeSum | None:
    """Make tensors or trees of a fitted head; None for one that isn't ours.

    Parameters
    ----------
    head : estimator
        Fitted.
    task : Task
        What was learnt.

    Raises
    ------
    ValueError
        If it is a head of ours that can't be exported.
    """
    package, _, name = type(head).__module__.rpartition(".")
    if package != HEADS:
        return None
    file = _file(name)
    if file is None:
        raise refused(head, f"export/heads has no {name}.py that writes it as tensors or trees")
    form: TensorHead | TreeSum = file.convert(head, task)
    return form


def linear_map(head: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Coefficients and intercepts on the features as given, if the head is no more than that.

    Parameters
    ----------
    head : estimator
        Fitted.

    Returns
    -------
    (ndarray of shape (n_outputs, n_features), ndarray of shape (n_outputs,)) or None
        In float64; a classifier of two classes has one row, the second's against 0.
    """
    package, _, name = type(head).__module__.rpartition(".")
    file = _file(name) if package == HEADS else None
    coefficients: tuple[np.ndarray, np.ndarray] | None = None
    if file is not None and hasattr(file, "linear_map"):
        coefficients = file.linear_map(head)
    return coefficients


def _file(name: str) -> ModuleType | None:
    """The file that belongs to a head, if there is one."""
    if name.replace("_", "-") not in registry.names(__name__):
        return None
    return importlib.import_module(f"{__name__}.{name}")
