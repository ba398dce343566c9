"""Exported ONNX files against the models: largest difference, and images per second on the CPU.

    TRANSFERKIT_DATA=FOLDER python benchmarks/onnx_export.py [--out FILE]

Models of two backbones with pretrained weights and six heads on sign-digits (a fifth held out,
seed 0) are exported and compared on 100 of the held-out photos, then timed on them from 8-bit
pixels to probabilities, a batch of each engine in turn: torch is the model itself (eager,
float32, as `transferkit predict` runs it, the store left out), ONNX Runtime the file. Features
are taken from the store (--store); what isn't there is extracted first.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from sklearn.model_selection import train_test_split

from transferkit import FeatureExtractor, TransferClassifier, artifacts, list_images
from transferkit.export import Saved, check_pixels, export_model
from transferkit.export import onnx as form
from transferkit.forward import Forward
from transferkit.heads import create_head

ROOT = Path(__file__).parents[1]
BACKBONES = ("mobilenetv2_035.keras_in1k", "mobilenetv2_100.coral_in1k")
HEADS = {
    "linear": {},
    "svm": {"kernel": "linear"},
    "mlp": {},
    "knn": {},
    "forest": {},
    "boosting": {},
}
N_PHOTOS = 100


def trained(data: Path, backbone: str, store: Path | None) -> tuple:
    """An extractor's rows on the training photos, their labels, and 100 held-out photos."""
    photos = list_images(data / "images" / "sign-digits")
    extractor = FeatureExtractor(f"local-dir:{data}/weights/{backbone}", store=store)
    order = np.arange(len(photos))
    train, test = train_test_split(order, test_size=0.2, stratify=photos.labels, random_state=0)
    return extractor, photos.select(np.sort(train)), photos.select(np.sort(test[:N_PHOTOS]))


def by_torch(saved: Saved):
    """The model itself, from pixels to probabilities."""
    forward = Forward(saved.model.backbone, saved.features, device="cpu")
    head = saved.model.head
    predict = head.predict_proba if hasattr(head, "predict_proba") else head.decision_function
    return lambda pixels: predict(forward.rows(pixels)["pre_logits"])


def images_per_second(engines: dict, pixels: np.ndarray, batch: int, rounds: int) -> dict:
    """Median over the rounds, the engines taking turns after a round that isn't counted."""
    seconds = {name: [] for name in engines}
    for number in range(rounds + 1):
        for name, predict in engines.items():
            start = time.perf_counter()
            for first in range(0, len(pixels), batch):
                predict(pixels[first : first + batch])
            if number:
                seconds[name].append(time.perf_counter() - start)
    speeds = {name: len(pixels) / statistics.median(times) for name, times in seconds.items()}
    ratios = [t / o for t, o in zip(seconds["torch"], seconds["onnxruntime"], strict=True)]
    found = {name: round(speed, 1) for name, speed in speeds.items()}
    return found | {"ratio": round(statistics.median(ratios), 2), "rounds": rounds}


def measured(backbone: str, data: Path, store: Path | None, rounds: int) -> list[dict]:
    """A row for each head on one backbone."""
    extractor, train, test = trained(data, backbone, store)
    rows = []
    for name, parameters in HEADS.items():
        model = TransferClassifier(extractor, create_head(name, **parameters)).fit(train)
        with tempfile.TemporaryDirectory() as folder:
            path = model.save(Path(folder, "model"))
            start = time.perf_counter()
            made = export_model(path, check=None)
            seconds = time.perf_counter() - start
            saved = Saved(artifacts.describe(path), artifacts.load(path))
            pixels = check_pixels(saved, test)
            torch_predict, onnx_predict = by_torch(saved), form.load(saved, made.path)
        kind = made.check.kind
        expected = np.concatenate([torch_predict(pixels[i : i + 8]) for i in range(0, 100, 8)])
        found = [onnx_predict(pixels[i : i + 8]) for i in range(0, 100, 8)]
        values = np.concatenate([part[kind] for part in found])
        labels = np.concatenate([part["label"] for part in found])
        scale = 1.0 if kind == "probabilities" else float(np.abs(expected).max())
        row = {
            "backbone": backbone,
            "head": name,
            "photos": len(pixels),
            "compared": kind,
            "largest_difference": float(f"{np.abs(values - expected).max() / scale:.3g}"),
            "same_label": int((labels == expected.argmax(axis=1)).sum()),
            "export_seconds": round(seconds, 1),
            "bytes": made.n_bytes,
        }
        if name == "linear":  # the others' time is the network's too
            engines = {"torch": torch_predict, "onnxruntime": onnx_predict}
            row["images_per_second"] = {
                f"batch {b}": images_per_second(engines, pixels, b, rounds) for b in (1, 8)
            }
        rows.append(row)
        logging.getLogger(__name__).info("%s", json.dumps(row))
    return rows


def main() -> None:
    """Measure all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/onnx_export.json")
    parser.add_argument("--store", type=Path, help="Feature store; the default place if left out.")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger(__name__).setLevel(logging.INFO)
    data = Path(os.environ["TRANSFERKIT_DATA"])
    rows = [r for name in BACKBONES for r in measured(name, data, options.store, options.rounds)]
    result = {
        "rows": rows,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "versions": {
            "torch": torch.__version__,
            "onnxruntime": onnxruntime.__version__,
            "python": platform.python_version(),
        },
    }
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
