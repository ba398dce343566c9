"""k-fold measuring on the command line: mean and spread, and out-of-fold predictions."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from transferkit.datasets import Dataset
    from transferkit.estimators import FoldModels
    from transferkit.images import ImageSet

__all__ = [
    "check_folds",
    "check_no_folds",
    "check_no_splits",
    "fold_summary",
    "folds_line",
    "models_of_folds",
    "write_out_of_fold",
]

# Metrics that are left out of the folds' line, which would be too long with them.
_LEFT_OUT = {"macro_f1", "log_loss", "calibration_error", "exact_match"}


def check_folds(ctx: click.Context, n_folds: int | None, out_of_fold: Path | None) -> None:
    """Raise now if options don't go together, or the predictions can't be written."""
    from transferkit.folders import check_folder

    if out_of_fold is not None:
        if not n_folds:
            raise click.UsageError("--out-of-fold is what --folds predicts; give both")
        check_folder(out_of_fold.parent, f"predictions {str(out_of_fold)!r} can't be written")
        if out_of_fold.is_dir():
            raise ValueError(f"{str(out_of_fold)!r} is a folder; give the name of a CSV file")
    is_asked = ctx.get_parameter_source("test_size") is click.core.ParameterSource.COMMANDLINE
    if n_folds and is_asked:
        raise click.UsageError(
            "--folds measures on every image, and --test-size holds some out; give one of them"
        )


def check_no_folds(n_folds: int | None, task: str) -> None:
    """Raise a usage error if a task that has no folds is asked for some."""
    if n_folds:
        raise click.UsageError(f"--folds isn't there for {task}; leave it out")


def check_no_splits(images: ImageSet) -> None:
    """Raise a ValueError if the images have splits already."""
    if images.split_names:
        raise ValueError(
            f"the images have splits ({', '.join(images.split_names)}), and --folds makes its own; "
            f"leave it out, or give images without splits, such as IMAGES/train"
        )


def models_of_folds(model: Any, data: Dataset, n_folds: int, seed: int) -> FoldModels:
    """Models of the folds, from the same rows as the model that was fitted on all of them."""
    from transferkit.datasets import folds
    from transferkit.estimators import fit_folds, targets_of

    assert data.images is not None
    labels = None
    if model.task_.has_one_class:
        labels = targets_of(data.images, None, "training", model.task_.name)
    fold_of = folds(len(data), n_folds, seed, labels=labels, blocks=data.blocks)
    return fit_folds(model, data, fold_of)


def fold_summary(models: FoldModels, data: Dataset) -> list[dict[str, Any]]:
    """Mean, standard deviation and each fold's value of the most important metrics."""
    import numpy as np

    from transferkit.estimators.measuring import measure

    reports = [
        measure(model, data.select(np.flatnonzero(models.fold_of == number)))
        for number, model in enumerate(models.models)
    ]
    found = []
    for metric in (row.metric for row in reports[0].rows()):
        values = [v for report in reports if (v := report.value(metric.name)) is not None]
        if metric.name in _LEFT_OUT or len(values) < len(reports):  # undefined on so few rows
            continue
        mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
        found.append(
            {"metric": metric.name, "name": metric.short, "is_share": metric.is_share}
            | {"mean": mean, "std": spread, "folds": [float(value) for value in values]}
        )
    return found


def folds_line(summary: list[dict[str, Any]]) -> str:
    """The values of `fold_summary` in one line."""
    texts = []
    for row in summary:
        scale, unit, digits = (100, " %", ".1f") if row["is_share"] else (1, "", ".4g")
        mean, std, low, high = (
            format(scale * value, digits)
            for value in (row["mean"], row["std"], min(row["folds"]), max(row["folds"]))
        )
        texts.append(f"{row['name']} {mean} ± {std}{unit} ({low} to {high})")
    return ", ".join(texts)


def write_out_of_fold(file: Path, models: FoldModels, data: Dataset) -> None:
    """Write a CSV with a line per image: path, label, prediction, confidence, fold."""
    images = data.images
    assert images is not None
    labels, predicted = _columns(images.labels), _columns(models.predict_features(data.X).tolist())
    titles = [""]
    if len(labels) > 1:
        titles = [f":{name}" for name in images.label_names or range(len(labels))]
    columns: dict[str, list[Any]] = {"path": list(images.names)}
    for what, values in (("label", labels), ("prediction", predicted)):
        columns |= {f"{what}{title}": own for title, own in zip(titles, values, strict=True)}
    if models.task_.has_one_class and hasattr(models, "predict_proba"):
        sure = models.predict_proba_features(data.X).max(axis=1)
        columns["confidence"] = [round(float(value), 6) for value in sure]
    columns["fold"] = models.fold_of.tolist()
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        # A name that isn't UTF-8 comes back as its bytes.
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as opened:
            writer = csv.writer(opened)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _columns(values: Any) -> list[list[Any]]:
    """One list for each column of labels."""
    rows = [value if isinstance(value, tuple | list) else (value,) for value in values]
    return [list(column) for column in zip(*rows, strict=True)]
