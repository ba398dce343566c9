"""ROC and precision over recall of labels that are ranked by their probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from transferkit.report.captions import caption
from transferkit.report.page import Chart

__all__ = ["ranking_charts"]

_MOST_LABELS, _MOST_POINTS = 10, 200
_GREY = "var(--soft)"


def ranking_charts(
    true: NDArray[Any], scores: NDArray[Any], labels: Sequence[str]
) -> tuple[list[Chart], str]:
    """Draw the ROC and the precision over recall of each label.

    Parameters
    ----------
    true, scores : ndarray of shape (n_samples, n_labels)
        0 and 1; larger means more likely 1.
    labels : sequence of str
        Their names.

    Returns
    -------
    (list of Chart, str)
        Both charts, or none if no label is there on some images and missing on others; and
        which labels are shown, if not all are.
    """
    share = true.mean(axis=0)
    known = np.flatnonzero((share > 0) & (share < 1))
    shown = np.sort(known[np.argsort(-share[known], kind="stable")[:_MOST_LABELS]])
    if not len(shown):
        return [], ""
    note = ""
    if len(known) > len(shown):
        note = f"The {len(shown)} commonest of {len(known)} labels are drawn. "
    if len(known) < len(labels):
        note += f"{len(labels) - len(known)} labels that all or no images have have no curve."
    roc = [_roc(true[:, j], scores[:, j], labels[j]) for j in shown]
    chance = {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "showlegend": False}
    chance |= {"line": {"color": _GREY, "dash": "dash", "width": 1.5}, "hoverinfo": "skip"}
    recall = [_precision(true[:, j], scores[:, j], labels[j]) for j in shown]
    return [
        _chart([*roc, chance], "share of the others taken for it", "share found", "ROC curves"),
        _chart(recall, "recall", "precision", "Precision over recall"),
    ], note.strip()


def _roc(true: NDArray[Any], scores: NDArray[Any], label: str) -> dict[str, Any]:
    false_positive, found, _ = roc_curve(true, scores)
    area = roc_auc_score(true, scores)
    return _curve(false_positive, found, f"{caption(label, 30)}  AUROC {area:.3f}")


def _precision(true: NDArray[Any], scores: NDArray[Any], label: str) -> dict[str, Any]:
    precision, recall, _ = precision_recall_curve(true, scores)
    area = average_precision_score(true, scores)
    return _curve(recall[::-1], precision[::-1], f"{caption(label, 30)}  AP {area:.3f}")


def _curve(x: NDArray[Any], y: NDArray[Any], name: str) -> dict[str, Any]:
    at = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MOST_POINTS)).round().astype(int))
    return {"type": "scatter", "mode": "lines", "x": x[at], "y": y[at], "name": name}


def _chart(traces: list[dict[str, Any]], x: str, y: str, what: str) -> Chart:
    unit = {"range": [-0.01, 1.01]}
    layout: dict[str, Any] = {"xaxis": {**unit, "title": {"text": x}}, "showlegend": True}
    layout["yaxis"] = {**unit, "title": {"text": y}}
    layout["legend"] = {"orientation": "h", "yanchor": "top", "y": -0.2}
    names = ", ".join(trace["name"] for trace in traces if "name" in trace)
    return Chart({"data": traces, "layout": layout}, f"{what}: {names}", height=440)
