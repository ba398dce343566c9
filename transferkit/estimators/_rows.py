"""Rows that a head is fitted on, and which of them choose its hyper-parameters."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.datasets import blocks_of, hold_out, keep_apart

__all__ = ["Rows", "checked_rows", "checked_weights", "kept_apart", "own_hold_out"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Rows:
    """Features with their targets and, where known, row ids and groups.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    ids, groups : list, optional
        Row ids; what each image is one of several of.
    kept : ndarray of int, optional
        Positions of the rows among the images that were given.
    """

    X: np.ndarray
    y: np.ndarray
    ids: list[bytes] | None = None
    groups: list[Hashable] | None = None
    kept: np.ndarray | None = None

    def select(self, at: np.ndarray) -> Rows:
        """Return the rows at these positions."""
        ids, groups = (
            None if values is None else [values[i] for i in at]
            for values in (self.ids, self.groups)
        )
        return Rows(self.X[at], self.y[at], ids, groups)

    def joined(self, others: Rows) -> Rows:
        """Return these rows, and others behind them."""
        return Rows(
            np.concatenate([self.X, others.X]),
            np.concatenate([self.y, others.y]),
            _joined(self.ids, others.ids),
            _joined(self.groups, others.groups),
        )


def _joined(first: list[Any] | None, second: list[Any] | None) -> list[Any] | None:
    return None if first is None or second is None else first + second


def checked_rows(parts: list[tuple[np.ndarray, np.ndarray]], ids: Any, groups: Any) -> list[Rows]:
    """Rows of each part; ids and groups are those of all parts in their order."""
    for X, y in parts:
        if X.ndim != 2 or len(X) != len(y):
            raise ValueError(f"features of shape {X.shape} and {len(y)} targets; give (n, d) and n")
    edges = np.cumsum([0, *(len(y) for _, y in parts)]).tolist()
    for what, values in (("ids", ids), ("groups", groups)):
        if values is not None and len(values) != edges[-1]:
            raise ValueError(f"{len(values)} {what} for {edges[-1]} rows; give one per row")
    return [
        Rows(
            X,
            y,
            None if ids is None else list(ids[start:stop]),
            None if groups is None else list(groups[start:stop]),
        )
        for (X, y), start, stop in zip(parts, edges[:-1], edges[1:], strict=True)
    ]


def checked_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Sample weights as an array, one for each of n images."""
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


def kept_apart(train: Rows, held: Rows) -> tuple[Rows, Rows | None]:
    """Rows to choose by that are none of the training rows; the others are trained on."""
    ids, groups = _joined(train.ids, held.ids), _joined(train.groups, held.groups)
    n, every = len(train.X), np.arange(len(train.X) + len(held.X))
    apart, others = keep_apart(every[:n], every[n:], ids, groups)
    if not others:
        return train, held
    logger.warning(
        "of %s validation images %s: these are trained on, and choose nothing",
        f"{len(held.X):,}",
        " and ".join(f"{count:,} {why}" for why, count in others.items()),
    )
    moved = np.setdiff1d(every[n:], apart)
    left = held.select(apart - n) if len(apart) else None
    return train.joined(held.select(moved - n)), left


def own_hold_out(
    head: Any, rows: Rows, targets: np.ndarray, weight: np.ndarray | None, *, is_classes: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions to train on and to choose by, where the head's own draw would not do.

    A head knows nothing of groups and copies. Where there are none, where it draws nothing, or
    folds, and where rows are weighed (rows to choose by have no weights) the draw is left to it.

    Parameters
    ----------
    head : estimator
        Not fitted yet.
    rows : Rows
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
    blocks = blocks_of(rows.ids, rows.groups)
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
