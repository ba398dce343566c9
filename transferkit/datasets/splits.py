"""The only place that splits: which images are trained on, which choose, which are measured.

Functions of labels, row ids, groups and positions; nothing here reads an image.

Three rules hold everywhere. With a ``test`` part, ``val`` chooses hyper-parameters and ``test`` is
measured; without one, ``val`` is what is measured, and hyper-parameters are chosen on a part of
``train``. Nothing is measured whose bytes, or whose group, were trained on. Images that belong
together (the same bytes, the same group) never stand on both sides of a split that is made here.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split

__all__ = [
    "Parts",
    "Roles",
    "blocks_of",
    "contradictions",
    "divide",
    "folds",
    "hold_out",
    "is_labelled",
    "is_unseen",
    "keep_apart",
    "measured_of",
    "roles_of",
]

Array = NDArray[Any]
COPIES = "have the same bytes as training images"
OF_GROUPS = "are of groups that are trained on"
UNLABELLED = "have no label"
# A share is held out as so many of at most this many folds.
_MOST_FOLDS = 20


# ---- which split is for what --------------------------------------------------------


@dataclass(frozen=True)
class Roles:
    """What each split of a data set is for.

    Parameters
    ----------
    validation : str or None
        The split that chooses hyper-parameters; None if a part of ``train`` does.
    measured : str or None
        The split that is measured and reported; None if there is none.
    """

    validation: str | None
    measured: str | None


def roles_of(names: Collection[str]) -> Roles:
    """Roles of a data set's splits.

    Parameters
    ----------
    names : collection of str
        The splits that have images: of ``"train"``, ``"val"`` and ``"test"``.

    Raises
    ------
    ValueError
        If there are splits, but none to train on.

    Examples
    --------
    >>> roles_of(["train", "val", "test"])
    Roles(validation='val', measured='test')
    >>> roles_of(["train", "val"])
    Roles(validation=None, measured='val')
    """
    if names and "train" not in names:
        raise ValueError(f"the images have splits ({', '.join(names)}) but no 'train'; add one")
    measured = measured_of(names)
    return Roles("val" if measured == "test" and "val" in names else None, measured)


def measured_of(names: Collection[str]) -> str | None:
    """Name of the split that is measured: ``test``, else ``val``; None if there is neither."""
    return next((name for name in ("test", "val") if name in names), None)


# ---- what belongs together ----------------------------------------------------------


def is_unseen(values: Sequence[Hashable], seen: Collection[Hashable]) -> Array:
    """Whether the bytes, or the group, of each image are none of those that were trained on.

    Parameters
    ----------
    values, seen : collection
        Row ids of the images and of those that were trained on; or their groups, of which
        None and an empty text are no group.

    Examples
    --------
    >>> is_unseen([b"a", b"b"], [b"b", b"c"]).tolist()
    [True, False]
    """
    known = set(seen)
    return np.array([_is_empty(value) or value not in known for value in values], dtype=bool)


def is_labelled(labels: Sequence[Any] | None, n: int) -> Array:
    """Whether each of n images has a label, or all of its labels.

    Examples
    --------
    >>> is_labelled(["a", None, ("1", None), ("1", "0")], 4).tolist()
    [True, False, False, True]
    """
    if labels is None:
        return np.zeros(n, dtype=bool)
    return np.array(
        [None not in (label if isinstance(label, tuple) else (label,)) for label in labels], bool
    )


def contradictions(ids: Sequence[bytes], labels: Sequence[Any]) -> list[tuple[int, int]]:
    """Positions of images with the bytes of an earlier one, but another label."""
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(row, i), i) for i, row in enumerate(ids)]
    return [(j, i) for j, i in pairs if labels[j] != labels[i]]


def blocks_of(
    ids: Sequence[bytes] | None, groups: Sequence[Hashable] | None = None
) -> Array | None:
    """Number of the block that each image belongs to: the same bytes, or the same group.

    Parameters
    ----------
    ids : sequence of bytes or None
        Row ids.
    groups : sequence or None
        Group of each image; None or an empty text for an image that is alone.

    Returns
    -------
    ndarray of int, or None
        None if every image is a block of its own.

    Examples
    --------
    >>> blocks_of([b"a", b"b", b"c", b"a"], ["x", "y", "y", None]).tolist()
    [0, 1, 1, 0]
    >>> blocks_of([b"a", b"b"]) is None
    True
    """
    kinds = [kind for kind in (ids, groups) if kind is not None]
    if not kinds:
        return None
    n = len(kinds[0])
    # A graph: an image is joined to its bytes and to its group, each a node behind the images.
    node: dict[Any, int] = {}
    edges = [
        (i, n + node.setdefault((number, value), len(node)))
        for number, kind in enumerate(kinds)
        for i, value in enumerate(kind)
        if not _is_empty(value)
    ]
    size = n + len(node)
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), np.int8), (ends[0], ends[1])), shape=(size, size))
    component = connected_components(graph, directed=False)[1][:n]
    _, first, blocks = np.unique(component, return_index=True, return_inverse=True)
    if len(first) == n:
        return None
    return np.asarray(np.argsort(np.argsort(first))[blocks])  # numbered as they come


def _is_empty(value: Any) -> bool:
    """Whether a group is none: None, NaN or an empty text."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


# ---- hold-outs and folds ------------------------------------------------------------


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


# ---- a data set's parts -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Parts:
    """Positions of a data set's images, by what they are for.

    Parameters
    ----------
    train, validation, measured : ndarray of int
        Trained on; choosing hyper-parameters (often empty); measured.
    roles : Roles or None
        Of the splits; None if the data set has none.
    share, seed : float, int
        Of the part that was held out, where there are no splits.
    left_out : dict of str to int
        How many of the images to be measured aren't, by the reason why.
    """

    train: Array
    validation: Array
    measured: Array
    roles: Roles | None = None
    share: float = 0.0
    seed: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def n_meant(self) -> int:
        """Images that were to be measured before any was left out."""
        return len(self.measured) + sum(self.left_out.values())

    @property
    def name(self) -> str:
        """Which of the images are measured, in words."""
        if self.roles is not None:
            return f"{self.roles.measured or 'no'} split"
        return f"held out: {self.share:.0%}, seed {self.seed}"

    def line(self) -> str:
        """What is trained on and what is measured, in a line."""
        if self.roles is None:
            held = (
                f"measured on {self.n_meant:,} ({self.name})" if self.n_meant else "none held out"
            )
            return f"trained on {len(self.train):,}, {held}"
        text = f"trained on train ({len(self.train):,})"
        if self.roles.validation:
            text += f", hyper-parameters chosen on val ({len(self.validation):,})"
        if self.roles.measured is None:
            return f"{text}; there is neither a test nor a val part"
        text += f", measured on {self.roles.measured} ({self.n_meant:,})"
        return text + ": there is no test part" * (self.roles.measured == "val")

    def left_out_line(self) -> str:
        """How many of the images to be measured aren't, and why; empty if all are."""
        of = f"of {self.n_meant:,} {self._part} images"
        return " and ".join(f"{count:,} {of} {why}" for why, count in self.left_out.items())

    def why_not_measured(self) -> str:
        """Why no image is left to be measured."""
        if not self.n_meant and self.roles is not None and self.roles.measured:
            return f"no image of the {self._part} part could be read"
        if not self.n_meant:
            return "nothing was held out"
        if list(self.left_out) == [UNLABELLED]:
            return f"no image of the {self._part} part has a label"
        if list(self.left_out) == [COPIES]:
            return (
                f"every one of the {self.n_meant:,} {self._part} images has the same bytes as a "
                f"training image"
            )
        return f"no image of the {self._part} part is left: {self.left_out_line()}"

    @property
    def _part(self) -> str:
        return "held-out" if self.roles is None else str(self.roles.measured)


def divide(
    splits: Sequence[str | None] | None,
    ids: Sequence[bytes],
    labels: Sequence[Any] | None,
    groups: Sequence[Hashable] | None = None,
    *,
    is_classes: bool,
    share: float,
    seed: int,
    roles: Roles | None = None,
) -> Parts:
    """Divide a data set's readable images into those trained on, choosing and measured.

    Parameters
    ----------
    splits : sequence of str or None
        Split of each image; None if there are none, and then a share is held out.
    ids : sequence of bytes
        Row ids.
    labels : sequence or None
        As the user wrote them, None for an image without.
    groups : sequence, optional
        Images of one group are never on both sides.
    is_classes : bool
        Whether labels are classes, of each of which the same share is held out.
    share, seed
        Of the part that is held out; a share of 0 holds out nothing.
    roles : Roles, optional
        Of the splits that the data set has, readable images or not; by default of those that
        occur in `splits`.

    Raises
    ------
    ValueError
        If there are splits but none to train on, or no such share can be held out.
    """
    n = len(ids)
    nothing = np.arange(0)
    if splits is not None and any(splits):
        roles = roles or roles_of([n for n in ("train", "val", "test") if n in splits])
        of = np.array([name or "" for name in splits])
        train, validation, measured = (
            np.flatnonzero(of == name) if name else nothing
            for name in ("train", roles.validation, roles.measured)
        )
    else:
        roles, validation = None, nothing
        train, measured = np.arange(n), nothing
        if share and labels is not None:
            blocks = None if groups is None else blocks_of(ids, groups)
            train, measured = _held_out(n, share, seed, labels if is_classes else None, blocks)
    trained = np.concatenate([train, validation])
    measured, left_out = keep_apart(trained, measured, ids, groups)
    has_label = is_labelled(labels, n)[measured]
    if not has_label.all():
        left_out[UNLABELLED] = int((~has_label).sum())
    return Parts(train, validation, measured[has_label], roles, share, seed, left_out)


def _held_out(
    n: int, share: float, seed: int, labels: Any, blocks: Array | None
) -> tuple[Array, Array]:
    # Sets of labels have no classes to draw an equal share of.
    if labels is not None and any(isinstance(label, tuple) for label in labels):
        labels = None
    try:
        return hold_out(n, share, seed, labels=labels, blocks=blocks)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"--test-size {share} can't hold out a part of every class ({error}); give more "
            f"images, another size, or 0"
        ) from error


def keep_apart(
    trained: Array,
    others: Array,
    ids: Sequence[bytes] | None,
    groups: Sequence[Hashable] | None = None,
) -> tuple[Array, dict[str, int]]:
    """Leave out images whose bytes, or whose group, are those of one that is trained on.

    Parameters
    ----------
    trained, others : ndarray of int
        Positions of images that are trained on, and of those that are not to be.
    ids, groups
        Of all images.

    Returns
    -------
    ndarray of int, dict of str to int
        Those of `others` that stay; and how many don't, by the reason why.
    """
    left_out = {}
    reasons: tuple[tuple[str, Any], ...] = ((COPIES, ids), (OF_GROUPS, groups))
    for reason, values in reasons:
        if values is None:
            continue
        apart = is_unseen([values[i] for i in others], {values[i] for i in trained})
        if not apart.all():
            left_out[reason] = int((~apart).sum())
        others = others[apart]
    return others, left_out
