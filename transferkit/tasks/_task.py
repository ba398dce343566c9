"""`Task` describes a task: its targets, its metrics and the form of its predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Task"]


@dataclass(frozen=True)
class Task:
    """One kind of target that can be learnt from images, such as classes or numbers.

    Parameters
    ----------
    name : str
        The file's name.
    summary : str
        Short description of a model of this task, with ``{n}`` for the number of its outputs.
    outputs : {"classes", "labels", "targets"}
        What a model's outputs are called.
    estimator : str
        Name of the estimator in `transferkit.estimators` that learns it from frozen features.
    fine_tuner : str
        Name of the estimator there that trains the backbone too.
    head_kind : {"classification", "regression"}
        The kind of estimator that a head's file offers for it.
    activation : {"softmax", "sigmoid", "identity"}
        Function from a linear head's scores to probabilities or predicted values.
    report : {"classification", "multilabel", "regression"}
        Task whose metrics measure it.
    targets : callable
        ``targets(values, names)``: an array of targets, checked and of the right type. Names
        of the images, or None, are for the message.
    written : callable
        ``written(value, names)``: one prediction, or one true target, as JSON takes it. Names
        are those of the outputs.
    residual : callable or None, default=None
        ``residual(predicted, true)`` of two written values; None where a prediction is right or
        wrong.
    default_head : str, default="linear"
        Head that is taken if none is named.
    has_one_class : bool, default=False
        Whether an image is of exactly one class: then splits are stratified, and shots drawn.
    of_columns : str or None, default=None
        Task that it becomes where the targets have several columns.
    hub_task : str or None, default=None
        The task's name on the model hub, if it has one there.
    """

    name: str
    summary: str
    outputs: str
    estimator: str
    fine_tuner: str
    head_kind: str
    activation: str
    report: str
    targets: Callable[[np.ndarray, Sequence[str] | None], np.ndarray]
    written: Callable[[Any, Sequence[str]], Any]
    residual: Callable[[Any, Any], Any] | None = None
    default_head: str = "linear"
    has_one_class: bool = False
    of_columns: str | None = None
    hub_task: str | None = None

    @property
    def has_classes(self) -> bool:
        """Whether one or several classes are predicted, rather than numbers."""
        return self.head_kind == "classification"

    @property
    def has_several_labels(self) -> bool:
        """Whether an image may have several of the classes at once."""
        return self.has_classes and not self.has_one_class

    def of_targets(self, y: np.ndarray) -> Task:
        """Return the task for these targets, which is another one if they have several columns.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, n_columns)
            Targets.
        """
        from transferkit.tasks import task_of

        has_columns = y.ndim == 2 and y.shape[1] > 1
        return task_of(self.of_columns) if has_columns and self.of_columns else self

    def confidence(self, probabilities: np.ndarray) -> float:
        """Confidence of a prediction, from the probabilities of one image.

        Parameters
        ----------
        probabilities : ndarray of shape (n_classes,)
            Of several labels, the least sure of the decisions counts.
        """
        sure = probabilities.max()
        if self.has_several_labels:
            sure = np.maximum(probabilities, 1 - probabilities).min()
        return float(sure)
