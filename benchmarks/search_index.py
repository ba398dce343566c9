"""Search by an index of product quantisation beside exact search: seconds, bytes and recall.

    TRANSFERKIT_DATA=FOLDER python benchmarks/search_index.py [--rows 100000] [--width 512]

Synthetic rows (a mixture of 1,000 classes within 64 directions) lie in a store and are read from
there; one query at a time, as ``transferkit search`` does, and a hundred. ``sign-digits`` are the
real features of 2,062 photos, where an index isn't worth it, for the recall alone. Results:
``benchmarks/results/search_index.json``.
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
from numpy.typing import NDArray

from transferkit.estimators.extractor import FeatureExtractor
from transferkit.images import list_images
from transferkit.inspection.neighbors import nearest_rows
from transferkit.inspection.product_index import open_index
from transferkit.spec import FeatureSpec, Preprocess
from transferkit.store import FeatureStore
from transferkit.store.inputs import id_array

RESULTS = Path(__file__).parent / "results" / "search_index.json"
DATA = Path(os.environ.get("TRANSFERKIT_DATA", "data"))
WEIGHTS = ["mobilenetv2_035.keras_in1k", "mobilenetv2_100.coral_in1k"]
PREPROCESS = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
SPEC = FeatureSpec("timm:resnet18", "{}", "random:0", PREPROCESS, "pre_logits")


def synthetic(n: int, width: int) -> NDArray[np.float32]:
    """Rows of classes that overlap, in few directions and some noise."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, 64), dtype=np.float32)
    directions = rng.standard_normal((64, width), dtype=np.float32) / 8
    inner = centres[rng.integers(0, 1000, n)] + rng.standard_normal((n, 64), dtype=np.float32)
    noise = rng.standard_normal((n, width), dtype=np.float32)
    return np.maximum(inner @ directions + 0.3 * noise, 0)


def measured(rows: Any, queries: NDArray[Any], metric: str, folder: str) -> dict[str, Any]:
    """One set of rows."""
    ids = id_array([i.to_bytes(8, "big") * 2 for i in range(len(rows))])
    path = Path(folder) / f"{metric}.safetensors"
    told: dict[str, Any] = {}

    def timed(what: str, call: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        found = call()
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        told[what] = {"seconds": round(seconds[0], 3), "cpu": round(seconds[1], 3)}
        return found

    timed("build", lambda: open_index(path, ["k"], metric, [rows], ids))
    index = timed("open", lambda: open_index(path, ["k"], metric, [rows], ids))
    for n in (1, len(queries)):
        part = queries[:n]
        timed(f"exact_{n}", lambda part=part: nearest_rows(part, [rows], 20, metric=metric))
        timed(f"index_{n}", lambda part=part: index.search(part, [rows], ids, 20))
    return told | {"index_bytes": path.stat().st_size, "recall_at_20": round(index.recall, 4)}


def main() -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    options = parser.parse_args()
    results: dict[str, Any] = {"rows": options.rows, "width": options.width}
    with tempfile.TemporaryDirectory() as folder:
        made, store = synthetic(options.rows, options.width), FeatureStore(folder)
        ids = [i.to_bytes(8, "big") * 2 for i in range(options.rows)]
        for start in range(0, options.rows, 20_000):
            part = slice(start, start + 20_000)
            store.write(SPEC, ids[part], made[part])
        for metric in ("cosine", "euclidean"):
            rows = store.open(SPEC, ids)
            results[metric] = measured(rows, made[::997][:100], metric, folder)
            print(metric, results[metric], flush=True)
    for name in WEIGHTS:
        extractor = FeatureExtractor(f"local-dir:{DATA}/weights/{name}", "pre_logits")
        rows = extractor.transform(list_images(DATA / "images/sign-digits"))
        with tempfile.TemporaryDirectory() as folder:
            told = measured(rows, rows[::21], "cosine", folder)
        results[f"sign-digits {name}"] = {k: told[k] for k in ("recall_at_20", "index_bytes")}
        print(name, results[f"sign-digits {name}"], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
