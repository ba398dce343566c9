"""Anomaly methods on a set of boards that aren't aligned, and on made scenes that are.

    TRANSFERKIT_DATA=FOLDER python benchmarks/anomaly.py [pcb] [pcb-320] [scenes] [seeds]

``FOLDER`` holds ``images/pcb`` (MVTec's layout), ``images/free`` (photographs that the scenes
are made of: see ``anomaly_scenes.py``) and ``weights/mobilenetv2_100.coral_in1k`` (timm's
local-dir layout). Maps are extracted once for each set, and not timed with the methods. Numbers
are measured on the test part, in the images' px. Seconds are CPU seconds of one thread: of the
whole of ``fit``, with two folds for the thresholds, and of scoring one image. Each part's
results replace its entry in ``benchmarks/results/anomaly.json``.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from anomaly_scenes import ALIGNED, TEXTURES, scenes

from transferkit.annotations import Annotations
from transferkit.dense.anomaly import anomaly_methods
from transferkit.estimators import AnomalyDetector
from transferkit.images import list_images

RESULTS = Path(__file__).parent / "results" / "anomaly.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "."))
BACKBONE = f"local-dir:{DATA / 'weights' / 'mobilenetv2_100.coral_in1k'}"
FOLDS = 2
METRICS = ("image_auroc", "pixel_auroc", "aupro", "anomaly_f1", "false_alarms", "found")


def measured(
    train: Any, test: Any, truth: Any, head: str, store: str, **options: Any
) -> dict[str, Any]:
    """Fit one method and measure it."""
    detector = AnomalyDetector(BACKBONE, head, store=store, folds=FOLDS, **options)
    start = time.process_time()
    detector.fit(train)
    seconds = time.process_time() - start
    start = time.process_time()
    report = detector.measure(test, truth)
    each = (time.process_time() - start) / report.n
    row = {name: report.value(name) for name in METRICS}
    found = {name: None if v is None else round(v, 4) for name, v in row.items()} | {
        "method": detector.choice_.method,
        "alignment": detector.choice_.alignment,
        "fit_seconds": round(seconds, 1),
        "seconds_per_image": round(each, 3),
        "input": list(detector.input_size_),
    }
    numbers = " ".join(f"{name} {found[name]}" for name in METRICS)
    print(f"  {head:12} {found['method']:12} {numbers} fit {seconds:.1f} s", flush=True)
    return found


def every_method(
    train: Any, test: Any, truth: Any, store: str, heads: Any = None, **options: Any
) -> dict[str, Any]:
    """Measure methods; the one that ``auto`` chose isn't measured twice."""
    found: dict[str, Any] = {}
    for head in heads or ("auto", *anomaly_methods()):
        chosen = found.get("auto", {"method": None})
        is_known = chosen["method"] == head
        found[head] = chosen if is_known else measured(train, test, truth, head, store, **options)
    return found


def pcb(image_size: int | None = None, heads: Any = None, **options: Any) -> dict[str, Any]:
    """Methods on boards that aren't aligned with one another."""
    root = DATA / "images" / "pcb"
    train = list_images(root, annotated=True).split("train")
    with tempfile.TemporaryDirectory() as store:
        warm = {"image_size": image_size, "store": store}
        AnomalyDetector(BACKBONE, "mahalanobis", **warm).fit(train).scores(root / "test")
        test, truth = root / "test", root / "ground_truth"
        options = {"image_size": image_size, **options}
        return every_method(train, test, truth, store, heads, **options)


def on_scenes() -> dict[str, Any]:
    """Methods on scenes of every photograph, and their means over things and textures."""
    found: dict[str, Any] = {}
    for name in (*ALIGNED, *TEXTURES):
        print(name, flush=True)
        made = scenes(DATA / "images" / "free", name)
        truth = [
            Annotations(mask.shape, map=mask.astype(int), score=float(mask.any()))
            for mask in made.masks
        ]
        with tempfile.TemporaryDirectory() as store:
            AnomalyDetector(BACKBONE, "mahalanobis", store=store).fit(made.train).scores(made.test)
            found[name] = every_method(made.train, made.test, truth, store)
    for kind, names in (("mean of things", ALIGNED), ("mean of textures", TEXTURES)):
        found[kind] = {
            head: {
                metric: round(float(np.mean([found[name][head][metric] for name in names])), 4)
                for metric in METRICS
            }
            for head in ("auto", *anomaly_methods())
        }
        print(kind, found[kind], flush=True)
    return found


def seeds() -> dict[str, Any]:
    """What the seed of sample, projection and coreset changes."""
    return {f"seed {seed}": pcb(heads=("patchcore",), seed=seed)["patchcore"] for seed in range(3)}


PARTS: dict[str, Callable[[], Any]] = {
    "pcb": pcb,
    "pcb-320": lambda: pcb(320),
    "scenes": on_scenes,
    "seeds": seeds,
}


def main() -> None:
    """Measure the parts named on the command line, or all."""
    import torch

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    for name in sys.argv[1:] or PARTS:
        print(f"== {name}", flush=True)
        found = PARTS[name]()
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = found
        results["machine"] = {
            "cpu": platform.processor() or platform.machine(),
            "threads": 1,
            "torch": torch.__version__,
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
