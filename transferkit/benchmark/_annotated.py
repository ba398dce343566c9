"""A dataset of annotated images with their maps, and the cells measured on them."""

from __future__ import annotations

import abc
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations import annotation_faults
from transferkit.backbones import layers_of
from transferkit.benchmark.data import AnnotatedDataset
from transferkit.benchmark.evaluation import Outcome
from transferkit.benchmark.grid import Cell
from transferkit.datasets import Division
from transferkit.estimators import FeatureExtractor
from transferkit.estimators._dense import DenseEstimator
from transferkit.estimators._maps import Usable
from transferkit.spec import BackboneSpec
from transferkit.tasks.dense import dense_task_of

__all__ = ["ExtractedAnnotations"]


class ExtractedAnnotations(abc.ABC):
    """A dataset of annotated images after one pass through a network.

    Parameters
    ----------
    dataset : AnnotatedDataset
        Images and annotations; images whose annotations can't be used are left out.
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
        Of the images' bytes, annotations and parts.
    facts : dict
        What the pass took.
    """

    def __init__(
        self,
        dataset: AnnotatedDataset,
        spec: BackboneSpec,
        features: list[str],
        machine: Mapping[str, Any],
    ) -> None:
        self.dataset, self.spec, self.machine = dataset, spec, dict(machine)
        needs = dense_task_of(dataset.task).needs
        faults = annotation_faults(dataset.annotations, dataset.images, needs=needs)
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
            "device": (extraction.provenance or {}).get("device"),
            "n_unreadable": len(extraction.failures) + len(faults),
        }
        self._estimators: dict[str, tuple[Any, Usable]] = {}

    def outcome(self, cell: Cell) -> tuple[str, None, Outcome]:
        """Train a cell's probe and measure it.

        Returns
        -------
        feature : str
            That it was trained on.
        tried : None
            No features are tried out.
        outcome : Outcome
            Its values are those of the test images.
        """
        start = time.perf_counter()
        division = self._division(cell)
        estimator, chosen = self._fitted(cell, division)
        fitted = time.perf_counter()
        metrics, values = self._measured(estimator, division)
        done = time.perf_counter()
        row = {
            "n_train": len(division.train),
            "n_val": len(division.validation),
            "n_test": len(division.measured),
            "n_features": self._width(cell.feature),
            "chosen": chosen,
            "on_edge": None,
            "converged": None,
            "metrics": metrics,
            "fit_seconds": round(fitted - start, 4),
            "predict_seconds": round(done - fitted, 4),
        }
        return cell.feature, None, Outcome(row, values.astype(np.float32))

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
        names = self._maps_of(feature)
        return sum(layers[name.removesuffix(".map")].channels for name in names)

    def _estimator(self, feature: str) -> tuple[Any, Usable]:
        """Estimator with the extractor of a feature, and its images. Cells share them."""
        if feature not in self._estimators:
            names = self._maps_of(feature)
            estimator = self._new(FeatureExtractor(self.spec, names, **self.machine))
            usable = estimator.usable(self.images, self.annotations)
            self._estimators[feature] = estimator, usable
        return self._estimators[feature]

    def _fitted(self, cell: Cell, division: Division) -> tuple[Any, dict[str, Any]]:
        """Train the head that a cell names, and return the estimator and what came of it."""
        estimator, usable = self._estimator(cell.feature)
        estimator.set_params(head=cell.probe, recipe={"seed": cell.seed or 0})
        estimator.fit_parts(usable, division)
        best = max(estimator.history_, key=lambda line: line.get("val_metric", line["epoch"]))
        return estimator, {"epoch": best["epoch"], "loss": best["train_loss"]}

    @abc.abstractmethod
    def _maps_of(self, feature: str) -> list[str]:
        """Names of the maps that a feature stands for, fine to coarse."""

    @abc.abstractmethod
    def _new(self, extractor: FeatureExtractor) -> DenseEstimator:
        """Make an estimator of the task."""

    @abc.abstractmethod
    def _measured(
        self, estimator: Any, division: Division
    ) -> tuple[dict[str, Any], NDArray[np.floating[Any]]]:
        """Measure on the test images.

        Returns
        -------
        metrics : dict
            Values by name; ``main`` names the one that a leaderboard sorts by.
        values : ndarray
            One of each test image, by which backbones are compared.
        """
