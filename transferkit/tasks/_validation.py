"""Checks of targets that more than one task needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferkit.images.sources.items import is_missing

__all__ = ["check_not_missing", "image_name", "numbers"]


def image_name(index: int, names: Sequence[str] | None) -> str:
    """Return what a message calls an image: its name, or its position where it has none."""
    return f"image {index}" if names is None else repr(names[index])


def check_not_missing(y: Any, names: Sequence[str] | None) -> None:
    """Raise a ValueError for a missing label, which NumPy would turn into a text or unmask.

    Parameters
    ----------
    y : array-like
        As the user gave it.
    names : sequence of str or None
        Names of the images.
    """
    values = y if isinstance(y, list | tuple) else ()
    if isinstance(y, np.ma.MaskedArray):
        values = [None if is_masked else 0 for is_masked in np.ma.getmaskarray(y).reshape(-1)]
    for i, value in enumerate(values):
        if is_missing(value):
            raise ValueError(f"the label of {image_name(i, names)} is {value!r}; give it a label")


def numbers(targets: np.ndarray, names: Sequence[str] | None, advice: str) -> np.ndarray:
    """Convert targets to float64. Texts, as a CSV has them, are read as numbers.

    Parameters
    ----------
    targets : ndarray of shape (n_samples,) or (n_samples, n_columns)
        Numbers or texts.
    names : sequence of str or None
        Names of the images.
    advice : str
        What to give instead of something that is no finite number.

    Raises
    ------
    ValueError
        If a value is no finite number.
    """
    try:
        found = targets.astype(np.float64)
        is_good = np.isfinite(found.reshape(len(found), -1)).all(axis=1)
    except (TypeError, ValueError):
        is_good = np.array([_is_number(row) for row in targets])
    if not is_good.all():
        at = int(np.argmin(is_good))
        value = np.asarray(targets[at]).tolist()
        raise ValueError(f"the label of {image_name(at, names)} is {value!r}; {advice}")
    return found


def _is_number(row: Any) -> bool:
    try:
        np.asarray(row).astype(np.float64)
    except (TypeError, ValueError):
        return False
    return True
