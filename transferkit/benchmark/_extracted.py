"""A dataset with the features of its readable images, which the cells of one pass share."""

from __future__ import annotations

from typing import Any

from transferkit.benchmark.data import BenchmarkDataset
from transferkit.benchmark.evaluation import Outcome, evaluate, parts_of
from transferkit.benchmark.grid import Cell
from transferkit.extract import Extraction
from transferkit.heads import create_head
from transferkit.protocols import Parts
from transferkit.tasks import task_of

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
        The use of each row: training, choosing or measuring.
    digest : str
        Of the readable images' bytes, targets and parts.
    facts : dict
        What the pass took.
    """

    def __init__(self, dataset: BenchmarkDataset, extraction: Extraction) -> None:
        self.dataset, self.extraction = dataset, extraction
        kept, ids = extraction.kept, extraction.ids
        self.y = dataset.y[kept]
        self.division = dataset.divide(kept, ids)
        self.digest = dataset.digest(kept, ids, self.division)
        self.facts = {
            "extract_seconds": round(extraction.seconds, 3),
            "n_extracted": extraction.n_computed,
            "device": (extraction.provenance or {}).get("device"),
            "n_unreadable": len(extraction.failures),
        }
        self._parts: dict[tuple[str, int | None, int | None], Parts] = {}

    def parts(self, cell: Cell, feature: str) -> Parts:
        """Training rows of a cell. Cells on the same rows and feature share one object.

        Parts with all rows are large, so they are kept for the last feature only.
        """
        key = (feature, cell.shots, None if cell.shots is None else cell.seed)
        if key not in self._parts:
            if cell.shots is None:
                self._parts = {k: v for k, v in self._parts.items() if k[1] is not None}
            X = self.extraction.rows[feature]
            self._parts[key] = parts_of(cell, X, self.y, self.division, self.dataset)
        return self._parts[key]

    def test(self, feature: str) -> tuple[Any, Any]:
        """Features and targets of the test rows."""
        at = self.division.measured
        return self.extraction.rows[feature][at], self.y[at]

    def outcome(self, cell: Cell) -> tuple[str, dict[str, float] | None, Outcome]:
        """Train a cell's probe and measure it.

        Returns
        -------
        feature : str
            That it was trained on.
        tried : dict of str to float, or None
            Scores of all candidates, where the feature was chosen.
        outcome : Outcome
            What was measured.
        """
        feature, tried = cell.feature, None
        if feature == "auto":
            tried = self._tried(cell)
            feature = max(tried, key=lambda name: tried[name])
        parts = self.parts(cell, feature)
        return feature, tried, evaluate(cell, parts, self.test(feature), self.dataset)

    def _tried(self, cell: Cell) -> dict[str, float]:
        """Score every candidate feature on the validation part with a ridge head."""
        scores = {}
        for feature, X in self.extraction.rows.items():
            if X.ndim != 2 or feature == "logits":
                continue
            train, validation = self.parts(cell, feature).divided(0.2, cell.seed or 0)
            kind = task_of(self.dataset.task).head_kind
            scores[feature] = float(create_head("ridge", kind).fit(*train).score(*validation))
        return scores
