"""Pictures of images with their predictions, of the confusion matrix, and of curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from transferkit.images import ImageSet
    from transferkit.metrics import ClassDetections, DetectionReport

__all__ = ["draw_precision", "draw_predictions"]

_ROWS, _COLUMNS = 4, 6
# With this many classes or more, numbers and names would overlap.
_MAX_NUMBERS, _MAX_NAMES = 16, 40
_MAX_CURVES = 10
_RIGHT, _WRONG = "#1a7f37", "#cf222e"


def draw_predictions(
    images: ImageSet, truth: Sequence[object], predicted: Sequence[object], path: Path
) -> None:
    """Draw held-out images with their predictions, and the confusion matrix.

    Parameters
    ----------
    images : ImageSet
        Images that the model wasn't trained on.
    truth, predicted : sequence
        The label of each, and the predicted one.
    path : Path
        The PNG file.
    """
    true, said = list(map(str, truth)), list(map(str, predicted))
    figure = Figure(figsize=(13, 5.6), dpi=100, layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1.15, 1))
    left, right = parts
    _draw_images(left, images, true, said)
    _draw_confusions(right, true, said)
    figure.savefig(path)


def _draw_images(figure: Any, images: ImageSet, truth: list[str], predicted: list[str]) -> None:
    """Draw some images, first those that are predicted wrong."""
    from transferkit.images import content_of, read_rgb

    wrong = [i for i, (t, p) in enumerate(zip(truth, predicted, strict=True)) if t != p]
    right = sorted(set(range(len(truth))) - set(wrong))
    n_shown = _ROWS * _COLUMNS
    shown = wrong[: n_shown // 4]
    n_more = min(n_shown - len(shown), len(right))
    shown += [right[i * len(right) // n_more] for i in range(n_more)]
    accuracy = 1 - len(wrong) / len(truth)
    figure.suptitle(f"{len(truth):,} held-out images, {100 * accuracy:.1f} % right")
    for axes, i in zip(figure.subplots(_ROWS, _COLUMNS).flat, shown, strict=False):
        axes.imshow(read_rgb(content_of(images.items[i])))
        is_right = truth[i] == predicted[i]
        title = predicted[i] if is_right else f"{predicted[i]} (is {truth[i]})"
        axes.set_title(title, fontsize=9, color=_RIGHT if is_right else _WRONG)
    for axes in figure.axes:
        axes.set_axis_off()


def _draw_confusions(figure: Any, truth: list[str], predicted: list[str]) -> None:
    from sklearn.metrics import confusion_matrix

    labels = sorted(set(truth) | set(predicted))
    counts = confusion_matrix(truth, predicted, labels=labels)
    axes = figure.subplots()
    axes.imshow(np.sqrt(counts), cmap="Blues")  # the root, so that single errors can be seen
    axes.set(xlabel="predicted", ylabel="true", title="confusion matrix")
    if len(labels) <= _MAX_NAMES:
        axes.set_xticks(range(len(labels)), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
        axes.set_yticks(range(len(labels)), labels)
    if len(labels) <= _MAX_NUMBERS:
        for i, j in np.argwhere(counts):
            dark = counts[i, j] > counts.max() / 4
            axes.text(j, i, counts[i, j], ha="center", va="center", color="w" if dark else "k")


def draw_precision(report: DetectionReport, path: Path) -> None:
    """Draw precision over recall of a detection's classes, with points at the chosen threshold.

    Of many classes only the ten with the most objects have a colour and stand in the legend.

    Parameters
    ----------
    report : DetectionReport
        From `transferkit.metrics.detection_report`.
    path : Path
        The PNG file.
    """
    figure = Figure(figsize=(7, 5.6), dpi=100, layout="constrained")
    axes: Any = figure.subplots()
    rows = sorted((row for row in report.classes if row.curve), key=lambda row: -row.objects)
    for row in rows[_MAX_CURVES:]:
        axes.plot(*_curve_of(row), color="0.8", linewidth=0.8)
    for i, row in enumerate(rows[:_MAX_CURVES]):
        colour, label = f"C{i}", f"{row.label}  {100 * (row.ap50 or 0):.1f}"
        axes.plot(*_curve_of(row), color=colour, label=label)
        if row.precision is not None and row.recall is not None:
            axes.plot(row.recall, row.precision, "o", color=colour)
    at = "" if report.chosen is None else f"; dots: scores from {report.chosen.threshold:.2f} on"
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"overlap of 0.5{at}")
    axes.grid(color="0.9")
    if rows:
        axes.legend(title="class, AP50 in %", loc="lower left")
    figure.savefig(path)


def _curve_of(row: ClassDetections) -> tuple[list[float], list[float]]:
    """Recalls and precisions, from recall 0 at the first precision on."""
    points = [(point.recall, point.precision) for point in row.curve]
    recalls, precisions = zip((0.0, points[0][1]), *points, strict=True)
    return list(recalls), list(precisions)
