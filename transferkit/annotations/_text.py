"""Read others' text files of labels: of bounded size, line by line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from transferkit.files import open_regular

__all__ = ["MAX_TEXT_BYTES", "lines_of_text"]

MAX_TEXT_BYTES = 2**24
"""Largest file of an image's labels that is read."""


def lines_of_text(path: Path, form: str) -> Iterator[tuple[int, str]]:
    """Give the number of each line, from 1, and what stands in it, without empty ones.

    Parameters
    ----------
    path : Path
        The file.
    form : str
        What messages call the format.

    Raises
    ------
    ValueError
        If it is too large, or no text.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > MAX_TEXT_BYTES:
            raise ValueError(
                f"{path.name} is larger than {MAX_TEXT_BYTES // 2**20} MiB; is it {form}?"
            )
        data = file.read(MAX_TEXT_BYTES)
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is no text: {error}") from error
    return ((i, line.strip()) for i, line in enumerate(lines, start=1) if line.strip())
