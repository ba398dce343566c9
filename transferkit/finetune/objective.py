"""The loss that is minimised and the metric that is measured, for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.finetune.image_head import ImageHead, mean_loss
from transferkit.tasks import Task, task_of

__all__ = ["Objective", "choose_objective"]


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss and the metric of a task.

    Parameters
    ----------
    task : str
        What is learnt; a name of `transferkit.tasks`.
    n_outputs : int
        Classes, labels or numbers.
    smoothing : float, default=0
        Share of a class target that is spread over all classes.
    weights : Tensor of shape (n_outputs,), optional
        Of the classes' losses; on average 1 over the training images.
    mean, scale : ndarray of shape (n_outputs,)
        Of a regression's targets, which are learnt standardised.
    """

    task: str
    n_outputs: int
    smoothing: float = 0.0
    weights: Tensor | None = None
    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    scale: np.ndarray = field(default_factory=lambda: np.ones(1))

    @property
    def kind(self) -> Task:
        """The task."""
        return task_of(self.task)

    @property
    def metric_name(self) -> str:
        """Name of the metric."""
        names = {"softmax": "accuracy", "sigmoid": "label accuracy", "identity": "R²"}
        return names[self.kind.activation]

    def create_head(self, n_features: int) -> ImageHead:
        """Make the head that learns it, with random weights, on ``pre_logits``."""
        return ImageHead(
            n_features,
            self.n_outputs,
            self.task,
            label_smoothing=self.smoothing,
            class_weights=self.weights,
        )

    def encode(self, y: np.ndarray) -> Tensor:
        """Encode targets for the loss, as class numbers or float32 rows."""
        if self.kind.has_one_class:
            return torch.from_numpy(np.asarray(y, np.int64))
        rows = np.asarray(y, np.float64).reshape(len(y), -1)
        return torch.from_numpy(((rows - self.mean) / self.scale).astype(np.float32))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss.

        Parameters
        ----------
        outputs : Tensor
            Of the head, ``(B, n_outputs)``.
        targets : Tensor
            From `encode`; of classes also their shares ``(B, n_outputs)``, from mixup.
        """
        return mean_loss(self.kind, outputs, targets, self.smoothing, self.weights)

    def plain_loss(self, outputs: Tensor, targets: Tensor) -> float:
        """Mean loss without class weights, by which epochs are compared.

        Smoothed as in training: a smoothed network is less sure than a probe, on purpose.
        """
        plain = Objective(self.task, self.n_outputs, self.smoothing)
        return float(plain.loss(outputs, targets))

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Compute the metric: accuracy, the share of right labels, or R²."""
        if self.kind.has_one_class:
            return float((outputs.argmax(1) == targets).float().mean())
        if self.kind.has_several_labels:
            return float(((outputs > 0) == (targets > 0.5)).float().mean())
        error = ((outputs - targets) ** 2).sum(0)
        spread = ((targets - targets.mean(0)) ** 2).sum(0)
        # Of equal numbers there is no R²: they are measured by the training part's variance, 1.
        spread = torch.where(spread > 1e-9 * len(targets), spread, float(len(targets)))
        return float((1 - error / spread).mean())


def choose_objective(task: str, y: np.ndarray, recipe: Any, classes: np.ndarray) -> Objective:
    """Choose the loss for training targets.

    Parameters
    ----------
    task : str
        What is learnt; a name of `transferkit.tasks`.
    y : ndarray of shape (n,) or (n, n_outputs)
        Class numbers, 0 and 1, or numbers: of the training part.
    recipe : Recipe
        Label smoothing, class weights, mixup.
    classes : ndarray
        Labels that the class numbers stand for.

    Raises
    ------
    ValueError
        If the recipe holds what the task has no use for.
    """
    kind = task_of(task)
    if kind.has_one_class:
        weights = _class_weights(recipe.class_weight, y, classes)
        return Objective(task, len(classes), recipe.label_smoothing, weights)
    for name in ("class_weight", "mixup", "cutmix"):
        if getattr(recipe, name):
            raise ValueError(f"{name} is for classes, one per image; leave it out for {task}")
    if recipe.sampling != "shuffle":
        raise ValueError(f"sampling 'balanced' is for classes; leave it out for {task}")
    rows = np.asarray(y, np.float64).reshape(len(y), -1)
    if kind.has_several_labels:
        return Objective(task, rows.shape[1])
    scale = rows.std(axis=0)
    # Of equal numbers the deviation is a rounding error, and not always 0.
    smallest = 8 * np.finfo(np.float64).eps * np.abs(rows).max(axis=0)
    return Objective(
        task, rows.shape[1], mean=rows.mean(axis=0), scale=np.where(scale > smallest, scale, 1.0)
    )


def _class_weights(given: Any, y: np.ndarray, classes: np.ndarray) -> Tensor | None:
    if given is None:
        return None
    if given == "balanced":
        counts = np.bincount(y, minlength=len(classes))
        weights = len(y) / (len(classes) * np.maximum(counts, 1))
    elif isinstance(given, Mapping):
        by_text = {str(label): _weight(label, weight) for label, weight in given.items()}
        strange = sorted(set(by_text) - {str(c) for c in classes.tolist()})
        if strange:
            raise ValueError(
                f"class_weight names {strange[0]!r}, which is no class; the classes are "
                f"{', '.join(map(str, classes.tolist()[:20]))}"
            )
        weights = np.array([by_text.get(str(c), 1.0) for c in classes.tolist()])
    else:
        raise ValueError(
            f"class_weight is {given!r}; give 'balanced' or a weight for each label, as in "
            f"{{'cat': 2.0}}"
        )
    mean = weights[y].mean()
    if mean == 0:
        raise ValueError("class_weight is 0 for every class that is trained on; give one above 0")
    return torch.tensor(weights / mean, dtype=torch.float32)


def _weight(label: Any, given: Any) -> float:
    is_number = isinstance(given, int | float | np.number) and not isinstance(given, bool)
    if not is_number or not 0 <= given < np.inf:
        raise ValueError(
            f"class_weight of {label!r} is {given!r}; give a number of at least 0, as in 2.0"
        )
    return float(given)
