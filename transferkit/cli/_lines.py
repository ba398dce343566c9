"""The line for each image: the table's own columns, the prediction, and the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._output import printable

if TYPE_CHECKING:
    import numpy as np

    from transferkit.images import Failure, ImageSet
    from transferkit.tasks import Task

__all__ = ["own_columns", "predicted_lines", "predictions", "truth_lines"]

_OURS = ("path", "prediction", "confidence", "error", "probabilities", "path_bytes")


def own_columns(source: str, images: ImageSet, path_column: str) -> list[dict[str, Any]]:
    """Columns of a table for each image, unchanged and in order; none if there is no table.

    A column that bears the name of one of ours is called ``table:NAME``.
    """
    from transferkit.images.sources.table import is_table, table_rows

    if not is_table(source):
        return [{} for _ in images.names]
    header, rows = table_rows(source)
    # A Parquet file of images has no paths to tell by which rows were left out.
    if path_column not in header and len(rows) != len(images):
        return [{} for _ in images.names]
    taken = set(_OURS)
    columns = []
    for name in header:
        is_path = name == path_column == "path"
        column = name
        while not is_path and (column in taken or column.startswith(("prediction:", "proba:"))):
            column = f"table:{column}"
        if column != name:
            click.echo(
                f"Warning: column {printable(name)!r} of {printable(source)!r} is written as "
                f"{printable(column)!r}, beside ours",
                err=True,
            )
        taken.add(column)
        columns.append(column)
    has_all = len(rows) == len(images)
    chosen = rows if has_all else _rows_of(images, header.index(path_column), rows)
    return [dict(zip(columns, row, strict=True)) for row in chosen]


def _rows_of(images: ImageSet, path_at: int, rows: list[list[str]]) -> list[list[str]]:
    """Rows of a table that belong to these images, which may be only a part of its images."""
    chosen, at = [], 0
    for name in images.names:
        while rows[at][path_at] != name:
            at += 1
        chosen.append(rows[at])
        at += 1
    return chosen


def predicted_lines(
    model: Any,
    images: ImageSet,
    predicted: dict[int, dict[str, Any]],
    failures: Sequence[Failure],
    *,
    proba: bool = False,
) -> Iterator[dict[str, Any]]:
    """Make one dictionary per image, of the same form for every kind of model.

    Parameters
    ----------
    model : TransferEstimator
        Fitted.
    images : ImageSet
        All images.
    predicted : dict of int to dict
        Position → from `predictions`, of the images that could be read.
    failures : sequence of Failure
        The others.
    proba : bool, default=False
        Whether probabilities are told.
    """
    reasons = {failure.index: failure.reason for failure in failures}
    nothing: dict[str, Any] = {"prediction": None}
    if hasattr(model, "predict_proba"):
        nothing["confidence"] = None
    for i, name in enumerate(images.names):
        line = {"path": name, **predicted.get(i, nothing), "error": reasons.get(i)}
        if proba:
            line["probabilities"] = line.pop("probabilities", None)  # last
        yield line


def predictions(model: Any, X: np.ndarray, *, proba: bool = False) -> Iterator[dict[str, Any]]:
    """Make one dictionary per row: prediction, confidence, and probabilities if wanted."""
    task, names = model.task_, [str(name) for name in model.output_names_]
    labels = model.predict_features(X).tolist()
    has_proba = hasattr(model, "predict_proba")
    probabilities = model.predict_proba_features(X) if has_proba else None
    for n, label in enumerate(labels):
        line: dict[str, Any] = {"prediction": task.written(label, names)}
        if probabilities is not None:
            line["confidence"] = round(task.confidence(probabilities[n]), 6)
            if proba:
                rounded = (round(float(p), 6) for p in probabilities[n])
                line["probabilities"] = dict(zip(names, rounded, strict=True))
        yield line


def truth_lines(
    model: Any,
    images: ImageSet,
    true: dict[int, Any],
    predicted: dict[int, dict[str, Any]],
    failures: Sequence[Failure],
) -> list[dict[str, Any]]:
    """Make one dictionary per measured image, and per image that could not be read.

    Parameters
    ----------
    model : TransferEstimator
        Fitted.
    images : ImageSet
        What was listed.
    true : dict of int to value
        Position → target, of the images that were measured.
    predicted : dict of int to dict
        Position → from `predictions`, of the same.
    failures : sequence of Failure
        Those that could not be read.
    """
    task, names = model.task_, [str(name) for name in model.output_names_]
    told = {failure.index for failure in failures} | true.keys()
    lines = []
    for i, line in enumerate(predicted_lines(model, images, predicted, failures)):
        if i not in told:  # the model was trained on it
            continue
        label = task.written(true[i], names) if i in true else _label(images, i)
        path, error = line.pop("path"), line.pop("error")
        split = None if images.splits is None else images.splits[i]
        kind, found = _outcome(task, line["prediction"], label if i in true else None)
        lines.append(
            {"path": path, "split": split, "label": label, **line, kind: found, "error": error}
        )
    return lines


def _label(images: ImageSet, i: int) -> str | None:
    """Label of an image that couldn't be read, if the image has a single label."""
    label = None if images.labels is None else images.labels[i]
    return None if isinstance(label, tuple) else label


def _outcome(task: Task, prediction: Any, label: Any) -> tuple[str, Any]:
    """Name and value of the outcome: whether the prediction is right, or its residual."""
    if task.residual is None:
        return "correct", None if label is None else prediction == label
    return "residual", None if label is None else task.residual(prediction, label)
