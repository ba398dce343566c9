"""A dataset of objects with the maps of its readable images, and the cells measured on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.benchmark._annotated import ExtractedAnnotations
from transferkit.benchmark.object_grid import object_features
from transferkit.datasets import Division
from transferkit.estimators import FeatureExtractor, dense_estimator_of
from transferkit.metrics import DetectionCounts, count_detections, report_of_detections
from transferkit.metrics._matching import HIT, MISS

__all__ = ["DetectedDataset"]


class DetectedDataset(ExtractedAnnotations):
    """A dataset of objects after one pass through a network; see `ExtractedAnnotations`.

    The value of a test image is the F1 of its objects at an overlap of 0.5, from the score on that
    is best over all test images: the average precision is no mean over images, by which backbones
    could be compared in pairs.
    """

    def _maps_of(self, feature: str) -> list[str]:
        return object_features(feature, self.spec, self.dataset.task)

    def _new(self, extractor: FeatureExtractor) -> Any:
        return dense_estimator_of(self.dataset.task)(extractor)

    def _measured(
        self, estimator: Any, division: Division
    ) -> tuple[dict[str, Any], NDArray[np.floating[Any]]]:
        at = division.measured
        predicted = estimator.predictions(estimator.maps(self.images.select(at)))
        counts = count_detections(
            self.annotations.select(at),
            (found for _, found in predicted),
            self.dataset.classes,
            limit=estimator.suppression_.limit,
            shapes=estimator.kind.shapes,
        )
        return _metrics(counts), image_f1(counts)


def image_f1(counts: DetectionCounts) -> NDArray[np.float64]:
    """F1 of each image's objects, at the best threshold of all; 1 where there is nothing to find.

    Parameters
    ----------
    counts : DetectionCounts
        From `count_detections`.
    """
    threshold = np.inf if counts.best is None else counts.best.threshold
    # What finds an ignored object counts neither way.
    n_false, n_hits = (
        np.bincount(
            counts.images[(counts.scores >= threshold) & (counts.found == outcome)],
            minlength=len(counts),
        )
        for outcome in (MISS, HIT)
    )
    n_true = np.bincount(counts.true_images[counts.counts[:, 0]], minlength=len(counts))
    both = n_false + n_hits + n_true
    return np.where(both > 0, 2 * n_hits / np.maximum(both, 1), 1.0)


def _metrics(counts: DetectionCounts) -> dict[str, Any]:
    """Values by name; ``main`` names the one that a leaderboard sorts by."""
    report = report_of_detections(counts)
    first = None if report.baseline is None else report.baseline.of("average_precision")
    assert first is not None
    return {
        **{row.metric.name: row.value for row in report.rows()},
        "main": "average_precision",
        "interval": [first.low, first.high],
        "baseline": first.baseline,
        "is_better": first.is_better,
        "ap50_of": {row.label: row.ap50 for row in report.classes},
    }
