"""Prepare the rows that a head is fitted on, and those that choose its hyper-parameters."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from typing import Any

import numpy as np

from transferkit.datasets import Dataset, hold_out, is_unread, keep_apart
from transferkit.estimators.targets import targets_of
from transferkit.heads import describe, head_names
from transferkit.memory import available_memory

__all__ = [
    "as_the_head_reads",
    "checked_weights",
    "kept_apart",
    "labelled_rows",
    "own_hold_out",
    "takes_validation",
    "with_ids",
]

logger = logging.getLogger(__name__)

# Of the available memory, for features that a head needs in memory.
LARGEST_SHARE = 0.5


def labelled_rows(X: Any, y: Any, part: str, task: str) -> Dataset:
    """Make a `Dataset` of features and their targets.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), unread rows, or Dataset
        Features; or features with the images, whose labels are taken if it has no targets.
    y : array-like or None
        Targets, as for `targets_of`; None for the data set's own.
    part : str
        What the rows are, for the message.
    task : str
        What is to be learnt.

    Raises
    ------
    ValueError
        If the targets don't suit the task, or aren't one per row.
    """
    if isinstance(X, Dataset):
        own = y
        if y is None and (X.y is not None or X.images is None):
            own = X.targets
        return X.with_targets(targets_of(X.images, own, part, task))
    X, targets = X if is_unread(X) else np.asarray(X), targets_of(None, y, part, task)
    if X.ndim != 2 or len(X) != len(targets):
        raise ValueError(
            f"features of shape {X.shape} and {len(targets)} targets; give (n, d) and n"
        )
    return Dataset(X=X, y=targets)


def with_ids(parts: list[Dataset], ids: Any, groups: Any) -> list[Dataset]:
    """Add row ids and groups, given for all parts one after another; None changes nothing."""
    edges = np.cumsum([0, *map(len, parts)]).tolist()
    told: dict[str, Any] = {}
    for what, values in (("ids", ids), ("groups", groups)):
        if values is None:
            continue
        if len(values) != edges[-1]:
            raise ValueError(f"{len(values)} {what} for {edges[-1]} rows; give one per row")
        told[what] = tuple(values)
    return [
        dataclasses.replace(part, **{w: values[start:stop] for w, values in told.items()})
        for part, start, stop in zip(parts, edges[:-1], edges[1:], strict=True)
    ]


def checked_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Check that there is one weight for each of n images, and return them as an array."""
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight)
    if weight.shape[:1] != (n,):
        raise ValueError(
            f"sample_weight has {weight.size} values for {n} images; give one per image"
        )
    return weight


def takes_validation(head: Any) -> bool:
    """Whether a head's `fit` takes rows that choose its hyper-parameters."""
    return "validation" in inspect.signature(head.fit).parameters


def kept_apart(train: Dataset, held: Dataset) -> tuple[Dataset, Dataset | None]:
    """Move validation rows that are among the training rows to the training part."""
    n, every = len(train), np.arange(len(train) + len(held))
    ids, groups = (
        None if own is None or others is None else own + others
        for own, others in ((train.ids, held.ids), (train.groups, held.groups))
    )
    apart, left_out = keep_apart(every[:n], every[n:], ids, groups)
    if not left_out:
        return train, held
    logger.warning(
        "of %s validation images %s: these are trained on, and choose nothing",
        f"{len(held):,}",
        " and ".join(f"{count:,} {why}" for why, count in left_out.items()),
    )
    moved = np.setdiff1d(every[n:], apart)
    left = held.select(apart - n) if len(apart) else None
    return train.joined(held.select(moved - n)), left


def as_the_head_reads(head: Any, part: Dataset) -> Dataset:
    """Return a part whose features the head can read: all at once, unless it `streams`.

    Parameters
    ----------
    head : estimator
        Which is fitted on them.
    part : Dataset
        Its features are an array, or rows that aren't read yet.

    Raises
    ------
    ValueError
        If the head can't read them block by block, and they don't fit into memory.
    """
    if not is_unread(part.X) or getattr(head, "streams", False):
        return part
    limit = available_memory() * LARGEST_SHARE
    if part.X.nbytes > limit:
        streaming = [name for name in head_names() if describe(name).streams]
        raise ValueError(
            f"the features take {part.X.nbytes / 1e9:.1f} GB, more than half of the memory "
            f"available ({limit / LARGEST_SHARE / 1e9:.1f} GB), and {type(head).__name__} needs "
            f"them in memory; choose a head that reads them block by block "
            f"({', '.join(streaming)}), or give fewer images"
        )
    return dataclasses.replace(part, X=np.asarray(part.X))


def own_hold_out(
    head: Any,
    rows: Dataset,
    targets: np.ndarray,
    weight: np.ndarray | None,
    *,
    is_classes: bool,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Hold out rows for the head, where its own draw would separate groups or copies.

    A head knows nothing of groups and copies. The draw is left to the head if there are neither,
    if it draws no share of the rows, or if there are sample weights, because rows that are held
    out here would have none.

    Parameters
    ----------
    head : estimator
        Not fitted yet.
    rows : Dataset
        All training rows.
    targets : ndarray
        As the head takes them.
    weight : ndarray or None
        Sample weights.
    is_classes : bool
        Whether the targets are class numbers.

    Returns
    -------
    (ndarray of int, ndarray of int), or None
        None leaves the draw to the head.
    """
    share = getattr(head, "validation_fraction", None)
    draws = isinstance(share, float) and getattr(head, "folds", None) is None
    blocks = rows.blocks
    if blocks is None or weight is not None or not draws or not takes_validation(head):
        return None
    assert isinstance(share, float)
    seed = getattr(head, "random_state", None)
    try:
        train, held = hold_out(
            len(targets),
            share,
            seed if isinstance(seed, int) else 0,
            labels=targets if is_classes else None,
            blocks=blocks,
        )
    except ValueError as error:
        logger.warning("hyper-parameters are chosen without regard to groups: %s", error)
        return None
    return (train, held) if len(held) else None
