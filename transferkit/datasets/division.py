"""Divide a data set's images into those to train on, to choose by and to measure.

Three rules hold everywhere. With a ``test`` part, ``val`` chooses hyper-parameters and ``test`` is
measured; without one, ``val`` is what is measured, and hyper-parameters are chosen on a part of
``train``. Nothing is measured whose bytes, or whose group, were trained on. Images that belong
together (the same bytes, the same group) never stand on both sides of a split that is made here.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.datasets.blocks import blocks_of, is_unseen
from transferkit.datasets.splits import hold_out

__all__ = ["Division", "Roles", "divide", "is_labelled", "keep_apart", "measured_of", "roles_of"]

Array = NDArray[Any]
COPIES = "have the same bytes as training images"
OF_GROUPS = "are of groups that are trained on"
UNLABELLED = "have no label"


@dataclass(frozen=True)
class Roles:
    """The use of each split of a data set: training, choosing hyper-parameters or measuring.

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
    """Give each split of a data set its role.

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


@dataclass(frozen=True, eq=False)
class Division:
    """Positions of a data set's images by their use.

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
        """Number of images to be measured, before any was left out."""
        return len(self.measured) + sum(self.left_out.values())

    @property
    def name(self) -> str:
        """Description of the measured images."""
        if self.roles is not None:
            return f"{self.roles.measured or 'no'} split"
        return f"held out: {self.share:.0%}, seed {self.seed}"

    def line(self) -> str:
        """Line that tells how many images are trained on, and how many are measured."""
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
        """Line that tells how many images are not measured, and why; empty if all are."""
        of = f"of {self.n_meant:,} {self._part} images"
        return " and ".join(f"{count:,} {of} {why}" for why, count in self.left_out.items())

    def why_not_measured(self) -> str:
        """Reason why no image is left to be measured."""
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
) -> Division:
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
    return Division(train, validation, measured[has_label], roles, share, seed, left_out)


def _held_out(
    n: int, share: float, seed: int, labels: Any, blocks: Array | None
) -> tuple[Array, Array]:
    # Images with several labels have no classes of which an equal share could be drawn.
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
    ids: Sequence[Hashable] | None,
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
