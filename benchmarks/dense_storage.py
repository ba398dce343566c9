"""Segmentation from maps stored as float32, float16 and int8: quality, bytes and seconds.

    TRANSFERKIT_DATA=FOLDER python benchmarks/dense_storage.py [--storage float16 int8]

``FOLDER`` holds ``images/nuclei`` (``images``, ``masks``, ``train.txt``, ``val.txt``) and
``weights/mobilenetv2_100.coral_in1k``. Each storage has a store of its own; the same heads are
trained on its maps with the same seeds, so what differs is what the storage moved. Results:
``benchmarks/results/dense_storage.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.estimators.extractor import FeatureExtractor
from transferkit.estimators.segmenter import TransferSegmenter
from transferkit.extract import mirrored
from transferkit.spec import STORAGE_DTYPES
from transferkit.store import FeatureStore

RESULTS = Path(__file__).parent / "results" / "dense_storage.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
FOLDER = DATA / "images/nuclei"
BACKBONE = f"local-dir:{DATA}/weights/mobilenetv2_100.coral_in1k"
LEVELS = "stage1.map,stage2.map,stage3.map,stage4.map"


def part(name: str) -> tuple[list[Path], list[np.ndarray]]:
    """Images and class maps of a split."""
    files = (FOLDER / f"{name}.txt").read_text().split()
    maps = [np.asarray(Image.open(FOLDER / "masks" / file)).astype(int) for file in files]
    return [FOLDER / "images" / file for file in files], maps


def measured(storage: str, heads: list[str], seeds: int, epochs: int) -> dict[str, Any]:
    """One storage: bytes, seconds, and the mean IoU of each head and seed."""
    train, val = part("train"), part("val")
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(folder)
        extractor = FeatureExtractor(
            BACKBONE,
            LEVELS,
            image_size=256,
            crop_mode="squash",
            crop_pct=1.0,
            storage=storage,
            store=store,
        )
        start = time.perf_counter()
        plain = extractor.extract(train[0] + val[0], keep_rows=False)
        view = mirrored(extractor.resolve().preprocess)
        extractor.extract(train[0], keep_rows=False, view=view)
        told["extract_seconds"] = round(time.perf_counter() - start, 2)
        told["bytes"] = sum(info.n_bytes for info in store.list_keys())
        told["loss"] = {k: v for k, v in (plain.provenance or {}).items() if "storage" in k}
        start = time.perf_counter()
        for rows in plain.stored.values():
            for _ in rows.batches():
                pass
        told["read_seconds"] = round(time.perf_counter() - start, 3)
        for head in heads:
            scores, seconds = [], []
            for seed in range(seeds):
                start = time.process_time()
                recipe = {"epochs": epochs, "seed": seed}
                model = TransferSegmenter(extractor, head, recipe=recipe).fit(*train)
                seconds.append(time.process_time() - start)
                scores.append(100 * model.score(*val))
            told[head] = {
                "mean_iou": [round(score, 3) for score in scores],
                "average": round(float(np.mean(scores)), 3),
                "train_cpu_seconds": round(float(np.mean(seconds)), 1),
            }
            print(storage, head, told[head], flush=True)
    return told


def main() -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", nargs="+", choices=STORAGE_DTYPES, default=STORAGE_DTYPES)
    parser.add_argument("--heads", nargs="+", default=["linear", "fpn"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for storage in options.storage:
        results[storage] = measured(storage, options.heads, options.seeds, options.epochs)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(storage, results[storage], flush=True)


if __name__ == "__main__":
    main()
