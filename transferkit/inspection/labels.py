"""Likely wrong labels, by what a head says of images that it wasn't trained on.

Classes: after confident learning (C. Northcutt, L. Jiang and I. Chuang, Confident Learning:
Estimating Uncertainty in Dataset Labels, 2021). A class's threshold is the mean probability that
images of this label get for it, their self-confidence (eq. 2). An image is counted for the class of
highest probability among those that reach their threshold; the counts by label and class are the
confident joint (eq. 1), and the paper's suspects are all images off its diagonal.

Named here are the images for which another class is a hundred times as likely as their label, if
that class reaches half its threshold; the least self-confident come first. Where one label in a
hundred is wrong, an image is at these odds as likely labelled wrongly as it is a rare but right
one. On photos of hands with planted wrong labels that found more of them than the diagonal, and
named fewer images (``benchmarks/results/inspection.json``).

Several labels at once: each column is a problem of two classes. Numbers: residuals that are large
beside all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.datasets import folds
from transferkit.heads import create_head
from transferkit.inspection.findings import Finding
from transferkit.inspection.outliers import robust_deviations
from transferkit.tasks import task_of

__all__ = [
    "N_FOLDS",
    "class_thresholds",
    "confident_joint",
    "confident_labels",
    "is_given",
    "label_findings",
    "out_of_fold",
]

Array = NDArray[Any]
N_FOLDS = 5
LEAST_ODDS = 100.0
"""Probability of the suggested class over that of the label, from which on an image is named."""
_LEAST_REACHED = 0.5
LEAST_RESIDUAL = 5.0
"""Robust standard deviations from which on a number is named."""
# Of several labels, one that fewer images have, or lack, isn't learnt.
_LEAST_COLUMN = 10


def out_of_fold(
    rows: Array, targets: Array, *, kind: str, blocks: Array | None = None, seed: int = 0
) -> Array:
    """Predict every image by a head that was trained on the other folds.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Features.
    targets : ndarray of shape (n,)
        Class numbers from 0, or numbers.
    kind : {"classification", "regression"}
        Which they are.
    blocks : ndarray of int, optional
        Images of one block stand in one fold: copies can't vouch for one another.
    seed : int, default=0
        Of the folds.

    Returns
    -------
    ndarray
        Probabilities ``(n, n_classes)``, of a linear head; or numbers ``(n,)``, of a ridge.
    """
    is_classes = kind == "classification"
    fold_of = folds(len(rows), N_FOLDS, seed, labels=targets if is_classes else None, blocks=blocks)
    n_classes = int(targets.max()) + 1 if is_classes else 1
    found = np.zeros((len(rows), n_classes))
    head = create_head("linear" if is_classes else "ridge", kind)
    for fold in range(N_FOLDS):
        held = fold_of == fold
        head.fit(rows[~held], targets[~held])
        if is_classes:
            found[np.ix_(held, head.classes_)] = head.predict_proba(rows[held])
        else:
            found[held, 0] = head.predict(rows[held])
    return found if is_classes else found[:, 0]


def class_thresholds(probabilities: Array, codes: Array) -> Array:
    """Mean self-confidence of each class; infinite for a class without images."""
    n_classes = probabilities.shape[1]
    own = probabilities[np.arange(len(codes)), codes]
    counts = np.bincount(codes, minlength=n_classes)
    means = np.bincount(codes, own, n_classes) / np.maximum(counts, 1)
    return np.asarray(np.where(counts > 0, means, np.inf))


def confident_labels(probabilities: Array, codes: Array) -> Array:
    """Class for which each image is counted in the confident joint; -1 if it reaches no threshold.

    Parameters
    ----------
    probabilities : ndarray of shape (n, n_classes)
        Out of fold.
    codes : ndarray of int, shape (n,)
        Number of each image's label.

    Examples
    --------
    >>> confident_labels(np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]), np.array([0, 1, 0]))
    array([0, 1, 1])
    """
    reached = probabilities >= class_thresholds(probabilities, codes)
    best = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.asarray(np.where(reached.any(axis=1), best, -1))


def confident_joint(probabilities: Array, codes: Array) -> Array:
    """Count images by their label (line) and the class that they are counted for (column).

    Examples
    --------
    >>> confident_joint(np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]), np.array([0, 1, 0]))
    array([[1, 1],
           [0, 1]])
    """
    n_classes = probabilities.shape[1]
    counted = confident_labels(probabilities, codes)
    is_counted = counted >= 0
    joint = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(joint, (codes[is_counted], counted[is_counted]), 1)
    return joint


def label_findings(
    rows: Array,
    labels: Sequence[Any],
    *,
    task: str = "classification",
    names: Sequence[str] | None = None,
    blocks: Array | None = None,
    seed: int = 0,
) -> tuple[list[Finding], str]:
    """Find images that are likely labelled wrongly.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Features.
    labels : sequence
        Of each image: a class, a number or several, or a tuple of 0 and 1; None where there is
        none.
    task : {"classification", "multilabel", "regression"}
        Which they are.
    names : sequence of str, optional
        Of the columns of several labels or numbers.
    blocks, seed
        As for `out_of_fold`.

    Returns
    -------
    list of Finding
        The least sure labels first.
    str
        How many labels were judged, and how well; empty if there are too few.

    Raises
    ------
    ValueError
        If a label is no number where numbers are learnt.
    """
    at = np.array([i for i, label in enumerate(labels) if is_given(label)], dtype=np.intp)
    own_blocks = None if blocks is None else np.unique(blocks[at], return_inverse=True)[1]
    n_blocks = len(at) if own_blocks is None else len(set(own_blocks.tolist()))
    if len(at) < 2 * N_FOLDS or n_blocks < N_FOLDS:
        return [], ""
    given = [labels[i] for i in at]
    options: dict[str, Any] = {"blocks": own_blocks, "seed": seed}
    told = f"{len(at):,} judged out of fold"
    if task == "regression":
        found = _of_numbers(rows[at], given, names, options)
    elif task == "multilabel":
        found = _of_columns(rows[at], given, names, options)
    else:
        found, told = _of_classes(rows[at], given, options)
    found.sort(key=lambda one: (-one[1], one[0]))
    return [
        Finding("label", int(at[i]), round(score, 4), reason, suggestion=suggestion)
        for i, score, reason, suggestion in found
    ], told


_Suspect = tuple[int, float, str, str]


def _of_classes(
    rows: Array, given: list[Any], options: dict[str, Any]
) -> tuple[list[_Suspect], str]:
    at = _learnable(given, options["blocks"])
    if not len(at):
        return [], ""
    names, codes = np.unique([str(given[i]) for i in at], return_inverse=True)
    classes, blocks = names.tolist(), options["blocks"]
    own_blocks = None if blocks is None else np.unique(blocks[at], return_inverse=True)[1]
    options, rows = {**options, "blocks": own_blocks}, rows[at]
    probabilities = out_of_fold(rows, codes, kind="classification", **options)
    joint = confident_joint(probabilities, codes)
    right = float((probabilities.argmax(axis=1) == codes).mean())
    told = (
        f"{len(codes):,} judged out of fold, where a linear head gets {right:.1%} of them right; "
        f"{int(joint.sum() - np.trace(joint)):,} are off the diagonal of the confident joint"
    )
    if len(at) < len(given):
        told += f"; {len(given) - len(at):,} of rare classes can't be judged"
    return [
        (
            int(at[i]),
            1 - own,
            f"labelled {classes[codes[i]]!r}, of which a linear head that wasn't trained on it is "
            f"{own:.1%} sure, and {best:.1%} of {classes[code]!r}",
            classes[code],
        )
        for i, code, own, best in _suspects(probabilities, codes)
    ], told


def _learnable(given: list[Any], blocks: Array | None) -> Array:
    """Positions of labels that a head has seen whichever fold is left out; none of one class."""
    places: dict[str, set[int]] = {}
    for i, label in enumerate(given):
        places.setdefault(str(label), set()).add(i if blocks is None else int(blocks[i]))
    known = {label for label, own in places.items() if len(own) >= N_FOLDS}
    if len(known) < 2:
        return np.zeros(0, dtype=np.intp)
    return np.array([i for i, label in enumerate(given) if str(label) in known], dtype=np.intp)


def _of_columns(
    rows: Array, given: list[Any], names: Sequence[str] | None, options: dict[str, Any]
) -> list[_Suspect]:
    table = np.array([[float(value) != 0 for value in label] for label in given])
    found = []
    for column, name in enumerate(names or map(str, range(table.shape[1]))):
        codes = table[:, column].astype(np.int64)
        is_known = len(_learnable(codes.tolist(), options["blocks"])) == len(codes)
        if not is_known or min(codes.sum(), len(codes) - codes.sum()) < _LEAST_COLUMN:
            continue
        probabilities = out_of_fold(rows, codes, kind="classification", **options)
        for i, code, own, best in _suspects(probabilities, codes):
            told = f"labelled {'without' if code else 'with'} {name!r}"
            reason = f"{told}, of which a linear head that wasn't trained on it is {own:.1%} sure"
            found.append((i, min(1 - own, best), reason, f"{'with' if code else 'without'} {name}"))
    return found


def _suspects(probabilities: Array, codes: Array) -> list[tuple[int, int, float, float]]:
    """Images that another class suits far better: position, class, and both probabilities."""
    places = np.arange(len(codes))
    own = probabilities[places, codes]
    others = probabilities.copy()
    others[places, codes] = -1
    best = others.argmax(axis=1)
    least = _LEAST_REACHED * class_thresholds(probabilities, codes)[best]
    highest = others[places, best]
    named = np.flatnonzero((highest >= LEAST_ODDS * own) & (highest >= least))
    return [(int(i), int(best[i]), float(own[i]), float(highest[i])) for i in named]


def _of_numbers(
    rows: Array, given: list[Any], names: Sequence[str] | None, options: dict[str, Any]
) -> list[_Suspect]:
    table = task_of("regression").targets(np.array(given), None)
    columns = table.reshape(len(rows), -1).T
    told = [f"{name} " for name in names or ()] or [""] * len(columns)
    found: list[_Suspect] = []
    for name, values in zip(told, columns, strict=True):
        predicted = out_of_fold(rows, values, kind="regression", **options)
        deviation = np.abs(robust_deviations(values - predicted))
        found += [
            (
                int(i),
                float(1 - 1 / deviation[i]),
                f"{name}{values[i]:g}, where a head that wasn't trained on it says "
                f"{predicted[i]:.4g} ({deviation[i]:.1f} robust standard deviations)",
                f"{name}{predicted[i]:.4g}",
            )
            for i in np.flatnonzero(deviation >= LEAST_RESIDUAL)
        ]
    return found


def is_given(label: Any) -> bool:
    """Whether an image has a label, and of several all of them."""
    return label is not None and not (isinstance(label, tuple) and None in label)
