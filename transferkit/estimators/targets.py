"""Turn the arguments of `fit` into training images, targets and a validation part."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import clone

from transferkit.datasets import roles_of
from transferkit.images import ImageSet, list_images
from transferkit.images.labels import warn_of_lookalikes
from transferkit.registry import unknown
from transferkit.tasks import task_of
from transferkit.tasks._validation import check_not_missing

__all__ = ["column_names", "renamed_class_weights", "targets_of", "training_parts", "with_groups"]

logger = logging.getLogger(__name__)


def training_parts(
    images: Any, y: Any, validation: Any, task: str
) -> tuple[Any, np.ndarray, tuple[Any, np.ndarray] | None]:
    """Return the training images and targets, and the validation part if there is one."""
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
            # NumPy would turn the numbers into strings without a warning.
            raise ValueError(
                f"the training labels are of type {labels.dtype} and the validation labels of "
                f"type {held[1].dtype}; give labels of the same type"
            )
    return images, labels, held


def renamed_class_weights(head: Any, names: dict[Any, Any]) -> Any:
    """Rename the keys of a head's dictionaries of class weights.

    The head sees classes by number, whereas a user writes the weights by label.

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
    """Give images their groups. With None they are returned unchanged."""
    if groups is None:
        return images
    return dataclasses.replace(list_images(images), groups=tuple(np.asarray(groups, object)))


def _counted(images: Any) -> Any:
    """List a folder, table, data set or generator, so that the number of images is known."""
    return images if isinstance(images, np.ndarray) else list_images(images)


def targets_of(images: Any, y: Any, part: str, task: str) -> np.ndarray:
    """Return the targets as an array, one row per image.

    Parameters
    ----------
    images
        The images; their own labels are taken if `y` is None.
    y : array-like or None
        Labels of shape (n,), an indicator matrix (n, n_labels) of 0 and 1, or numbers.
    part : str
        What the images are, for the message.
    task : str
        What is to be learnt: a name of `transferkit.tasks.asked_names`.

    Raises
    ------
    ValueError
        If there are no labels, not one per image, or they don't suit the task.
    """
    names = images.names if isinstance(images, ImageSet) else None
    asked = task_of(task)
    if y is not None and asked.has_classes:
        check_not_missing(y, names)
    values = np.asarray(_own_labels(images, part) if y is None else y)
    n_images = len(images) if hasattr(images, "__len__") else None
    if n_images is not None and len(values) != n_images:
        raise ValueError(f"{n_images} {part} images, but {len(values)} labels; give one per image")
    if values.ndim > 2:
        raise ValueError(f"labels of shape {values.shape}; give (n,) or (n, n_labels)")
    meant = asked.of_targets(values)
    targets = meant.targets(values, names)
    if y is not None and meant.has_one_class:
        # Those of a folder or table were looked at when it was listed.
        warn_of_lookalikes(
            label for label in targets.reshape(-1).tolist() if isinstance(label, str)
        )
    return targets


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


def column_names(images: Any, y: np.ndarray, *, is_own: bool) -> Sequence[str] | None:
    """Names of the images' label columns, or None if the targets come from elsewhere.

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
