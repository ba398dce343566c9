"""Training images and what is to be learnt of them, from what `fit` is given."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.multiclass import check_classification_targets

from transferkit.datasets import roles_of
from transferkit.images import ImageSet, list_images
from transferkit.images.labels import warn_of_lookalikes
from transferkit.images.sources.items import is_missing
from transferkit.registry import unknown

__all__ = ["column_names", "renamed_class_weights", "targets_of", "training_parts", "with_groups"]

logger = logging.getLogger(__name__)


def training_parts(
    images: Any, y: Any, validation: Any, task: str
) -> tuple[Any, np.ndarray, tuple[Any, np.ndarray] | None]:
    """Training images and targets, and the validation part if there is one."""
    if isinstance(validation, ImageSet):
        validation = (validation, None)
    if y is None:
        images = list_images(images)
        if images.split_names and "train" not in images.split_names and len(set(images.splits)) > 1:
            raise ValueError(
                f"the images have splits ({', '.join(images.split_names)}), but none is 'train'; "
                f"name one so, or choose with ImageSet.split"
            )
        if "train" in images.split_names:
            n_without = (images.splits or ()).count(None)
            if n_without:
                logger.warning(
                    "%d of %d images are in no split and are left out", n_without, len(images)
                )
            roles = roles_of(images.split_names)
            if validation is None and roles.validation is not None:
                validation = (images.split(roles.validation), None)
            if roles.measured == "val":
                logger.info("there is no test part: val is left to measure the model with")
            images = images.split("train")
    images = _counted(images)
    labels = targets_of(images, y, "training", task)
    held = None
    if validation is not None:
        held_images, held_y = validation
        held_images = list_images(held_images) if held_y is None else _counted(held_images)
        held = held_images, targets_of(held_images, held_y, "validation", task)
        if labels.shape[1:] != held[1].shape[1:]:
            raise ValueError(
                f"the training labels have shape {labels.shape} and the validation labels "
                f"{held[1].shape}; give the same columns"
            )
        kinds = labels.dtype.kind, held[1].dtype.kind
        if "U" in kinds and set(kinds) - {"U", "O"}:
            # NumPy would turn the numbers into strings without a word.
            raise ValueError(
                f"the training labels are of type {labels.dtype} and the validation labels of "
                f"type {held[1].dtype}; give labels of the same type"
            )
    return images, labels, held


def renamed_class_weights(head: Any, names: dict[Any, Any]) -> Any:
    """Give a head whose dictionaries of class weights have other keys.

    The head sees classes by number, and whoever writes weights knows them by label.

    Parameters
    ----------
    head : estimator
        Not changed; given back as it is if it has no such dictionary.
    names : dict
        New key of every old one; on the command line a key is always a string, so strings
        stand for the label that is written so.

    Raises
    ------
    ValueError
        If a key is no class.
    """
    known = {str(name): name for name in names}
    changed: dict[str, dict[Any, Any]] = {}
    for parameter, weights in head.get_params(deep=True).items():
        if parameter.rpartition("__")[2] != "class_weight" or not isinstance(weights, dict):
            continue
        changed[parameter] = {}
        for name, weight in weights.items():
            if name not in names and not (isinstance(name, str) and name in known):
                raise unknown("class in class_weight:", name, sorted(known))
            changed[parameter][names[name if name in names else known[name]]] = weight
    return clone(head).set_params(**changed) if changed else head


def with_groups(images: Any, groups: Any) -> Any:
    """Images with what each is one of several of; as they are if `groups` is None."""
    if groups is None:
        return images
    return dataclasses.replace(list_images(images), groups=tuple(np.asarray(groups, object)))


def _counted(images: Any) -> Any:
    """Images whose number is known: a folder, table, data set or generator as what it holds."""
    return images if isinstance(images, np.ndarray) else list_images(images)


def targets_of(images: Any, y: Any, part: str, task: str) -> np.ndarray:
    """Targets as an array, one row per image.

    Parameters
    ----------
    images
        The images; their own labels are taken if `y` is None.
    y : array-like or None
        Labels of shape (n,), an indicator matrix (n, n_labels) of 0 and 1, or numbers.
    part : str
        What the images are, for the message.
    task : {"classification", "regression"}
        What is to be learnt.

    Raises
    ------
    ValueError
        If there are no labels, not one per image, or they don't suit the task.
    """
    names = images.names if isinstance(images, ImageSet) else None
    if y is not None and task == "classification":
        _check_missing(y, names)
    targets = np.asarray(_own_labels(images, part) if y is None else y)
    n_images = len(images) if hasattr(images, "__len__") else None
    if n_images is not None and len(targets) != n_images:
        raise ValueError(f"{n_images} {part} images, but {len(targets)} labels; give one per image")
    if targets.ndim > 2:
        raise ValueError(f"labels of shape {targets.shape}; give (n,) or (n, n_labels)")
    if task == "regression":
        return _numbers(targets, names, "give a number for each image")
    if targets.ndim == 2 and targets.shape[1] > 1:
        matrix = _numbers(targets, names, "give 0 or 1 for each label")
        if not np.isin(matrix, (0, 1)).all():
            row, column = np.argwhere(~np.isin(matrix, (0, 1)))[0]
            raise ValueError(
                f"several labels per image are columns of 0 and 1, but column {column} of "
                f"{_image(row, names)} is {matrix[row, column]:g}; numbers are learnt by "
                f"regression (--task regression, TransferRegressor)"
            )
        return matrix.astype(np.int64)
    _check_classes(targets, names)
    if y is not None:  # those of a folder or table were looked at when it was listed
        warn_of_lookalikes(
            label for label in targets.reshape(-1).tolist() if isinstance(label, str)
        )
    return targets


def _check_missing(y: Any, names: Any) -> None:
    """Raise a ValueError for a label that NumPy would turn into a text, or unmask."""
    values = y if isinstance(y, list | tuple) else ()
    if isinstance(y, np.ma.MaskedArray):
        values = [None if is_masked else 0 for is_masked in np.ma.getmaskarray(y).reshape(-1)]
    for i, value in enumerate(values):
        if is_missing(value):
            raise ValueError(f"the label of {_image(i, names)} is {value!r}; give it a label")


def _check_classes(targets: np.ndarray, names: Any) -> None:
    """Raise a ValueError unless the targets are labels of one kind, one for each image."""
    flat = targets.reshape(-1)
    values = flat.tolist()
    for i, value in enumerate(values):
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            raise ValueError(f"the label of {_image(i, names)} is {value!r}; give it a label")
    if len({isinstance(value, str) for value in values}) > 1:
        odd = next(
            i for i, v in enumerate(values) if isinstance(v, str) != isinstance(values[0], str)
        )
        raise ValueError(
            f"the label of {_image(0, names)} is {values[0]!r} and that of {_image(odd, names)} is "
            f"{values[odd]!r}; give all as strings or all as numbers"
        )
    check_classification_targets(targets)


def _image(index: int, names: Any) -> str:
    return f"image {index}" if names is None else repr(names[index])


def _own_labels(images: ImageSet, part: str) -> Any:
    if images.labels is None:
        raise ValueError(
            f"the {part} images have no labels; put each class into a folder of its own, or "
            f"name the CSV's column of labels (--label-column NAME, or --labels A,B for several; "
            f"in Python list_images(…, label_column=NAME), or y)"
        )
    without = [
        name
        for name, label in zip(images.names, images.labels, strict=True)
        if label is None or (isinstance(label, tuple) and None in label)
    ]
    if without:
        raise ValueError(
            f"{len(without)} of {len(images)} {part} images have no label (the first: "
            f"{without[0]!r}); move them into a class's folder, or fill in the CSV's column"
        )
    return images.labels


def _numbers(targets: np.ndarray, names: Any, advice: str) -> np.ndarray:
    """Targets as float64; texts, as a CSV gives them, are read as numbers."""
    try:
        numbers = targets.astype(np.float64)
        is_good = np.isfinite(numbers.reshape(len(numbers), -1)).all(axis=1)
    except (TypeError, ValueError):
        is_good = np.array([_is_number(row) for row in targets])
    if not is_good.all():
        at = int(np.argmin(is_good))
        name = _image(at, names)
        value = np.asarray(targets[at]).tolist()
        raise ValueError(f"the label of {name} is {value!r}; {advice}")
    return numbers


def _is_number(row: Any) -> bool:
    try:
        np.asarray(row).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True


def column_names(images: Any, y: np.ndarray, *, is_own: bool) -> Sequence[str] | None:
    """Names of the label columns of the images, unless the targets come from elsewhere.

    Parameters
    ----------
    images
        What was listed, or given.
    y : ndarray
        The targets.
    is_own : bool
        Whether the targets are the images' own labels.
    """
    names: Sequence[str] = getattr(images, "label_names", None) or ()
    n_columns = y.shape[1] if y.ndim == 2 else 1
    return names if (is_own or len(names) > 1) and len(names) == n_columns else None
