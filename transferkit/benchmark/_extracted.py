"""A dataset with the features of its readable images: what the cells of one pass share."""

from __future__ import annotations

from typing import Any

from transferkit.benchmark.data import BenchmarkDataset
from transferkit.benchmark.evaluation import parts_of
from transferkit.benchmark.grid import Cell
from transferkit.extract import Extraction
from transferkit.protocols import Parts

__all__ = ["ExtractedDataset"]


class ExtractedDataset:
    """A dataset after one pass through a network.

    Parameters
    ----------
    dataset : BenchmarkDataset
        Names, task and targets.
    extraction : Extraction
        Features of its readable images.

    Attributes
    ----------
    division : Division
        What each row is for.
    digest : str
        Of the readable images' bytes, targets and parts.
    """

    def __init__(self, dataset: BenchmarkDataset, extraction: Extraction) -> None:
        self.dataset, self.extraction = dataset, extraction
        kept, ids = extraction.kept, extraction.ids
        self.y = dataset.y[kept]
        self.division = dataset.divide(kept, ids)
        self.digest = dataset.digest(kept, ids, self.division)
        self._parts: dict[tuple[str, int | None, int | None], Parts] = {}

    def parts(self, cell: Cell, feature: str) -> Parts:
        """Rows that a cell is trained on; cells on the same rows and feature share one object.

        Of the large parts, those with all rows, only the last feature's are kept.
        """
        key = (feature, cell.shots, None if cell.shots is None else cell.seed)
        if key not in self._parts:
            if cell.shots is None:
                self._parts = {k: v for k, v in self._parts.items() if k[1] is not None}
            X = self.extraction.rows[feature]
            self._parts[key] = parts_of(cell, X, self.y, self.division, self.dataset)
        return self._parts[key]

    def test(self, feature: str) -> tuple[Any, Any]:
        """Features and targets that are measured."""
        at = self.division.measured
        return self.extraction.rows[feature][at], self.y[at]
