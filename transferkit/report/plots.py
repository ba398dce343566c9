"""Pictures of images with their predictions, and of the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from transferkit.images import ImageSet

__all__ = ["draw_predictions"]

_ROWS, _COLUMNS = 4, 6
# With this many classes or more, numbers and names would overlap.
_MAX_NUMBERS, _MAX_NAMES = 16, 40
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
