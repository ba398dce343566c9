"""Which images a page shows: the surest mistakes, the doubtful right ones, large residuals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transferkit.report.model.judged_images import JudgedImages
from transferkit.report.page import Gallery, Picture
from transferkit.report.thumbnails import thumbnail

__all__ = ["ShownImage", "case_gallery", "doubtful", "mistakes", "typical"]

_SIDE = 200


@dataclass(frozen=True)
class ShownImage:
    """An image that is shown for one of its predictions.

    Parameters
    ----------
    image : int
        Its position among the measured ones.
    outputs : tuple of int
        Which classes, labels or targets it is about: what was predicted, then what is true if
        that is another one and the model knows it.
    lines : tuple of str
        What is told of it.
    """

    image: int
    outputs: tuple[int, ...]
    lines: tuple[str, ...]


def mistakes(measured: JudgedImages, n: int = 24) -> list[ShownImage]:
    """Choose the worst predictions: the surest mistakes, or the largest residuals.

    Parameters
    ----------
    measured : JudgedImages
        Of any task.
    n : int, default=24
        How many at most. Of several labels an image may be shown for more than one.
    """
    found = measured.found
    if found.task == "regression":
        return _residuals(measured, n, largest=True)
    if found.task == "multilabel":
        wrong = np.argwhere(found.y_true != found.y_pred)
        return _decisions(measured, wrong, n, surest=True)
    return _classified(measured, np.flatnonzero(~found.is_right), n, surest=True)


def doubtful(measured: JudgedImages, n: int = 12) -> list[ShownImage]:
    """Choose right predictions of the least confidence; none where there is no confidence.

    Parameters
    ----------
    measured : JudgedImages
        Of any task.
    n : int, default=12
        How many at most.
    """
    found = measured.found
    if found.proba is None:
        return []
    if found.task == "multilabel":
        right = np.argwhere(found.y_true == found.y_pred)
        return _decisions(measured, right, n, surest=False)
    return _classified(measured, np.flatnonzero(found.is_right), n, surest=False)


def typical(measured: JudgedImages, n: int = 8) -> list[ShownImage]:
    """Choose good predictions: of each class the surest right one, or the smallest residuals.

    Parameters
    ----------
    measured : JudgedImages
        Of any task.
    n : int, default=8
        How many at most; of more classes the commonest.
    """
    found = measured.found
    if found.task == "regression":
        return _residuals(measured, n, largest=False)
    if found.task == "multilabel":
        hits = np.argwhere((found.y_true == 1) & (found.y_pred == 1))
        ranked = _decisions(measured, hits, len(hits), surest=True)
    else:
        right = np.flatnonzero(found.is_right)
        ranked = _classified(measured, right, len(right), surest=True)
    first: dict[int, ShownImage] = {}
    for one in ranked:
        first.setdefault(one.outputs[0], one)
    common = sorted(first, key=lambda j: -int(found.counts.true[j]))[:n]
    return [first[j] for j in sorted(common)]


def _classified(
    measured: JudgedImages, rows: NDArray[np.intp], n: int, *, surest: bool
) -> list[ShownImage]:
    found = measured.found
    confidence = None
    if found.proba is not None:
        confidence = found.proba[rows, found.y_pred[rows]]
        order = np.argsort(-confidence if surest else confidence, kind="stable")[:n]
        rows, confidence = rows[order], confidence[order]
    shown = []
    for k, i in enumerate(rows[:n].tolist()):
        said, true = int(found.y_pred[i]), int(found.y_true[i])
        lines = [f"predicted {measured.labels[said]}"]
        if confidence is not None and found.proba is not None:
            lines[0] += f" ({100 * confidence[k]:.1f} %)"
        if true != said:
            share = ""
            if found.proba is not None and true < found.n_known:
                share = f" ({100 * found.proba[i, true]:.1f} %)"
            lines.append(f"true {measured.labels[true]}{share}")
        outputs = dict.fromkeys([said, *([true] if true < found.n_known else [])])
        shown.append(ShownImage(i, tuple(outputs), tuple(lines)))
    return shown


def _decisions(
    measured: JudgedImages, cells: NDArray[np.intp], n: int, *, surest: bool
) -> list[ShownImage]:
    """Choose among decisions on (image, label)."""
    found = measured.found
    if found.proba is not None:
        p = found.proba[tuple(cells.T)]
        confidence = np.maximum(p, 1 - p)
        order = np.argsort(-confidence if surest else confidence, kind="stable")
        cells = cells[order]
    shown = []
    for i, j in cells[:n].tolist():
        label = measured.labels[j]
        line = f"{label}: predicted {'yes' if found.y_pred[i, j] else 'no'}"
        if found.proba is not None:
            line += f" (probability {100 * found.proba[i, j]:.1f} %)"
        truth = f"true {'yes' if found.y_true[i, j] else 'no'}"
        shown.append(ShownImage(i, (j,), (line, truth)))
    return shown


def _residuals(measured: JudgedImages, n: int, *, largest: bool) -> list[ShownImage]:
    """Choose images by their residuals, each in units of its target's."""
    found = measured.found
    scale = np.sqrt((found.errors**2).mean(axis=0))
    relative = np.abs(found.errors) / np.where(scale > 0, scale, 1)
    worst = relative.argmax(axis=1)
    rank = relative.max(axis=1)
    rows = np.argsort(-rank if largest else rank, kind="stable")[:n]
    shown = []
    for i in rows.tolist():
        j = int(worst[i])
        true, said = float(found.y_true[i, j]), float(found.y_pred[i, j])
        name = f"{measured.labels[j]}: " if len(measured.labels) > 1 else ""
        lines = (f"{name}predicted {said:.4g}, true {true:.4g}", f"residual {said - true:+.4g}")
        shown.append(ShownImage(i, (j,), lines))
    return shown


def case_gallery(measured: JudgedImages, shown: Sequence[ShownImage], title: str) -> list[Gallery]:
    """Gallery of images; none if there are none, or none can be read any more."""
    pictures = list(_pictures(measured, shown))
    return [Gallery(pictures, title)] if pictures else []


def _pictures(measured: JudgedImages, shown: Iterable[ShownImage]) -> Iterable[Picture]:
    for one in shown:
        picture = measured.picture(one.image, _SIDE)
        if picture is not None:
            name = measured.images.names[one.image]
            yield Picture(thumbnail(picture, _SIDE), name, one.lines)
