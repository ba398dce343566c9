"""Classes on a benchmark's page: how well each backbone knows each, and what is confused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.benchmark import Board, Place, Results
from transferkit.report.benchmark_names import metric_title
from transferkit.report.charts import Curve, Points, heatmap, lines, scatter
from transferkit.report.page import Beside, CellValue, Chart, DataTable, Part, Text, WrittenNumber

__all__ = ["class_parts"]

Rows = Sequence[Mapping[str, Any]]
Names = Mapping[str, str]
Array = NDArray[Any]

# Dense tasks' rows hold values by class under these names.
_BY_CLASS = {"iou": "IoU, %", "ap50_of": "AP at an overlap of 0.5, %"}
# Heat maps of more classes show those that are confused most.
_MOST_CLASSES = 40
_MOST_CONFUSIONS = 30
_MOST_TARGETS = 4

_OLD = (
    "Rows of an older version don't tell what was predicted. Measured again in a new folder, "
    "with the features from the store, they do."
)


def class_parts(board: Board, results: Results, rows: Rows, short: Names) -> list[Part]:
    """Show what a leaderboard's backbones make of each class; of numbers, of each target."""
    sets = [_rows_of(place, board, rows) for place in board.places]
    names = _place_names(board, short)
    if board.metric == "r2":
        return _targets(results, sets[0], names[0])
    dense = next((key for key in _BY_CLASS if key in sets[0][0]["metrics"]), None)
    if dense is not None:
        return [_dense_table(dense, sets, names)]
    answers = [[results.answers(row["cell"]) for row in found] for found in sets]
    known = [i for i, each in enumerate(answers) if all(each)]
    if not known:
        return [Text(_OLD)]
    parts: list[Part] = [_table([answers[i] for i in known], [names[i] for i in known])]
    if len(known) < len(sets):
        parts.append(Text(f"Not told for {', '.join(set(names) - {names[i] for i in known})}."))
    if board.metric == "accuracy":
        parts += _confusions(answers[known[0]], names[known[0]])
    return parts


def _rows_of(place: Place, board: Board, rows: Rows) -> list[Mapping[str, Any]]:
    """The rows of a place's seeds."""
    features = set(place.feature.split(", "))
    return [
        row
        for row in rows
        if (row["backbone"], row["probe"], row["shots"])
        == (place.backbone, board.probe, board.shots)
        and row["feature"] in features
    ]


def _place_names(board: Board, short: Names) -> list[str]:
    backbones = [place.backbone for place in board.places]
    return [
        short[p.backbone] + (f", {p.feature}" if backbones.count(p.backbone) > 1 else "")
        for p in board.places
    ]


# ---- tables -------------------------------------------------------------------------


def _table(answers: Sequence[Sequence[Mapping[str, Array]]], names: Sequence[str]) -> DataTable:
    """F1 of each class or label, mean over seeds."""
    first = answers[0][0]
    classes, true = first["classes"].tolist(), _indicators(first["true"], first)
    scores = [
        np.mean(
            [_f1(_indicators(a["true"], a), _indicators(a["predicted"], a)) for a in each], axis=0
        )
        for each in answers
    ]
    rows: list[list[CellValue]] = [
        [name, int(true[:, i].sum()), *(_percent(each[i]) for each in scores)]
        for i, name in enumerate(classes)
    ]
    return DataTable(["class", "test images", *(f"{name}: F1, %" for name in names)], rows)


def _indicators(numbers: Array, answers: Mapping[str, Array]) -> Array:
    """A column of 0 and 1 for each class."""
    if numbers.ndim == 2:
        return numbers.astype(bool)
    return np.asarray(numbers[:, None] == np.arange(len(answers["classes"])))


def _f1(true: Array, predicted: Array) -> Array:
    """F1 of each column; NaN for a class that isn't there and never predicted."""
    both = true.sum(axis=0) + predicted.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * (true & predicted).sum(axis=0) / both)


def _dense_table(key: str, sets: Sequence[Rows], names: Sequence[str]) -> DataTable:
    """Values of each class as the rows hold them, mean over seeds."""
    classes = list(dict.fromkeys(name for row in sets[0] for name in row["metrics"][key]))
    rows: list[list[CellValue]] = []
    for name in classes:
        values = []
        for found in sets:
            known = [row["metrics"].get(key, {}).get(name) for row in found]
            known = [value for value in known if value is not None]
            values.append(_percent(float(np.mean(known))) if known else None)
        rows.append([name, *values])
    return DataTable(["class", *(f"{name}: {_BY_CLASS[key]}" for name in names)], rows)


def _percent(value: float) -> WrittenNumber | None:
    return WrittenNumber(value, f"{100 * value:.1f}") if np.isfinite(value) else None


# ---- confusions ---------------------------------------------------------------------


def _confusions(answers: Sequence[Mapping[str, Array]], name: str) -> list[Part]:
    """What the best backbone confuses, over all seeds."""
    classes = answers[0]["classes"].tolist()
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for each in answers:
        np.add.at(counts, (each["true"], each["predicted"]), 1)
    seeds = f", {len(answers)} seeds together" if len(answers) > 1 else ""
    shown, told = _worst(counts)
    some = [classes[i] for i in shown]
    part = counts[np.ix_(shown, shown)]
    share = part / np.maximum(counts[shown].sum(axis=1, keepdims=True), 1)
    figure = heatmap(
        part, some, some, x_title="predicted", y_title="true", shades=np.sqrt(share), span=(0, 1)
    )
    height = min(160 + 30 * len(some), 760)
    chart = Chart(figure, f"Confusions of {name}", height, title=f"{name}: confusions{seeds}{told}")
    return [Beside([chart, _confusion_table(counts, classes)])]


def _worst(counts: Array) -> tuple[list[int], str]:
    """Classes that are shown, and a note if these aren't all."""
    n = len(counts)
    if n <= _MOST_CLASSES:
        return list(range(n)), ""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")
    return sorted(order[:_MOST_CLASSES].tolist()), f", the {_MOST_CLASSES} classes confused most"


def _confusion_table(counts: Array, classes: Sequence[str]) -> DataTable:
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    rows: list[list[CellValue]] = [
        [classes[i], classes[k], int(wrong[i, k]), _percent(wrong[i, k] / counts[i].sum())]
        for i, k in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, k]
    ]
    return DataTable(["is", "predicted", "images", "of the class, %"], rows, "Most frequent")


# ---- numbers ------------------------------------------------------------------------


def _targets(results: Results, rows: Rows, name: str) -> list[Part]:
    """What is true and what the best backbone predicts, for one seed."""
    answers = results.answers(rows[0]["cell"])
    if not answers:
        return [Text(_OLD)]
    n = len(answers["true"])
    true, predicted = (answers[key].reshape(n, -1) for key in ("true", "predicted"))
    charts: list[Part] = []
    for i in range(min(true.shape[1], _MOST_TARGETS)):
        figure = scatter(
            [Points("test images", true[:, i], predicted[:, i])],
            x_title="true",
            y_title="predicted",
        )
        ends = [float(true[:, i].min()), float(true[:, i].max())]
        line = lines([Curve("equal", ends, ends, is_dashed=True)], x_title="", y_title="")
        figure["data"] += line["data"]
        what = f"{name}" + (f", target {i + 1}" if true.shape[1] > 1 else "")
        label = f"Predicted over true numbers of {what}, {metric_title('r2')} of {n} images"
        charts.append(Chart(figure, label, 420, title=what))
    return [Beside(charts)]
