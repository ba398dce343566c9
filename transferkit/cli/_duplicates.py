"""Find images that have the same bytes, and tell whether that matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transferkit.cli._output import counted

if TYPE_CHECKING:
    from transferkit.images import ImageSet

__all__ = ["described", "duplicates"]

_SHOWN = 3


def duplicates(ids: Sequence[bytes]) -> list[list[int]]:
    """Group the positions of images that share a row id, in the order of the first."""
    positions: dict[bytes, list[int]] = {}
    for i, row in enumerate(ids):
        positions.setdefault(row, []).append(i)
    return [group for group in positions.values() if len(group) > 1]


def described(images: ImageSet, ids: Sequence[bytes]) -> list[tuple[str, str]]:
    """Which images have the same bytes, as a name and a value to print; nothing if none have.

    Parameters
    ----------
    images : ImageSet
        Those that could be read.
    ids : sequence of bytes
        Their row ids.
    """
    groups = duplicates(ids)
    if not groups:
        return []
    # Images that stand in two splits or have two labels come first, because those mislead.
    told = sorted(((_matter(images, group), group) for group in groups), key=lambda g: not g[0])
    shown = [_line(images, group, matter) for matter, group in told[:_SHOWN]]
    if (more := len(told) - _SHOWN) > 0:
        n_matter = sum(bool(matter) for matter, _ in told[_SHOWN:])
        note = f", {n_matter:,} of them across splits or labels" if n_matter else ""
        shown.append(f"… and {more:,} more{note}")
    n = sum(len(group) - 1 for group in groups)
    return [("same bytes", f"{counted(n, 'duplicate')}: {'; '.join(shown)}")]


def _line(images: ImageSet, group: list[int], matter: str) -> str:
    names = [images.names[i] for i in group[:_SHOWN]]
    if (more := len(group) - _SHOWN) > 0:
        names.append(f"{more:,} more")
    return " = ".join(names) + (f" ({matter})" if matter else "")


def _matter(images: ImageSet, group: list[int]) -> str:
    """Say what is wrong with images of the same bytes; empty if nothing is."""
    notes = []
    splits = {} if images.splits is None else dict.fromkeys(images.splits[i] for i in group)
    if len(splits) > 1:
        notes.append("in " + " and ".join(str(split or "no split") for split in splits))
    labels = {} if images.labels is None else dict.fromkeys(images.labels[i] for i in group)
    if len(labels) > 1:
        notes.append("labelled " + " and ".join(_text(label) for label in labels))
    return ", ".join(notes)


def _text(label: object) -> str:
    return ",".join(map(str, label)) if isinstance(label, tuple) else repr(label)
