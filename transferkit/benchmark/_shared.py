"""What the cells of one pass through a network have in common."""

from __future__ import annotations

from typing import Any

from transferkit.benchmark.data import Dataset, Rows
from transferkit.benchmark.evaluation import parts_of
from transferkit.benchmark.grid import Cell
from transferkit.extract import Extraction
from transferkit.protocols import Parts

__all__ = ["Shared"]


class Shared:
    """What the cells of a pass have in common: features, and parts with their statistics.

    Parameters
    ----------
    extraction : Extraction
        Features of all readable images.
    dataset : Dataset
        Names and task.
    rows : Rows
        Which rows are for what.
    y : ndarray
        Targets of the same rows.
    """

    def __init__(self, extraction: Extraction, dataset: Dataset, rows: Rows, y: Any) -> None:
        self.extraction, self.dataset, self.rows, self.y = extraction, dataset, rows, y
        self._parts: dict[tuple[str, int | None, int | None], Parts] = {}

    def parts(self, cell: Cell, feature: str) -> Parts:
        """Parts of a cell; cells on the same rows and feature share one object.

        Of the large parts, those with all rows, only the last feature's are kept.
        """
        key = (feature, cell.shots, None if cell.shots is None else cell.seed)
        if key not in self._parts:
            if cell.shots is None:
                self._parts = {k: v for k, v in self._parts.items() if k[1] is not None}
            X = self.extraction.rows[feature]
            self._parts[key] = parts_of(cell, X, self.dataset, self.y, self.rows)
        return self._parts[key]
