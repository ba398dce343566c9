"""Images, or objects, of each class in each part of a data set."""

from __future__ import annotations

from collections import Counter

import numpy as np

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.images import ImageSet
from transferkit.images.imageset import Label

__all__ = ["ALL", "class_balance", "missing_classes", "object_balance"]

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
        own = _classes(label, images.label_names)
        parts.setdefault(_part(images, i), Counter()).update(own)
    names = sorted(set().union(*parts.values()))
    return {part: {name: counts[name] for name in names} for part, counts in parts.items()}


def object_balance(images: ImageSet, annotations: AnnotationSet) -> dict[str, dict[str, int]]:
    """Count the objects of each class, by part; of maps, those that show a class.

    Parameters
    ----------
    images : ImageSet
        The images.
    annotations : AnnotationSet
        One for each of them; what can't be read doesn't count.

    Examples
    --------
    >>> one = Annotations((9, 9), boxes=np.array([[0, 0, 9, 9]] * 2), labels=np.array([1, 1]))
    >>> object_balance(ImageSet((b"",), ("1",)), AnnotationSet(["cell", "plate"], [one]))
    {'all': {'plate': 2}}
    """
    parts: dict[str, Counter[str]] = {name: Counter() for name in images.split_names or (ALL,)}
    for i in np.flatnonzero(annotations.is_annotated).tolist():
        own = [annotations.classes[number] for number in _classes_on(annotations, i)]
        parts.setdefault(_part(images, i), Counter()).update(own)
    names = [name for name in annotations.classes if any(counts[name] for counts in parts.values())]
    return {part: {name: counts[name] for name in names} for part, counts in parts.items()}


def _classes_on(annotations: AnnotationSet, image: int) -> list[int]:
    """Class of each object of an image, or the classes of its pixels."""
    try:
        one: Annotations = annotations[image]
    except (ValueError, OSError):  # the finding of a faulty annotation says why
        return []
    if one.labels is not None:
        return [int(number) for number in one.labels]
    if one.map is None:
        return []
    return [int(number) for number in np.unique(one.map[one.map >= 0])]


def _part(images: ImageSet, image: int) -> str:
    return ALL if images.splits is None else images.splits[image] or "no split"


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
