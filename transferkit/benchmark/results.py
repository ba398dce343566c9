"""The folder of results: one JSON line per cell, and what its test rows gave beside it.

A cell's values and predictions are written first and its line last, in one piece: a line means
that the cell is complete, and a line cut short by a kill is as good as none. Each line ends in the
CRC-32 of what stands before it, so that a number that a disk has changed is not taken for measured.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.files import write_whole

__all__ = ["Results"]

logger = logging.getLogger(__name__)

_SEAL = ', "crc32": "'


class Results:
    """Rows of a benchmark on disk.

    Parameters
    ----------
    path : path
        The folder; made if it isn't there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        (self.path / "predictions").mkdir(parents=True, exist_ok=True)
        self._lines = self.path / "rows.jsonl"

    def rows(self) -> list[dict[str, Any]]:
        """Rows that are complete, the last of each cell, in the order of their first line."""
        row_of: dict[str, dict[str, Any]] = {}
        lines = self._lines.read_bytes().split(b"\n") if self._lines.exists() else []
        n_damaged, is_sealed = 0, False
        for line in lines:
            sealed = _unsealed(line)
            is_sealed |= sealed is not None
            # Older versions wrote no checksums, and newer lines stand below theirs.
            text = line.decode() if not is_sealed else sealed
            try:
                row = None if text is None else json.loads(text)
            except ValueError:
                row = None  # cut short by a kill, or the empty end
            if row is not None:
                row_of[row["cell"]] = row
            n_damaged += row is None and line.endswith(b"}")
        if n_damaged:
            logger.warning(
                "damaged lines of %s, which count as not measured: %d", self._lines, n_damaged
            )
        return list(row_of.values())

    def done(self) -> set[str]:
        """Keys of cells that needn't run again."""
        return {row["cell"] for row in self.rows() if row["status"] == "done"}

    def add(
        self,
        row: Mapping[str, Any],
        values: NDArray[Any] | None = None,
        answers: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Write a cell's row, a value for each of its test rows, and what was predicted.

        Parameters
        ----------
        row : mapping
            The cell's facts; ``cell`` is its key.
        values : ndarray, optional
            One of each test row, by which cells are compared.
        answers : mapping of str to ndarray, optional
            ``true`` and ``predicted`` of each test row, and the names of ``classes``.
        """
        if answers:
            write_whole(self._place(row["cell"], "npz"), [_packed(answers)])
        if values is not None:
            array = io.BytesIO()
            np.save(array, values, allow_pickle=False)
            write_whole(self._place(row["cell"], "npy"), [array.getvalue()])
        cut_short = self._lines.exists() and not self._lines.read_bytes().endswith(b"\n")
        text = _sealed(json.dumps(row, ensure_ascii=False, allow_nan=False))
        # A name that isn't UTF-8 is written as JSON escapes it, and read back as it was.
        with self._lines.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n" * (cut_short and self._lines.stat().st_size > 0) + text + "\n")
            file.flush()
            os.fsync(file.fileno())

    def values(self, cell: str) -> NDArray[Any]:
        """Return what `add` was given for each test row."""
        array: NDArray[Any] = np.load(self._place(cell, "npy"), allow_pickle=False)
        return array

    def answers(self, cell: str) -> dict[str, NDArray[Any]]:
        """Return what was true and predicted; nothing for rows of older versions and of maps."""
        path = self._place(cell, "npz")
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def _place(self, cell: str, suffix: str) -> Path:
        return self.path / "predictions" / f"{cell}.{suffix}"

    def to_csv(self, path: str | Path | None = None) -> Path:
        """Write all rows as a table. Nested values get dotted columns, or become JSON."""
        target = self.path / "rows.csv" if path is None else Path(path)
        flat = [_flat(row) for row in self.rows()]
        columns = list(dict.fromkeys(name for row in flat for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(flat)
        write_whole(target, [text.getvalue().encode("utf-8", "surrogateescape")])
        return target


def _sealed(text: str) -> str:
    """A JSON object with the checksum of all that stands before it, as its last value."""
    checksum = zlib.crc32(text.encode(errors="backslashreplace"))
    return f'{text[:-1]}{_SEAL}{checksum:08x}"}}'


def _unsealed(line: bytes) -> str | None:
    """The object that was sealed; None if it has no checksum, or another one."""
    head, _, tail = line.rpartition(_SEAL.encode())
    if tail != b'%08x"}' % zlib.crc32(head + b"}"):
        return None
    return (head + b"}").decode()


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    file = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(file, **named)
    return file.getvalue()


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.dumps(value) if isinstance(value, list) else value
    return flat
