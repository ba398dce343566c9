"""A dataset of masks with the maps of its readable images, and the cells measured on them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import annotation_faults
from transferkit.backbones import layers_of
from transferkit.benchmark.data import SegmentationDataset
from transferkit.benchmark.evaluation import Outcome
from transferkit.benchmark.grid import Cell
from transferkit.benchmark.segmentation_grid import map_features
from transferkit.datasets import Division
from transferkit.dense.samples import DenseSamples, class_maps
from transferkit.estimators import FeatureExtractor, TransferSegmenter
from transferkit.estimators._dense import Usable
from transferkit.extract import mirrored
from transferkit.forward import choose_device
from transferkit.metrics import PixelCounts, count_pixels, report_of_pixels
from transferkit.protocols.segmentation import create_segmentation_protocol
from transferkit.spec import BackboneSpec

__all__ = ["SegmentedDataset"]


class SegmentedDataset:
    """A dataset of masks after one pass through a network.

    Parameters
    ----------
    dataset : SegmentationDataset
        Images and masks; images whose masks can't be used are left out.
    spec : BackboneSpec
        The backbone, in the cells' geometry.
    features : list of str
        All maps that the cells need.
    machine : mapping
        Options of `FeatureExtractor`.

    Attributes
    ----------
    division : Division
        The use of each image: training, choosing or measuring.
    digest : str
        Of the images' bytes, masks and parts.
    facts : dict
        What the pass took.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        spec: BackboneSpec,
        features: list[str],
        machine: Mapping[str, Any],
    ) -> None:
        self.dataset, self.spec, self.machine = dataset, spec, dict(machine)
        faults = annotation_faults(dataset.annotations, dataset.images)
        bad = {fault.index for fault in faults}
        good = np.array([i for i in range(len(dataset.images)) if i not in bad], dtype=np.intp)
        extraction = FeatureExtractor(spec, features, **self.machine).extract(
            dataset.images.select(good), on_error="skip", keep_rows="stored", remember=True
        )
        kept = good[extraction.kept]
        self.images, self.annotations = (
            dataset.images.select(kept),
            dataset.annotations.select(kept),
        )
        self.division = dataset.divide(kept, extraction.ids)
        self.digest = dataset.digest(kept, extraction.ids, self.division)
        self.facts = {
            "extract_seconds": round(extraction.seconds, 3),
            "n_extracted": extraction.n_computed,
            "n_unreadable": len(extraction.failures) + len(faults),
        }
        self._segmenters: dict[str, tuple[TransferSegmenter, Usable]] = {}

    def outcome(self, cell: Cell) -> tuple[str, None, Outcome]:
        """Train a cell's probe and measure it.

        Returns
        -------
        feature : str
            That it was trained on.
        tried : None
            No features are tried out.
        outcome : Outcome
            Its values are the mean IoU of each test image that has a pixel of known class.
        """
        start = time.perf_counter()
        division = self._division(cell)
        segmenter, chosen = self._fitted(cell, division)
        fitted = time.perf_counter()
        counts = self._counted(segmenter, division)
        done = time.perf_counter()
        values = counts.image_iou
        row = {
            "n_train": len(division.train),
            "n_val": len(division.validation),
            "n_test": len(division.measured),
            "n_features": self._width(cell.feature),
            "chosen": chosen,
            "on_edge": None,
            "converged": None,
            "metrics": _metrics(counts),
            "fit_seconds": round(fitted - start, 4),
            "predict_seconds": round(done - fitted, 4),
        }
        return cell.feature, None, Outcome(row, values[~np.isnan(values)].astype(np.float32))

    def _division(self, cell: Cell) -> Division:
        """Positions that a cell trains on and, if it is a head with all images, chooses by."""
        train, validation = self.division.train, self.division.validation
        if cell.shots is not None:
            if cell.shots > len(train):
                raise ValueError(
                    f"{cell.shots} images are wanted, but {self.dataset.name} has {len(train)} to "
                    "train on; give fewer"
                )
            drawn = np.random.default_rng(cell.seed or 0).permutation(len(train))
            train = np.sort(train[drawn[: cell.shots]])
        # No protocol here chooses anything, and few images come without a validation part.
        if cell.kind == "protocol" or cell.shots is not None:
            validation = validation[:0]
        return Division(train, validation, self.division.measured)

    def _width(self, feature: str) -> int:
        """Number of channels of all levels of a feature."""
        layers = layers_of(self.spec)
        names = map_features(feature, self.spec)
        return sum(layers[name.removesuffix(".map")].channels for name in names)

    def _segmenter(self, feature: str) -> tuple[TransferSegmenter, Usable]:
        """Segmenter with the extractor of a feature, and its images. Cells share them."""
        if feature not in self._segmenters:
            names = map_features(feature, self.spec)
            segmenter = TransferSegmenter(FeatureExtractor(self.spec, names, **self.machine))
            usable = segmenter.usable(self.images, self.annotations)
            self._segmenters[feature] = segmenter, usable
        return self._segmenters[feature]

    def _fitted(self, cell: Cell, division: Division) -> tuple[TransferSegmenter, dict[str, Any]]:
        segmenter, usable = self._segmenter(cell.feature)
        if cell.kind == "head":
            segmenter.set_params(head=cell.probe, recipe={"seed": cell.seed or 0})
            segmenter.fit_parts(usable, division)
            best = max(segmenter.history_, key=lambda line: line.get("val_metric", line["epoch"]))
            return segmenter, {"epoch": best["epoch"], "loss": best["train_loss"]}
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

    def _counted(self, segmenter: TransferSegmenter, division: Division) -> PixelCounts:
        at = division.measured
        predicted = segmenter.predictions(segmenter.maps(self.images.select(at)))
        return count_pixels(
            self.annotations.select(at), (found for _, found in predicted), self.dataset.classes
        )


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
