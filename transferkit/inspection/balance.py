"""Images of each class in each part of a data set."""

from __future__ import annotations

from collections import Counter

from transferkit.images import ImageSet
from transferkit.images.imageset import Label

__all__ = ["ALL", "class_balance", "missing_classes"]

ALL = "all"
"""Name of the part where a data set has no splits."""


def class_balance(images: ImageSet) -> dict[str, dict[str, int]]:
    """Count the images of each class, by part; of several labels, those that have each.

    Examples
    --------
    >>> images = ImageSet((b"", b""), ("1", "2"), ("cat", "dog"), ("train", "test"))
    >>> class_balance(images)
    {'train': {'cat': 1, 'dog': 0}, 'test': {'cat': 0, 'dog': 1}}
    """
    if images.labels is None:
        return {}
    parts: dict[str, Counter[str]] = {name: Counter() for name in images.split_names or (ALL,)}
    for i, label in enumerate(images.labels):
        part = ALL if images.splits is None else images.splits[i] or "no split"
        parts.setdefault(part, Counter()).update(_classes(label, images.label_names))
    names = sorted(set().union(*parts.values()))
    return {part: {name: counts[name] for name in names} for part, counts in parts.items()}


def missing_classes(balance: dict[str, dict[str, int]]) -> dict[str, list[str]]:
    """Classes that a part has no image of.

    Examples
    --------
    >>> missing_classes({"train": {"cat": 1, "dog": 2}, "test": {"cat": 0, "dog": 1}})
    {'test': ['cat']}
    """
    lacking = {part: [n for n, count in own.items() if not count] for part, own in balance.items()}
    return {part: names for part, names in lacking.items() if names}


def _classes(label: Label, names: tuple[str, ...] | None) -> list[str]:
    if label is None:
        return []
    if not isinstance(label, tuple):
        return [label]
    columns = names or tuple(map(str, range(len(label))))
    return [name for name, value in zip(columns, label, strict=True) if _is_set(value)]


def _is_set(value: str | None) -> bool:
    try:
        return value is not None and float(value) != 0
    except ValueError:
        return True
