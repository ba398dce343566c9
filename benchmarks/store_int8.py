"""One pass over stored rows, as float32, float16 and int8: bytes, seconds and memory.

    python benchmarks/store_int8.py [--rows 100000] [--width 1024]

Synthetic rows are written in shards of 64 MB of float32; then a new process reads them all, in
blocks of 64 MB, each row checked. Files are in the system's cache, so what is measured is work, not
a disk. Results: ``benchmarks/results/store_int8.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.spec import STORAGE_DTYPES, FeatureSpec, Preprocess
from transferkit.store import FeatureStore

RESULTS = Path(__file__).parent / "results" / "store_int8.json"
PREPROCESS = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
SPEC = FeatureSpec("timm:resnet18", "{}", "random:0", PREPROCESS, "pre_logits")


def fill(folder: str, spec: FeatureSpec, n: int, width: int) -> float:
    """Write the rows; return seconds of CPU."""
    store, step = FeatureStore(folder), 2**24 // width
    rng, seconds = np.random.default_rng(0), 0.0
    for start in range(0, n, step):
        rows = rng.standard_normal((min(step, n - start), width), dtype=np.float32)
        ids = [i.to_bytes(16, "big") for i in range(start, start + len(rows))]
        before = time.process_time()
        store.write(spec, ids, rows)
        seconds += time.process_time() - before
    return round(seconds, 2)


def passed(folder: str, storage: str, n: int) -> dict[str, Any]:
    """Read everything once in this process."""
    spec = dataclasses.replace(SPEC, storage=storage)
    rows = FeatureStore(folder).open(spec, [i.to_bytes(16, "big") for i in range(n)])
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    before = pages * resource.getpagesize() // 1024
    wall, cpu, total = time.perf_counter(), time.process_time(), 0.0
    for batch in rows.batches():
        total += float(batch[:, 0].sum())
    return {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "peak_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
        "sum_of_first": round(total, 2),
    }


def main() -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(passed(*options.read, options.rows)))
        return
    results: dict[str, Any] = {"rows": options.rows, "width": options.width}
    with tempfile.TemporaryDirectory() as folder:
        for storage in STORAGE_DTYPES:
            spec = dataclasses.replace(SPEC, storage=storage)
            told: dict[str, Any] = {
                "write_cpu_seconds": fill(folder, spec, options.rows, options.width)
            }
            told["bytes"] = FeatureStore(folder).info(spec.key).n_bytes
            call = [sys.executable, __file__, "--read", folder, storage]
            call += ["--rows", str(options.rows)]
            runs = [
                json.loads(subprocess.run(call, check=True, capture_output=True).stdout)
                for _ in range(3)
            ]
            told["passes"] = runs
            results[storage] = told
            print(storage, told, flush=True)
            FeatureStore(folder).gc([spec.key])
    results["cores"] = os.cpu_count()
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
