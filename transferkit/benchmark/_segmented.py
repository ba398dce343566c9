"""A dataset of masks with the maps of its readable images, and the cells measured on them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from transferkit.benchmark._annotated import ExtractedAnnotations
from transferkit.benchmark.grid import Cell
from transferkit.benchmark.segmentation_grid import map_features
from transferkit.datasets import Division
from transferkit.dense.samples import DenseSamples, class_maps
from transferkit.estimators import FeatureExtractor, TransferSegmenter
from transferkit.extract import mirrored
from transferkit.forward import choose_device
from transferkit.metrics import PixelCounts, count_pixels, report_of_pixels
from transferkit.protocols.segmentation import create_segmentation_protocol

__all__ = ["SegmentedDataset"]


class SegmentedDataset(ExtractedAnnotations):
    """A dataset of masks after one pass through a network; see `ExtractedAnnotations`.

    The value of a test image is the mean IoU of its classes, without images that have no pixel of
    known class.
    """

    def _maps_of(self, feature: str) -> list[str]:
        return map_features(feature, self.spec)

    def _new(self, extractor: FeatureExtractor) -> TransferSegmenter:
        return TransferSegmenter(extractor)

    def _fitted(self, cell: Cell, division: Division) -> tuple[Any, dict[str, Any]]:
        if cell.kind == "head":
            return super()._fitted(cell, division)
        segmenter, _ = self._estimator(cell.feature)
        protocol = create_segmentation_protocol(cell.probe)
        probe = protocol.fit(
            self._samples(segmenter, division.train, mirror=protocol.settings.mirrored),
            len(self.dataset.classes),
            cell.seed or 0,
            device=str(choose_device(segmenter.extractor_.device.partition(",")[0])),
        )
        # Whatever goes from levels to scores can predict.
        segmenter.classes_, segmenter.network_ = self.dataset.classes, cast(Any, probe.head)
        return segmenter, probe.chosen

    def _samples(
        self, segmenter: TransferSegmenter, at: NDArray[Any], *, mirror: bool
    ) -> DenseSamples:
        """Maps of images and, if wanted, of their mirror images, with their targets."""
        images = self.images.select(at)
        maps = segmenter.maps(images, is_training=True)
        views = [maps.levels]
        if mirror:
            view = mirrored(self.spec.preprocess)
            views.append(segmenter.maps(images, is_training=True, view=view).levels)
        targets = class_maps(self.annotations.select(at), maps.frames, segmenter.input_size_)
        return DenseSamples(views, targets)

    def _measured(
        self, estimator: Any, division: Division
    ) -> tuple[dict[str, Any], NDArray[np.floating[Any]]]:
        at = division.measured
        predicted = estimator.predictions(estimator.maps(self.images.select(at)))
        counts = count_pixels(
            self.annotations.select(at), (found for _, found in predicted), self.dataset.classes
        )
        values = counts.image_iou
        return _metrics(counts), values[~np.isnan(values)]


def _metrics(counts: PixelCounts) -> dict[str, Any]:
    """Values by name; ``main`` names the one that a leaderboard sorts by."""
    report = report_of_pixels(counts)
    first = None if report.baseline is None else report.baseline.of("mean_iou")
    assert first is not None
    return {
        **{row.metric.name: row.value for row in report.rows()},
        "main": "mean_iou",
        "interval": [first.low, first.high],
        "baseline": first.baseline,
        "is_better": first.is_better,
        "iou": {row.label: row.iou for row in report.classes},
    }
