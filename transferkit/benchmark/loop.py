"""The benchmark's loop: extract each dataset once per backbone, then measure its cells."""

from __future__ import annotations

import datetime
import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import sklearn
import torch

import transferkit
from transferkit.backbones import build_backbone
from transferkit.benchmark._annotated import ExtractedAnnotations
from transferkit.benchmark._detected import DetectedDataset
from transferkit.benchmark._extracted import ExtractedDataset
from transferkit.benchmark._segmented import SegmentedDataset
from transferkit.benchmark.data import (
    AnnotatedDataset,
    BenchmarkDataset,
    ObjectDataset,
    SegmentationDataset,
)
from transferkit.benchmark.grid import Cell, Want, cells_of, default_protocols, resolved
from transferkit.benchmark.object_grid import object_cells
from transferkit.benchmark.results import Results
from transferkit.benchmark.segmentation_grid import MapCell, head_geometry, segmentation_cells
from transferkit.estimators import FeatureExtractor
from transferkit.extract import Estimate, mirrored
from transferkit.spec import BackboneSpec

__all__ = ["ExtractionGroup", "Finished", "benchmark", "passes", "plan_benchmark"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ExtractionGroup:
    """Cells of one dataset that share a backbone and a geometry, and so one extraction.

    Parameters
    ----------
    dataset : BenchmarkDataset
        Images.
    backbone : str
        As the user wrote it.
    spec : BackboneSpec
        Resolved in the geometry.
    deviates : dict of (str, str) to list of str
        Deviations from the published protocol, for each probe and feature.
    cells : list of Cell
        The cells to measure.
    numeric : dict of str to str
        Precision and storage, where they aren't the default.
    """

    dataset: BenchmarkDataset
    backbone: str
    spec: BackboneSpec
    deviates: dict[tuple[str, str], list[str]]
    cells: list[Cell]
    numeric: dict[str, str]

    def features(self) -> list[str]:
        """All feature names that the cells need."""
        of_maps = [cell for cell in self.cells if isinstance(cell, MapCell)]
        if of_maps:
            maps = [cell.maps_of(cell.feature, self.spec) for cell in of_maps]
            return list(dict.fromkeys(name for names in maps for name in names))
        names = [cell.feature for cell in self.cells if cell.feature != "auto"]
        if any(cell.feature == "auto" for cell in self.cells):
            names += candidates(self.spec)
        return list(dict.fromkeys(names))

    def n_views(self) -> int:
        """How many views of a training image are extracted, itself among them."""
        return max((c.n_views() for c in self.cells if isinstance(c, MapCell)), default=1)


@dataclass(frozen=True)
class Finished:
    """The result of one cell, and whether it was measured now, earlier, or failed.

    Parameters
    ----------
    cell : Cell
        The cell.
    status : {"done", "failed", "kept"}
        ``kept`` was done by an earlier run.
    row : dict
        Its result row.
    """

    cell: Cell
    status: str
    row: dict[str, Any]


def candidates(spec: BackboneSpec) -> list[str]:
    """Features among which ``auto`` chooses: every layer by mean, maximum or class token."""
    names = []
    for layer, info in build_backbone(spec).layers.items():
        if not info.is_map:
            names += [layer] * (layer == "pre_logits")
        else:
            names += [f"{layer}.{p}" for p in ("avg", "cls" if info.has_class_token else "max")]
    return names


def passes(
    datasets: Sequence[BenchmarkDataset],
    backbones: Sequence[str],
    want: Want,
    machine: Mapping[str, Any],
) -> list[ExtractionGroup]:
    """Group the cells of the whole grid, so that one extraction serves each group."""
    collected: list[ExtractionGroup] = []
    for dataset in datasets:
        numeric = {name: machine[name] for name in ("precision", "storage") if name in machine}
        if isinstance(dataset, AnnotatedDataset):
            numeric = {"storage": "float16", **numeric}
        for backbone in backbones:
            groups: dict[str, ExtractionGroup] = {}
            for cell in _grid(dataset, backbone, want):
                spec, deviates = _resolved(cell, dataset, dict(want.geometry))
                group = groups.setdefault(
                    spec.to_json(), ExtractionGroup(dataset, backbone, spec, {}, [], numeric)
                )
                group.deviates[cell.probe, cell.feature] = deviates
                group.cells.append(cell)
            collected += groups.values()
    return collected


def _grid(dataset: BenchmarkDataset, backbone: str, want: Want) -> list[Cell]:
    if isinstance(dataset, SegmentationDataset):
        return segmentation_cells(backbone, want)
    if isinstance(dataset, ObjectDataset):
        return object_cells(backbone, want, dataset.task)
    return cells_of(backbone, want, has_val=bool((dataset.parts == "val").any()))


def _resolved(
    cell: Cell, dataset: BenchmarkDataset, geometry: dict[str, Any]
) -> tuple[BackboneSpec, list[str]]:
    """A cell's backbone in its geometry, and what deviates from the published protocol."""
    settings = cell.published()
    published: dict[str, Any] = {}
    deviates: list[str] = []
    if settings is not None:
        published = settings.geometry.options()
        deviates = list(getattr(settings, "deviates", ()))
        deviates += ["feature"] * (cell.feature != settings.feature)
    elif isinstance(dataset, AnnotatedDataset):
        published = head_geometry(cell.backbone, dataset)
    spec, fixed = resolved(cell.backbone, {**published, **geometry})
    if geometry and settings is not None:
        own, now = resolved(cell.backbone, published)[0].preprocess, spec.preprocess
        deviates += [k for k in geometry if getattr(own, k) != getattr(now, k)]
    return spec, sorted({*deviates, *fixed})


def plan_benchmark(
    datasets: Sequence[BenchmarkDataset], backbones: Sequence[str], want: Want, **machine: Any
) -> list[tuple[ExtractionGroup, Estimate]]:
    """Estimate what the extractions would take, by timing a few batches. Nothing is stored.

    Mirror images and other views are counted for all images, though only those to train on need
    them.
    """
    planned = []
    for group in passes(datasets, backbones, want, machine):
        extractor = FeatureExtractor(group.spec, group.features(), **{**machine, **group.numeric})
        # One view takes as long as another.
        views = [None] + [mirrored(group.spec.preprocess)] * (group.n_views() - 1)
        planned.append((group, extractor.plan(group.dataset.images, views=views)))
    return planned


def benchmark(
    datasets: Sequence[BenchmarkDataset],
    backbones: Sequence[str],
    results: Results,
    want: Want | None = None,
    **machine: Any,
) -> Iterator[Finished]:
    """Measure every combination that isn't in the results yet.

    Parameters
    ----------
    datasets : sequence of BenchmarkDataset
        From `load_dataset`.
    backbones : sequence of str
        Names, ``NAME@random`` for random weights.
    results : Results
        Where rows are kept; what is done there isn't done again.
    want : Want, optional
        Probes, features, shots and seeds; by default the first dataset's task's own protocol.
    **machine
        Options of `FeatureExtractor`: ``store``, ``device``, ``precision``, ``batch_size``.

    Yields
    ------
    Finished
        One for each cell, when it is; a failed one doesn't stop the others.
    """
    if want is None:
        want = Want(default_protocols(datasets[0].task)) if datasets else Want()
    for group in passes(datasets, backbones, want, machine):
        try:
            extracted = _extracted(group, machine)
        except (ValueError, OSError, RuntimeError) as error:
            for cell in group.cells:
                yield _failed(group, cell, f"pass:{group.spec.to_json()}", results, error)
            continue
        yield from _cells(group, extracted, results)


def _extracted(
    group: ExtractionGroup, machine: dict[str, Any]
) -> ExtractedDataset | ExtractedAnnotations:
    """Pass a dataset through the network once."""
    options = {**machine, **group.numeric}
    if isinstance(group.dataset, AnnotatedDataset):
        finds = isinstance(group.dataset, ObjectDataset)
        kind: type[ExtractedAnnotations] = DetectedDataset if finds else SegmentedDataset
        return kind(group.dataset, group.spec, group.features(), options)
    extractor = FeatureExtractor(group.spec, group.features(), **options)
    return ExtractedDataset(group.dataset, extractor.extract(group.dataset.images, on_error="skip"))


def _cells(
    group: ExtractionGroup, extracted: ExtractedDataset | ExtractedAnnotations, results: Results
) -> Iterator[Finished]:
    if left_out := extracted.division.left_out_line():
        logger.warning("%s: %s; nothing is measured on them", group.dataset.name, left_out)
    done = {row["cell"]: row for row in results.rows() if row["status"] == "done"}
    for cell in group.cells:
        key = cell.key(extracted.digest, group.spec, group.numeric)
        if key in done:
            yield Finished(cell, "kept", done[key])
            continue
        try:
            yield _measured(group, cell, key, extracted, results)
        except (ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
            yield _failed(group, cell, key, results, error)


def _measured(
    group: ExtractionGroup,
    cell: Cell,
    key: str,
    extracted: ExtractedDataset | ExtractedAnnotations,
    results: Results,
) -> Finished:
    if not len(extracted.division.measured):
        why = extracted.division.left_out_line() or "no test image could be read"
        raise ValueError(f"not measured: {why}")
    feature, tried, outcome = extracted.outcome(cell)
    row = {
        **_about(group, cell, key),
        "status": "done",
        "feature": feature,
        "spec_key": cell.spec_key(feature, group.spec, group.numeric),
        "auto": tried,
        **outcome.row,
        **extracted.facts,
    }
    results.add(row, outcome.values, outcome.answers)
    return Finished(cell, "done", row)


def _failed(
    group: ExtractionGroup, cell: Cell, key: str, results: Results, error: BaseException
) -> Finished:
    about = _about(group, cell, key)
    row = {**about, "status": "failed", "error": f"{type(error).__name__}: {error}"}
    results.add(row)
    logger.warning("%s on %s, %s: %s", cell.backbone, group.dataset.name, cell.probe, error)
    return Finished(cell, "failed", row)


def _about(group: ExtractionGroup, cell: Cell, key: str) -> dict[str, Any]:
    preprocess = group.spec.preprocess
    return {
        "cell": key,
        "dataset": group.dataset.name,
        "task": group.dataset.task,
        "n_classes": len(group.dataset.classes),
        "backbone": cell.backbone,
        "architecture": f"{group.spec.source}:{group.spec.architecture}",
        "weights": group.spec.weights,
        "probe": cell.probe,
        "kind": cell.kind,
        "feature": cell.feature,
        "shots": cell.shots,
        "seed": cell.seed,
        "deviates": group.deviates[cell.probe, cell.feature],
        "image_size": list(preprocess.image_size),
        "crop_pct": preprocess.crop_pct,
        "crop_mode": preprocess.crop_mode,
        "interpolation": preprocess.interpolation,
        "versions": {
            "transferkit": transferkit.__version__,
            "timm": version("timm"),
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
        },
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
