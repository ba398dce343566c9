"""What int8 and float16 rows cost on sign-digits: bytes, cosines, and the accuracy of heads.

    TRANSFERKIT_DATA=FOLDER python benchmarks/certificates.py

``FOLDER`` holds ``images/sign-digits`` and ``weights/``. Rows are computed once, in float32, and
stored in each class. The linear head is fitted and scored on the same rows of each class: a fifth
of the images, drawn with each seed, is held out. ``heavy`` are the same features with three of
their dimensions a hundred times as large, as a few are in some transformers. Results:
``benchmarks/results/certificates.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract.certifying import certify
from transferkit.heads import create_head
from transferkit.images import list_images
from transferkit.spec import STORAGE_DTYPES, FeatureSpec
from transferkit.store import FeatureStore
from transferkit.store.encoding import row_type

RESULTS = Path(__file__).parent / "results" / "certificates.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
WEIGHTS = ["mobilenetv2_035.keras_in1k", "mobilenetv2_100.coral_in1k"]


def stored(rows: NDArray[Any], spec: FeatureSpec, storage: str) -> NDArray[Any]:
    """The rows as they are read from a store of a class."""
    ids = [i.to_bytes(16, "big") for i in range(len(rows))]
    own = dataclasses.replace(spec, storage=storage)
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(folder)
        store.write(own, ids, rows)
        return store.read(own, ids)


def accuracies(X: NDArray[Any], y: NDArray[Any], seeds: int) -> list[float]:
    """Accuracy of the linear head on a fifth of the images, percent, for each seed."""
    found = []
    for seed in range(seeds):
        parts = train_test_split(X, y, test_size=0.2, stratify=y, random_state=seed)
        head = create_head("linear").fit(parts[0], parts[2])
        found.append(round(100 * float(head.score(parts[1], parts[3])), 3))
    return found


def measured(
    rows: NDArray[Any], labels: list[str], spec: FeatureSpec, storage: str, seeds: int
) -> dict[str, Any]:
    """One class of rows."""
    scores = accuracies(stored(rows, spec, storage).astype(np.float32), np.array(labels), seeds)
    told: dict[str, Any] = {"bytes_per_row": row_type(storage, rows.shape[1:]).itemsize}
    if storage != "float32":
        told |= dataclasses.asdict(certify(rows, storage, labels))
    return told | {"linear_head": scores, "average": round(float(np.mean(scores)), 3)}


def main() -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    images = list_images(DATA / "images/sign-digits")
    labels = [str(label) for label in images.labels or ()]
    results: dict[str, Any] = {"seeds": options.seeds, "images": len(images)}
    for name in WEIGHTS:
        extractor = FeatureExtractor(f"local-dir:{DATA}/weights/{name}", "pre_logits")
        rows = extractor.transform(images)
        spec = extractor.resolve().feature_spec("pre_logits")
        heavy = rows.copy()
        heavy[:, np.random.default_rng(0).choice(rows.shape[1], 3, replace=False)] *= 100
        for what, own in {name: rows, f"{name}, heavy": heavy}.items():
            for storage in STORAGE_DTYPES:
                told = measured(own, labels, spec, storage, options.seeds)
                results.setdefault(what, {})[storage] = told
                print(what, storage, told, flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
