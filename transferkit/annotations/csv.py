"""A table of what was found: pixels of each class in each image, or each image's score."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.annotations._annotations import Annotations
from transferkit.files import write_whole

__all__ = ["SUMMARY", "write"]

SUMMARY = "a table of pixel counts or scores (.csv)"


def write(
    path: Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    **options: Any,
) -> None:
    """Write a line per image and class, or per image if it has a score.

    With a score the columns are ``image,score``. Else they are ``image,class,pixels,share``,
    with a line for every class; the share is that of the pixels whose class isn't void.
    """
    write_whole(path, _lines(zip(names, annotations, strict=True), classes))


def _lines(pairs: Iterable[tuple[str, Annotations]], classes: Sequence[str]) -> Iterator[bytes]:
    is_scored: bool | None = None
    for name, one in pairs:
        if is_scored is None:
            is_scored = one.score is not None
            yield (
                _line("image", "score") if is_scored else _line("image", "class", "pixels", "share")
            )
        if is_scored != (one.score is not None):
            raise ValueError(f"{name!r} has {'no' if is_scored else 'a'} score, unlike the first")
        if is_scored:
            yield _line(name, f"{one.score:.6g}")
            continue
        if one.map is None:
            raise ValueError(f"{name!r} has no class per pixel and no score to be written")
        known = one.map[one.map >= 0]
        counts = np.bincount(known, minlength=len(classes))
        for label, n in zip(classes, counts.tolist(), strict=True):
            yield _line(name, label, n, f"{n / max(1, known.size):.6f}")


def _line(*values: Any) -> bytes:
    # With this end of a line both its characters are quoted, so a name may hold either.
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return f"{text.getvalue().removesuffix(chr(13) + chr(10))}\n".encode("utf-8", "surrogateescape")
