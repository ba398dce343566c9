"""The only place that splits: hold-outs and folds, at random, in equal shares and by blocks.

Functions of labels, blocks and positions; nothing here reads an image.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.utils import check_random_state

__all__ = [
    "deal_stratified",
    "draw_share",
    "draw_shots",
    "draw_stratified",
    "draw_unstratified",
    "folds",
    "hold_out",
]

Array = NDArray[Any]
# A share is held out as so many of at most this many folds.
_MOST_FOLDS = 20


def hold_out(
    n: int, share: float, seed: int, *, labels: Any = None, blocks: Array | None = None
) -> tuple[Array, Array]:
    """Divide n images at random into those trained on and those held out.

    Parameters
    ----------
    n : int
        How many.
    share : float or int
        Share or number of the images that is held out.
    seed : int
        Of the draw.
    labels : sequence, optional
        Classes, of each of which the same share is held out.
    blocks : ndarray of int, optional
        From `blocks_of`; blocks stay whole, and the share is met as nearly as they allow.

    Returns
    -------
    ndarray of int, ndarray of int
        Positions, each in order. Without blocks it is scikit-learn's ``train_test_split``.

    Raises
    ------
    ValueError
        If the share leaves one side empty, or a class can't be on both sides.

    Examples
    --------
    >>> train, held = hold_out(10, 0.2, 0, labels=list("aaaaabbbbb"))
    >>> len(train), len(held)
    (8, 2)
    """
    if blocks is None:
        train, held = train_test_split(
            np.arange(n), test_size=share, random_state=seed, stratify=labels
        )
        # In the images' order: what a head makes of its rows must not depend on the draw.
        return np.sort(train), np.sort(held)
    n_blocks = int(blocks.max()) + 1
    if n_blocks < 2:
        raise ValueError(f"all {n} images are of one group, of which none can be held out")
    part = Fraction(share if isinstance(share, float) else share / n)
    part = part.limit_denominator(min(_MOST_FOLDS, n_blocks))
    if not 0 < part < 1:
        part = Fraction(1 if part == 0 else n_blocks - 1, n_blocks)
    codes = _codes(n, labels)
    fold = _deal(blocks, codes, part.denominator, seed)
    is_held = fold < part.numerator
    # A class that is all of one group can't be on both sides, and is trained on.
    lost = np.setdiff1d(codes, codes[~is_held])
    is_held &= ~np.isin(blocks, blocks[np.isin(codes, lost)])
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def folds(
    n: int, n_folds: int, seed: int, *, labels: Any = None, blocks: Array | None = None
) -> Array:
    """Number of the fold in which each of n images is measured.

    Parameters
    ----------
    n, seed, labels, blocks
        As for `hold_out`.
    n_folds : int
        How many, 2 or more.

    Raises
    ------
    ValueError
        If there are fewer images, or blocks, than folds.

    Examples
    --------
    >>> np.bincount(folds(10, 5, 0, labels=list("aaaaabbbbb"))).tolist()
    [2, 2, 2, 2, 2]
    """
    n_blocks = n if blocks is None else int(blocks.max()) + 1
    if n_folds < 2 or n_folds > n_blocks:
        what = "images" if blocks is None else "groups of images"
        raise ValueError(f"{n_folds} folds of {n_blocks} {what}; give 2 to {n_blocks}")
    codes = _codes(n, labels)
    # scikit-learn's stratified folds refuse classes that are smaller than the number of folds.
    if blocks is None and labels is not None and np.bincount(codes).min() < n_folds:
        blocks = np.arange(n)
    if blocks is not None:
        return _deal(blocks, codes, n_folds, seed)
    kind = KFold if labels is None else StratifiedKFold
    fold = np.empty(n, dtype=np.int64)
    splitter = kind(n_folds, shuffle=True, random_state=seed)
    for number, (_, held) in enumerate(splitter.split(codes, codes)):
        fold[held] = number
    return fold


def _codes(n: int, labels: Any) -> Array:
    if labels is None:
        return np.zeros(n, dtype=np.int64)
    return np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)


def _deal(blocks: Array, codes: Array, n_folds: int, seed: int) -> Array:
    """Deal whole blocks over folds, each to the one that has least of its classes.

    As scikit-learn's StratifiedGroupKFold does it, whose time grows with blocks × classes
    (20 s for 50,000 images of 100 classes, where each copy of an image makes a block).
    """
    random = np.random.default_rng(seed)
    n_blocks = int(blocks.max()) + 1
    members = np.split(np.argsort(blocks, kind="stable"), np.cumsum(np.bincount(blocks))[:-1])
    sizes = np.array([len(rows) for rows in members])
    drawn = random.permutation(n_blocks)
    order = drawn[np.argsort(-sizes[drawn], kind="stable")]  # large ones first, while all fit
    filled = np.zeros((n_folds, int(codes.max()) + 1), dtype=np.int64)
    totals, fold = np.zeros(n_folds, dtype=np.int64), np.empty(len(blocks), dtype=np.int64)
    for block in order:
        rows = members[block]
        own = codes[rows]
        chosen = np.lexsort((totals, filled[:, own].sum(axis=1)))[0]
        fold[rows] = chosen
        np.add.at(filled[chosen], own, 1)
        totals[chosen] += len(rows)
    return np.asarray(random.permutation(n_folds)[fold])


# ---- the draws of heads that are given no validation part ---------------------------


def draw_stratified(codes: Array, fraction: float, random_state: Any) -> Array | None:
    """Draw a share of every class that has two samples or more.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class numbers from 0.
    fraction : float
        Share of each class; at least one sample is drawn and at least one stays.
    random_state : int, RandomState or None
        As in scikit-learn.

    Returns
    -------
    ndarray of bool of shape (n_samples,), or None
        The rows held out; None where fewer than two classes have two samples.

    Examples
    --------
    >>> draw_stratified(np.array([0, 0, 1, 1, 2]), 0.2, 0).sum()
    np.int64(2)
    >>> draw_stratified(np.array([0, 0, 1, 2]), 0.2, 0) is None
    True
    """
    counts = np.bincount(codes)
    if (counts >= 2).sum() < 2:
        return None
    taken = np.clip(np.round(fraction * counts), 1, np.maximum(counts - 1, 0)).astype(int)
    order = check_random_state(random_state).permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    first = np.cumsum(counts) - counts
    rank = np.arange(len(codes)) - np.repeat(first, counts)
    held = np.zeros(len(codes), dtype=bool)
    held[by_class] = rank < np.repeat(taken, counts)
    return held


def deal_stratified(codes: Array, n_folds: int, random_state: Any) -> Array:
    """Deal the rows of each class over folds in turn.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,)
        Class numbers from 0.
    n_folds : int
        Number of folds.
    random_state : int, RandomState or None
        As in scikit-learn.

    Returns
    -------
    ndarray of int of shape (n_samples,)
        Number of each row's fold.

    Examples
    --------
    >>> folds = deal_stratified(np.array([0, 0, 1, 1]), 2, 0)
    >>> np.bincount(folds).tolist(), int(folds[0] + folds[1])
    ([2, 2], 1)
    """
    order = check_random_state(random_state).permutation(len(codes))
    by_class = order[np.argsort(codes[order], kind="stable")]
    fold_of = np.empty(len(codes), int)
    # On from class to class, so that small classes don't all land in the first folds.
    fold_of[by_class] = np.arange(len(codes)) % n_folds
    return fold_of


def draw_unstratified(n: int, fraction: float, random_state: Any) -> Array | None:
    """Draw a share of rows that have no classes: numbers, or several labels at once.

    Parameters
    ----------
    n : int
        Rows.
    fraction, random_state
        As for `draw_stratified`.

    Returns
    -------
    ndarray of bool of shape (n,), or None
        The rows held out, at least one; None where there are fewer than five.

    Examples
    --------
    >>> draw_unstratified(10, 0.2, 0).sum()
    np.int64(2)
    """
    if n < 5:
        return None
    held = np.zeros(n, dtype=bool)
    taken = int(np.clip(round(fraction * n), 1, n - 1))
    held[check_random_state(random_state).permutation(n)[:taken]] = True
    return held


# ---- the draws of published protocols -----------------------------------------------


def draw_share(y: Array, share: float, seed: int) -> Array:
    """Draw a share of each class, at least one row, as published protocols do.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Class numbers; of several labels a share of all rows is drawn.
    share : float
        Of each class.
    seed : int
        Of the draw.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        The rows that are held out; at least one of each class stays.

    Raises
    ------
    ValueError
        If there are classes of one row only.

    Examples
    --------
    >>> int(draw_share(np.array([0, 0, 0, 0, 1, 1]), 0.25, 0).sum())
    2
    """
    random = np.random.default_rng(seed)
    held = np.zeros(len(y), bool)
    groups = [np.arange(len(y))] if y.ndim == 2 else [np.flatnonzero(y == c) for c in np.unique(y)]
    for rows in groups:
        n = min(max(1, round(share * len(rows))), len(rows) - 1)
        held[random.permutation(rows)[:n]] = True
    if not held.any():
        raise ValueError(
            "a class of one sample leaves nothing to choose by; give more shots, or a protocol "
            "that chooses nothing, such as bigvision-fewshot"
        )
    return held


def draw_shots(y: Array, shots: int, seed: int) -> Array:
    """Draw so many rows of each class; of a seed's draws the fewer are the first.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        Class numbers.
    shots : int
        Rows of each class.
    seed : int
        Of the draw.

    Returns
    -------
    ndarray of int
        Positions, in order.

    Raises
    ------
    ValueError
        If a class has fewer rows.

    Examples
    --------
    >>> y = np.array([0, 1, 0, 1, 0, 1])
    >>> np.bincount(y[draw_shots(y, 2, 0)]).tolist()
    [2, 2]
    """
    random = np.random.default_rng(seed)
    chosen = []
    for c in np.unique(y):
        rows = random.permutation(np.flatnonzero(y == c))
        if len(rows) < shots:
            raise ValueError(
                f"{shots} shots, but class {c} has {len(rows)} images to train on; give fewer"
            )
        chosen.append(rows[:shots])
    return np.sort(np.concatenate(chosen))
