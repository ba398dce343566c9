"""What backbones, metrics and numbers of shots are called on a benchmark's page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from transferkit.benchmark import Board
from transferkit.metrics import get, names

__all__ = [
    "metric_title",
    "percent",
    "short_names",
    "shots_title",
    "value_title",
    "with_interval",
]

# Shots of tasks whose images have several classes are images in all.
_OF_MAPS = ("mean_iou", "average_precision")
_TITLES = {"map": "mAP", "r2": "R²"}


def short_names(backbones: Iterable[str]) -> dict[str, str]:
    """Names without the folders that lead to them, where they differ without.

    Examples
    --------
    >>> short_names(["local-dir:/a/b/tiny", "resnet18"])
    {'local-dir:/a/b/tiny': 'tiny', 'resnet18': 'resnet18'}
    >>> short_names(["local-dir:/a/tiny", "local-dir:/b/tiny"])["local-dir:/b/tiny"]
    'b/tiny'
    """
    found = list(dict.fromkeys(backbones))
    parts = {name: name.rstrip("/").split("/") if "dir:" in name else [name] for name in found}
    shown = {name: parts[name][-1] for name in found}
    for n in range(2, max((len(each) for each in parts.values()), default=0) + 1):
        counts = Counter(shown.values())
        for name in found:
            if counts[shown[name]] > 1:
                shown[name] = "/".join(parts[name][-n:])
    return shown


def metric_title(name: str) -> str:
    """Name of a metric as reports have it."""
    if name in _TITLES:
        return _TITLES[name]
    return get(name).title if name in names() else name


def percent(metric: str) -> float:
    """By what a main metric's values are multiplied to be shown: all are in per cent but R²."""
    return 1.0 if metric == "r2" else 100.0


def value_title(metric: str) -> str:
    """Name of a metric with its unit.

    Examples
    --------
    >>> value_title("mean_iou"), value_title("r2")
    ('mean IoU, %', 'R²')
    """
    return metric_title(metric) + ", %" * (metric != "r2")


def shots_title(board: Board) -> str:
    """How much was trained on.

    Examples
    --------
    >>> shots_title(Board("a", "knn", 5, "accuracy", 10, 1, ()))
    '5 images per class'
    """
    if board.shots is None:
        return "all training images"
    what = "image" + "s" * (board.shots != 1)
    return f"{board.shots:,} {what}" + (" in all" if board.metric in _OF_MAPS else " per class")


def with_interval(metric: str, value: float, interval: tuple[float, float]) -> str:
    """Write a value of a main metric with its interval.

    Examples
    --------
    >>> with_interval("accuracy", 0.959, (0.935, 0.974))
    '95.9 % (93.5 to 97.4)'
    """
    low, high = interval
    if metric == "r2":
        return f"{value:.3f} ({low:.3f} to {high:.3f})"
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
