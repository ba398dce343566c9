"""What a million and a hundred million images take, from what is measured on this machine.

    python benchmarks/scaling.py [--files 100000] [--rows 1000000] [--folder FOLDER]

Measured, each in a process of its own: listing a folder of small files in a hundred classes, their
digests the first time and from the digest memory, and how large the list and the memory are; a
store of rows of 2,048 float32 numbers in shards of 1,024 rows, written, opened, asked which rows
are missing, read through once, and how large its index is in memory. The rate of decoding comes
from ``benchmarks/results/extraction.json``. The forward pass is not measured here: the table is for
a GPU that computes `FORWARD` images a second, which is what timm's own benchmark files say of
ResNet-50 on an RTX 4090 (automatic mixed precision, channels last). From these follow time and
bytes for 1 and 100 million images on 1, 8 and 64 such GPUs. Results:
``benchmarks/results/scaling.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.digests import DigestMemory
from transferkit.images import list_images
from transferkit.spec import FeatureSpec, Preprocess
from transferkit.store import FeatureStore

RESULTS = Path(__file__).parent / "results"
FORWARD = 5088.0
N_FEATURES = 2048
N_OF_SHARD = 1024
N_CLASSES = 100
IMAGES = (10**6, 10**8)
GPUS = (1, 8, 64)
PREPROCESS = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
SPEC = FeatureSpec("benchmark:random", "{}", "random:0", PREPROCESS, "pre_logits")


def row_id(i: int) -> bytes:
    """Row id of an image, scattered as digests are."""
    return (i * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "big") + i.to_bytes(8, "big")


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a function returns, its seconds, and by how many bytes the process has grown."""
    before, start, cpu = resident(), time.perf_counter(), time.process_time()
    value = work()
    told = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "bytes": resident() - before,
    }
    return value, told


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def make_files(folder: Path, n: int) -> None:
    """Write files that are named as images are; nobody decodes them here."""
    for c in range(N_CLASSES):
        (folder / f"class-{c:03}").mkdir(parents=True)
    for i in range(n):
        (folder / f"class-{i % N_CLASSES:03}" / f"photograph-{i:09}.jpg").write_bytes(row_id(i))


def files(folder: Path, n: int) -> dict[str, Any]:
    """List files, and digest them twice."""
    make_files(folder / "files", n)
    time.sleep(3)  # younger files aren't remembered
    memory = DigestMemory(folder / "digests.sqlite")
    images, listing = timed(lambda: list_images(folder / "files"))
    paths = [str(path) for path in images.items]
    _, first = timed(lambda: memory.digests(paths))
    again, second = timed(lambda: memory.digests(paths))
    assert (len(images), again.n_read) == (n, 0)
    return {
        "files": n,
        "list": listing,
        "digest": first,
        "recall": second,
        "digest_memory_bytes": memory.path.stat().st_size,
    }


def write(folder: Path, n: int) -> dict[str, float]:
    """Fill a store."""
    store, rng = FeatureStore(folder / "store"), np.random.default_rng(0)
    rows = rng.standard_normal((N_OF_SHARD, N_FEATURES), dtype=np.float32)

    def work() -> None:
        for start in range(0, n, N_OF_SHARD):
            ids = [row_id(i) for i in range(start, min(start + N_OF_SHARD, n))]
            store.write(SPEC, ids, rows[: len(ids)])

    return timed(work)[1]


def rows(folder: Path, n: int) -> dict[str, Any]:
    """Open a store, ask what is missing, and read it through."""
    ids = [row_id(i) for i in range(n)]
    store = FeatureStore(folder / "store")
    _, opening = timed(lambda: store.missing(SPEC, ids[:1]))
    absent, asking = timed(lambda: store.missing(SPEC, ids))
    stored, _ = timed(lambda: store.open(SPEC, ids))
    total, reading = timed(lambda: sum(len(batch) for batch in stored.batches()))
    assert (absent, total) == ([], n)
    size = sum(f.stat().st_size for f in (folder / "store").rglob("*") if f.is_file())
    return {"rows": n, "shards": -(-n // N_OF_SHARD), "store_bytes": size, "open": opening,
            "missing": asking, "read": reading}  # fmt: skip


def in_process(part: str, folder: Path, n: int) -> dict[str, Any]:
    """Measure one part in a process of its own."""
    command = [sys.executable, __file__, "--part", part, str(folder), str(n)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(part, told, flush=True)
    return told


def table(measured: dict[str, Any], decoded: float) -> list[dict[str, Any]]:
    """Time and bytes of each number of images and GPUs."""
    of_files, of_rows = measured["files"], measured["rows"]
    per_file = {name: of_files[name]["seconds"] / of_files["files"] for name in ("list", "recall")}
    row_bytes = of_rows["store_bytes"] / of_rows["rows"]
    found = []
    for n in IMAGES:
        alone = {
            "list_bytes": n * of_files["list"]["bytes"] / of_files["files"],
            "digest_memory_bytes": n * of_files["digest_memory_bytes"] / of_files["files"],
            "index_bytes": n * of_rows["open"]["bytes"] / of_rows["rows"],
            "store_bytes": n * row_bytes,
            "shards": n / N_OF_SHARD,
            "list_seconds": n * per_file["list"],
            "known_seconds": n * (per_file["list"] + per_file["recall"]
                                  + of_rows["missing"]["seconds"] / of_rows["rows"]),
            "read_seconds": n * of_rows["read"]["seconds"] / of_rows["rows"],
        }  # fmt: skip
        found += [
            {"images": n, "gpus": gpus, "hours": n / FORWARD / gpus / 3600, **alone}
            for gpus in GPUS
        ]
    cores = FORWARD / decoded
    return [{**row, "cores_to_decode": row["gpus"] * cores} for row in found]


def main() -> None:
    """Measure, compute the table, and write both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where files are made")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        part, folder, n = options.part
        print(
            json.dumps({"files": files, "write": write, "rows": rows}[part](Path(folder), int(n)))
        )
        return
    decoded = json.loads((RESULTS / "extraction.json").read_text())["decode"]["photos"]
    rate = decoded["images_per_second"]["exact"]
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        sizes = {"files": options.files, "write": options.rows, "rows": options.rows}
        measured = {part: in_process(part, Path(made), n) for part, n in sizes.items()}
    result = {
        "load": os.getloadavg()[0],
        "forward_images_per_second": FORWARD,
        "decoded_images_per_second_and_core": rate,
        "measured": measured,
        "table": table(measured, rate),
    }
    (RESULTS / "scaling.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
