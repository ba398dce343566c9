"""Exported ONNX files against the models: largest difference, and images per second on the CPU.

    TRANSFERKIT_DATA=FOLDER python benchmarks/onnx_export.py differences|speed [--out FILE]

Models of two backbones with pretrained weights on sign-digits (a fifth held out, seed 0) are
exported and run on 100 of the held-out photos, from 8-bit pixels to probabilities: by torch, the
model itself (eager, float32, as `transferkit predict` runs it, the store left out), and by ONNX
Runtime, the file.

- differences: five heads, the largest difference and equal labels
- speed: the linear head, images per second, the engines taking turns; with OMP_NUM_THREADS threads

Each writes its part of the file and keeps the other. Features are taken from the store (--store);
what isn't there is extracted first.
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


def deployed(extractor: FeatureExtractor, train, test, name: str) -> tuple:
    """A trained head's export: what it took, pixels, and both ways to predict from them."""
    head = create_head(name, **HEADS[name])
    model = TransferClassifier(extractor, head).fit(train)
    with tempfile.TemporaryDirectory() as folder:
        path = model.save(Path(folder, "model"))
        made = export_model(path)
        saved = Saved(artifacts.describe(path), artifacts.load(path))
        return made, check_pixels(saved, test), by_torch(saved), form.load(saved, made.path)


def differences(data: Path, store: Path | None) -> list[dict]:
    """A row for each backbone and head."""
    rows = []
    for backbone in BACKBONES:
        parts = trained(data, backbone, store)
        for name in HEADS:
            made, pixels, torch_predict, onnx_predict = deployed(*parts, name)
            kind, batches = made.check.kind, [pixels[i : i + 8] for i in range(0, len(pixels), 8)]
            expected = np.concatenate([torch_predict(batch) for batch in batches])
            found = [onnx_predict(batch) for batch in batches]
            difference = np.abs(np.concatenate([part[kind] for part in found]) - expected).max()
            labels = np.concatenate([part["label"] for part in found])
            scale = 1.0 if kind == "probabilities" else float(np.abs(expected).max())
            row = {
                "backbone": backbone,
                "head": name,
                "photos": len(pixels),
                "compared": kind,
                "largest_difference": float(f"{difference / scale:.3g}"),
                "same_label": int((labels == expected.argmax(axis=1)).sum()),
                "bytes": made.n_bytes,
            }
            rows.append(row)
            logging.getLogger(__name__).info("%s", json.dumps(row))
    return rows


def speed(data: Path, store: Path | None, rounds: int) -> list[dict]:
    """A row for each backbone and batch size."""
    rows = []
    for backbone in BACKBONES:
        _, pixels, torch_predict, onnx_predict = deployed(*trained(data, backbone, store), "linear")
        engines = {"torch": torch_predict, "onnxruntime": onnx_predict}
        for batch in (1, 8):
            found = images_per_second(engines, pixels, batch, rounds)
            rows.append({"backbone": backbone, "batch": batch, "images_per_second": found})
            logging.getLogger(__name__).info("%s", json.dumps(rows[-1]))
    return rows


def main() -> None:
    """Measure one part and write it beside the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["differences", "speed"])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/onnx_export.json")
    parser.add_argument("--store", type=Path, help="Feature store; the default place if left out.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger(__name__).setLevel(logging.INFO)
    data = Path(os.environ["TRANSFERKIT_DATA"])
    if options.part == "speed":
        rows = speed(data, options.store, options.rounds)
    else:
        rows = differences(data, options.store)
    result = json.loads(options.out.read_text()) if options.out.exists() else {}
    result[options.part] = {
        "rows": rows,
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),  # well above the threads: not alone
        "machine": platform.machine(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
