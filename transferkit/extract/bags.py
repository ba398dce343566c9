"""Items of several images: rows of their images are reduced to one row for each item."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from transferkit.digests import row_id
from transferkit.extract.result import Extraction
from transferkit.images import Failure, ImageSet

__all__ = ["REDUCTIONS", "check_reduction", "failures_of_items", "reduced"]

REDUCTIONS = ("mean", "max", "concat")
"""How the rows of an item's images become one: their mean, maximum, or side by side."""


def check_reduction(images: ImageSet, how: str) -> None:
    """Raise a ValueError unless the items' rows can be reduced in this way."""
    if how not in REDUCTIONS:
        raise ValueError(f"reduce is {how!r}; choose one of {', '.join(REDUCTIONS)}")
    numbers = images.n_images
    if how == "concat" and (numbers != numbers[0]).any():
        odd = int(np.argmax(numbers != numbers[0]))
        raise ValueError(
            f"item 0 has {numbers[0]} images and item {odd} has {numbers[odd]}, so their rows "
            f"can't stand side by side; give each the same number, or reduce='mean' or 'max'"
        )


def reduced(extraction: Extraction, images: ImageSet, how: str) -> Extraction:
    """Reduce the rows of each item's images to one row.

    An item of which one image can't be read has no row.

    Parameters
    ----------
    extraction : Extraction
        Of ``images.singles()``.
    images : ImageSet
        The items.
    how : str
        One of `REDUCTIONS`.
    """
    owners = np.repeat(np.arange(len(images)), images.n_images)
    failures = failures_of_items(extraction.failures, images)
    kept = np.setdiff1d(np.arange(len(images)), [failure.index for failure in failures])
    is_whole = np.isin(owners[extraction.kept], kept)
    counts = images.n_images[kept]
    starts = np.cumsum(counts) - counts
    rows = {
        name: _reduce(array if is_whole.all() else array[is_whole], starts, counts, how)
        if len(array) == len(is_whole)  # not where rows were only checked
        else array
        for name, array in extraction.rows.items()
    }
    ids = [row for row, whole in zip(extraction.ids, is_whole, strict=True) if whole]
    return dataclasses.replace(
        extraction,
        rows=rows,
        stored={},
        images=images,
        kept=kept,
        ids=tuple(_item_id(ids[a : a + n]) for a, n in zip(starts, counts, strict=True)),
        failures=failures,
        n_different=len(set(extraction.ids)),
        paths=tuple(images.names[i] for i in kept),
    )


def failures_of_items(failures: Sequence[Failure], images: ImageSet) -> tuple[Failure, ...]:
    """Make one failure for each item with unreadable images, which names all of these.

    Parameters
    ----------
    failures : sequence of Failure
        Of ``images.singles()``.
    images : ImageSet
        The items.
    """
    counts = images.n_images
    owners = np.repeat(np.arange(len(images)), counts)
    by_item: dict[int, list[Failure]] = {}
    for failure in failures:
        by_item.setdefault(int(owners[failure.index]), []).append(failure)
    return tuple(_item_failure(i, by_item[i], int(counts[i])) for i in sorted(by_item))


def _item_failure(item: int, failures: list[Failure], n_images: int) -> Failure:
    if n_images == 1:
        return dataclasses.replace(failures[0], index=item)
    reasons = "; ".join(dict.fromkeys(failure.reason for failure in failures))
    name = ", ".join(failure.name for failure in failures)
    which = "one" if len(failures) == 1 else str(len(failures))
    return Failure(item, name, f"{reasons}; {which} of the {n_images} images of item {item}")


def _reduce(rows: np.ndarray, starts: np.ndarray, counts: np.ndarray, how: str) -> np.ndarray:
    if how == "concat":
        n_each = len(rows) // max(len(counts), 1)
        return rows.reshape(len(counts), n_each * rows.shape[1], *rows.shape[2:])
    if how == "max":
        return np.asarray(np.maximum.reduceat(rows, starts, axis=0))
    sums = np.add.reduceat(rows, starts, axis=0, dtype=np.float64)
    return np.asarray(sums / counts.reshape(-1, *[1] * (rows.ndim - 1)), dtype=rows.dtype)


def _item_id(ids: Sequence[bytes]) -> bytes:
    """Id of an item: its only image's id, or a digest of its images' ids in any order."""
    if len(ids) == 1:
        return ids[0]
    return row_id(hashlib.sha256(b"transferkit-bag\0" + b"".join(sorted(ids))).digest())
