"""Measure a trained estimator on labelled images."""

from __future__ import annotations

from typing import Any

import numpy as np

from transferkit import metrics
from transferkit.datasets import Dataset
from transferkit.estimators.targets import targets_of
from transferkit.images import ImageSet
from transferkit.tasks import asked_name

__all__ = ["learnt_columns", "measure", "predictions_of", "true_targets"]


def measure(model: Any, data: Dataset) -> metrics.TaskReport:
    """Report on a model from labelled images and their features.

    Parameters
    ----------
    model : TransferEstimator or FoldModels
        Fitted.
    data : Dataset
        Labelled images, none of them trained on, with their features; targets are compared as
        they are if it has any.

    Returns
    -------
    TaskReport
        What the task is measured by.

    Raises
    ------
    ValueError
        If the labels aren't of the kind that the model predicts.
    """
    y = true_targets(model, data.images) if data.y is None else data.y
    predicted = model.predict_features(data.X)
    proba = None
    if hasattr(model, "predict_proba"):
        proba = model.predict_proba_features(data.X)
    return metrics.report_of(model.task_.report, y, predicted, proba, model.output_names_)


def predictions_of(model: Any, data: Dataset) -> metrics.Predictions:
    """What a model says of labelled images, beside what they are.

    Parameters
    ----------
    model, data
        As for `measure`.
    """
    y = true_targets(model, data.images) if data.y is None else data.y
    predicted, names = model.predict_features(data.X), model.output_names_
    if not model.task_.has_classes:
        return metrics.predicted_numbers(y, predicted, names)
    proba = model.predict_proba_features(data.X) if hasattr(model, "predict_proba") else None
    if model.task_.has_several_labels:
        return metrics.predicted_labels(y, predicted, proba, names)
    return metrics.predicted_classes(y, predicted, proba, names)


def true_targets(model: Any, images: ImageSet | None) -> np.ndarray:
    """Return the targets of labelled images, checked against the model's task.

    Parameters
    ----------
    model : TransferEstimator or FoldModels
        Fitted.
    images : ImageSet
        With labels.

    Raises
    ------
    ValueError
        If there are none, or the model predicts something else.
    """
    task, names = model.task_, model.output_names_
    y = targets_of(images, None, "given", asked_name(task))
    if task.has_one_class:
        if y.ndim > 1 and y.shape[1] > 1:
            raise ValueError("the model predicts one label per image; give one label column")
        return _as_known(y, names)
    n_columns = y.reshape(len(y), -1).shape[1]
    fits = n_columns == len(names)
    if task.has_classes:
        fits = y.ndim > 1 and list(getattr(images, "label_names", None) or ()) in (
            [],
            names.tolist(),
        )
    if not fits:
        columns = ",".join(map(str, names))
        raise ValueError(f"the model predicts {columns}; name these columns: --labels {columns}")
    return y


def learnt_columns(model: Any) -> list[str]:
    """Names of the label columns that a model has learnt, if it knows them.

    Parameters
    ----------
    model : TransferEstimator
        Fitted.
    """
    if model.task_.has_one_class:
        return []
    return [name for name in model.output_names_.tolist() if isinstance(name, str)]


def _as_known(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Convert labels to the model's own, so that a folder's "3" counts as the number 3."""
    known = {str(label): label for label in classes.tolist()}
    texts = [str(label) for label in labels.ravel().tolist()]
    if not known.keys() & set(texts):
        raise ValueError(
            f"not one image has a label that the model knows: the images' are {_some(texts)}, the "
            f"model's {_some(list(known))}"
        )
    values = np.empty(len(texts), dtype=object)
    values[:] = [known.get(text, text) for text in texts]
    return values


def _some(labels: list[str]) -> str:
    different = list(dict.fromkeys(labels))
    return ", ".join(map(repr, different[:5])) + (" …" if len(different) > 5 else "")
