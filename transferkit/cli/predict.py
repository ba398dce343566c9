"""``transferkit predict``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from transferkit.cli._options import (
    estimator_from,
    exit_code,
    image_options,
    images_from,
    machine_options,
    on_error_option,
    report_failures,
    store_option,
)

if TYPE_CHECKING:
    import numpy as np

    from transferkit.extract import Extraction
    from transferkit.images import Failure, ImageSet


@click.command()
@click.argument("model")
@click.argument("images")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "parquet"]),
    help="Form of the result.  [default: csv]",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
@click.option("--proba", is_flag=True, help="With the probability of every class.")
@click.option("--out", type=click.Path(path_type=Path), help="File for the result, not stdout.")
@store_option
@image_options
@machine_options
@on_error_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    images: str,
    form: str | None,
    as_json: bool,
    proba: bool,
    out: Path | None,
    on_error: str,
    **options: Any,
) -> None:
    """Predict the label of each of IMAGES with a saved MODEL.

    One line per image, in order: path, prediction, confidence (the prediction's
    probability) and error, which says why an image could not be read.
    """
    if as_json and form not in (None, "jsonl"):
        raise click.UsageError(f"--json and --format {form} were both given; give one of them")
    form = "jsonl" if as_json else form or "csv"
    if out is not None:
        _check_file(out)
    listed = images_from(images, options)
    estimator = estimator_from(model, options)
    if form == "parquet" and out is None:
        raise click.UsageError("--format parquet needs a file: give --out FILE")
    if proba and not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"the model's head ({type(estimator.head_).__name__}) gives no probabilities; leave "
            f"--proba out"
        )
    extraction, failures = _extract(estimator, listed, on_error)
    lines = list(_lines(estimator, listed, extraction, failures, proba))
    _write(out, lines, form)
    if out is not None:
        n_done = len(listed) - len(failures)
        click.echo(f"{n_done:,} of {len(listed):,} images predicted: {out}", err=True)
    report_failures(failures, len(listed))
    ctx.exit(exit_code(failures, on_error))


def _check_file(out: Path) -> None:
    """Say before anything is computed that a result can't be written."""
    from transferkit.digests import check_folder

    if out.is_dir():
        raise IsADirectoryError(f"--out {str(out)!r} is a folder; give a file")
    check_folder(out.parent, f"{str(out)!r} can't be written")
    out.parent.mkdir(parents=True, exist_ok=True)


def _extract(
    estimator: Any, images: ImageSet, on_error: str
) -> tuple[Extraction | None, Sequence[Failure]]:
    """Features, and the images that have none; no features if not one could be read."""
    from transferkit.images import UnreadableImages

    try:
        extraction = estimator.extractor_.extract(
            images, on_error="raise" if on_error == "raise" else "skip"
        )
    except UnreadableImages as error:
        # Not one image could be read: that too is a result, one error per line.
        if on_error == "raise" or len(error.failures) != len(images):
            raise
        return None, error.failures
    return extraction, extraction.failures


def _lines(
    estimator: Any, images: ImageSet, extraction: Extraction | None, failures: Any, proba: bool
) -> Iterator[dict[str, Any]]:
    """One dictionary per image: every kind of model in one form."""
    from transferkit.estimators import side_by_side

    reasons = {failure.index: failure.reason for failure in failures}
    predicted: dict[int, dict[str, Any]] = {}
    if extraction is not None:
        lines = _predictions(estimator, side_by_side(extraction), proba)
        predicted = dict(zip(extraction.kept.tolist(), lines, strict=True))
    nothing: dict[str, Any] = {"prediction": None}
    if hasattr(estimator, "predict_proba"):
        nothing["confidence"] = None
    for i, name in enumerate(images.names):
        line = {"path": name, **predicted.get(i, nothing), "error": reasons.get(i)}
        if proba:
            line["probabilities"] = line.pop("probabilities", None)  # last
        yield line


def _predictions(estimator: Any, X: np.ndarray, proba: bool) -> Iterator[dict[str, Any]]:
    import numpy as np

    labels = estimator.predict_features(X).tolist()
    is_multilabel = getattr(estimator, "is_multilabel_", False)
    names = estimator.target_names_ if estimator.task == "regression" else estimator.classes_
    names = [str(name) for name in names]
    has_proba = hasattr(estimator, "predict_proba")
    probabilities = estimator.predict_proba_features(X) if has_proba else None
    for n, label in enumerate(labels):
        if is_multilabel:
            label = [name for name, has in zip(names, label, strict=True) if has]
        elif isinstance(label, list):
            label = dict(zip(names, label, strict=True))
        line: dict[str, Any] = {"prediction": label}
        if probabilities is not None:
            row = probabilities[n]
            # Of several labels: how sure the least sure of the decisions is.
            sure = np.maximum(row, 1 - row).min() if is_multilabel else row.max()
            line["confidence"] = round(float(sure), 6)
            if proba:
                rounded = (round(float(p), 6) for p in row)
                line["probabilities"] = dict(zip(names, rounded, strict=True))
        yield line


def _flat(line: dict[str, Any], names: list[str], targets: list[str]) -> dict[str, Any]:
    """One line as columns of single values."""
    cells = {"path": line["path"]}
    value = line["prediction"]
    if targets:
        cells |= {f"prediction:{t}": None if value is None else value[t] for t in targets}
    else:
        cells["prediction"] = ";".join(value) if isinstance(value, list) else value
    if "confidence" in line:
        cells["confidence"] = line["confidence"]
    cells["error"] = line["error"]
    return cells | {f"proba:{n}": (line["probabilities"] or {}).get(n) for n in names}


def _columns(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All lines with the same columns, in the same order."""
    names = next((list(line["probabilities"]) for line in lines if line.get("probabilities")), [])
    targets = next((list(v) for v in (x["prediction"] for x in lines) if isinstance(v, dict)), [])
    return [_flat(line, names, targets) for line in lines]


def _write(out: Path | None, lines: list[dict[str, Any]], form: str) -> None:
    if out is None:
        _write_text(sys.stdout, lines, form)
    elif form == "parquet":
        _write_parquet(out, lines)
    else:
        with out.open("w", encoding="utf-8", newline="") as file:
            _write_text(file, lines, form)


def _write_text(file: TextIO, lines: list[dict[str, Any]], form: str) -> None:
    if form == "jsonl":
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return
    rows = _columns(lines)
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _write_parquet(path: Path, lines: list[dict[str, Any]]) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ValueError(
            "--format parquet needs pyarrow, which isn't installed; run pip install "
            "'transferkit[parquet]'"
        ) from error
    rows = _columns(lines)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["error"] = pa.array(columns["error"], pa.string())  # a column of nothing has a type too
    pq.write_table(pa.table(columns), path)
