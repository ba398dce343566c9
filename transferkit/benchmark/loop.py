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
from transferkit.benchmark._extracted import ExtractedDataset
from transferkit.benchmark.data import BenchmarkDataset
from transferkit.benchmark.evaluation import evaluate
from transferkit.benchmark.grid import Cell, Want, cells_of, resolved
from transferkit.benchmark.results import Results
from transferkit.estimators import FeatureExtractor
from transferkit.extract import Estimate, Extraction
from transferkit.heads import create_head
from transferkit.protocols import create_protocol
from transferkit.spec import BackboneSpec
from transferkit.tasks import task_of

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
        names = [cell.feature for cell in self.cells if cell.feature != "auto"]
        if any(cell.feature == "auto" for cell in self.cells):
            names += candidates(self.spec)
        return list(dict.fromkeys(names))


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
    numeric = {name: machine[name] for name in ("precision", "storage") if name in machine}
    for dataset in datasets:
        for backbone in backbones:
            groups: dict[str, ExtractionGroup] = {}
            for cell in cells_of(backbone, want, has_val=bool((dataset.parts == "val").any())):
                published: dict[str, Any] = {}
                deviates: list[str] = []
                if cell.kind == "protocol":
                    settings = create_protocol(cell.probe).settings
                    published = settings.geometry.options()
                    deviates = list(getattr(settings, "deviates", ()))
                    deviates += ["feature"] * (cell.feature != settings.feature)
                geometry = dict(want.geometry)
                spec, fixed = resolved(backbone, {**published, **geometry})
                if geometry and cell.kind == "protocol":
                    own, now = resolved(backbone, published)[0].preprocess, spec.preprocess
                    deviates += [k for k in geometry if getattr(own, k) != getattr(now, k)]
                deviates += fixed
                group = groups.setdefault(
                    spec.to_json(), ExtractionGroup(dataset, backbone, spec, {}, [], numeric)
                )
                group.deviates[cell.probe, cell.feature] = sorted(set(deviates))
                group.cells.append(cell)
            collected += groups.values()
    return collected


def plan_benchmark(
    datasets: Sequence[BenchmarkDataset], backbones: Sequence[str], want: Want, **machine: Any
) -> list[tuple[ExtractionGroup, Estimate]]:
    """Estimate what the extractions would take, by timing a few batches. Nothing is stored."""
    return [
        (
            group,
            FeatureExtractor(group.spec, group.features(), **machine).plan(group.dataset.images),
        )
        for group in passes(datasets, backbones, want, machine)
    ]


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
        Probes, features, shots and seeds.
    **machine
        Options of `FeatureExtractor`: ``store``, ``device``, ``precision``, ``batch_size``.

    Yields
    ------
    Finished
        One for each cell, when it is; a failed one doesn't stop the others.
    """
    for group in passes(datasets, backbones, want or Want(), machine):
        try:
            extraction = _extracted(group, machine)
        except (ValueError, OSError, RuntimeError) as error:
            for cell in group.cells:
                yield _failed(group, cell, f"pass:{group.spec.to_json()}", results, error)
            continue
        yield from _cells(group, extraction, results)


def _extracted(group: ExtractionGroup, machine: dict[str, Any]) -> Extraction:
    extractor = FeatureExtractor(group.spec, group.features(), **machine)
    return extractor.extract(group.dataset.images, on_error="skip")


def _cells(group: ExtractionGroup, extraction: Extraction, results: Results) -> Iterator[Finished]:
    extracted = ExtractedDataset(group.dataset, extraction)
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
    group: ExtractionGroup, cell: Cell, key: str, extracted: ExtractedDataset, results: Results
) -> Finished:
    extraction = extracted.extraction
    feature, tried = cell.feature, None
    if not len(extracted.division.measured):
        why = extracted.division.left_out_line() or "no test image could be read"
        raise ValueError(f"not measured: {why}")
    if feature == "auto":
        tried = _tried(cell, extracted)
        feature = max(tried, key=lambda name: tried[name])
    parts = extracted.parts(cell, feature)
    outcome = evaluate(cell, parts, extracted.test(feature), group.dataset)
    row = {
        **_about(group, cell, key),
        "status": "done",
        "feature": feature,
        "spec_key": group.spec.feature_spec(feature, **group.numeric).key,
        "auto": tried,
        **outcome.row,
        "extract_seconds": round(extraction.seconds, 3),
        "n_extracted": extraction.n_computed,
        "n_unreadable": len(extraction.failures),
    }
    results.add(row, outcome.values)
    return Finished(cell, "done", row)


def _tried(cell: Cell, extracted: ExtractedDataset) -> dict[str, float]:
    """Score every candidate feature on the validation part with a ridge head."""
    scores = {}
    for feature in candidates_of(extracted.extraction):
        train, validation = extracted.parts(cell, feature).divided(0.2, cell.seed or 0)
        kind = task_of(extracted.dataset.task).head_kind
        scores[feature] = float(create_head("ridge", kind).fit(*train).score(*validation))
    return scores


def candidates_of(extraction: Extraction) -> list[str]:
    """Features of an extraction that a head can take."""
    return [name for name, X in extraction.rows.items() if X.ndim == 2 and name != "logits"]


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
