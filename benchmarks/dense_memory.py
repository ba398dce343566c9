"""Memory and time of training on stored maps: how much is read, written and held at a time.

    python benchmarks/dense_memory.py [--storage float16] [--gigabytes 1] [--folder FOLDER]

Makes a store of that size in FOLDER (by default the system's temporary one; it is removed
afterwards) with the maps that resnet50 has of images of 512 × 512 px, strides 4 to 32: random
ones, since only their size matters. Then, each in a process of its own and with the
files out of the page cache first: all rows are read in their order, batches of four in random
order, and a linear segmentation head is trained for one epoch. All images share one class map.
Memory is the process's own (``RssAnon`` of /proc, as the page cache is the system's), sampled
all the time; ``VmHWM``, its peak by the kernel, stands beside it. Results:
``benchmarks/results/dense_memory.json``, one entry for each storage and size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.spec import STORAGE_DTYPES, FeatureSpec, Preprocess
from transferkit.store import FeatureStore, StoredRows, encoding

RESULTS = Path(__file__).parent / "results" / "dense_memory.json"
LEVELS = {"stage1": (256, 128), "stage2": (512, 64), "stage3": (1024, 32), "stage4": (2048, 16)}
STRIDES = (4, 8, 16, 32)
N_CLASSES = 5
SIZE = 512
BATCH = 4
PREPROCESS = Preprocess((SIZE, SIZE), "bicubic", 1.0, "squash", (0.5,) * 3, (0.5,) * 3)
# Images whose maps are drawn; the others are multiples of theirs.
N_DRAWN = 4
# Images of a shard, about as many as an extraction writes at a time.
N_OF_SHARD = 4


def specs(storage: str) -> dict[str, FeatureSpec]:
    """Spec of each level."""
    return {
        name: FeatureSpec(
            "benchmark:random", "{}", "random:0", PREPROCESS, f"{name}.map", storage=storage
        )
        for name in LEVELS
    }


def row_id(i: int) -> bytes:
    """Row id of an image."""
    return i.to_bytes(16, "big")


def image_bytes(storage: str) -> int:
    """Bytes of an image's maps in the store."""
    shapes = [(width, side, side) for width, side in LEVELS.values()]
    return sum(encoding.row_type(storage, shape).itemsize for shape in shapes)


def write(folder: Path, storage: str, n_images: int) -> dict[str, Any]:
    """Fill a store; the seconds are those of the store, not of drawing."""
    store, rng = FeatureStore(folder), np.random.default_rng(0)
    drawn = {
        name: np.maximum(rng.normal(size=(N_DRAWN, width, side, side)), 0).astype(np.float32)
        for name, (width, side) in LEVELS.items()
    }
    seconds = 0.0
    for start in range(0, n_images, N_OF_SHARD):
        numbers = np.arange(start, min(start + N_OF_SHARD, n_images))
        factors = (1 + numbers / n_images).astype(np.float32)[:, None, None, None]
        for name, spec in specs(storage).items():
            rows = drawn[name][numbers % N_DRAWN] * factors
            before = time.perf_counter()
            store.write(spec, [row_id(i) for i in numbers.tolist()], rows)
            seconds += time.perf_counter() - before
    n_bytes = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return {"images": n_images, "bytes": n_bytes, "ms_per_image": 1000 * seconds / n_images}


def opened(folder: Path, storage: str, n_images: int) -> list[StoredRows]:
    """Rows of each level, with their files out of the page cache."""
    for path in folder.rglob("*.safetensors"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    store = FeatureStore(folder)
    ids = [row_id(i) for i in range(n_images)]
    return [store.open(spec, ids) for spec in specs(storage).values()]


def read_in_order(levels: list[StoredRows], n_images: int) -> dict[str, Any]:
    """Read all rows of all levels, a batch at a time."""
    start = time.perf_counter()
    for rows in levels:
        for _ in rows.batches():
            pass
    return {"ms_per_image": 1000 * (time.perf_counter() - start) / n_images}


def read_at_random(levels: list[StoredRows], n_images: int) -> dict[str, Any]:
    """Read batches as training does, a tenth of the images."""
    order = np.random.default_rng(0).permutation(n_images)[: max(BATCH, n_images // 10)]
    start = time.perf_counter()
    for at in range(0, len(order), BATCH):
        for rows in levels:
            rows[order[at : at + BATCH]]
    return {"ms_per_image": 1000 * (time.perf_counter() - start) / len(order)}


def train(levels: list[StoredRows], n_images: int) -> dict[str, Any]:
    """Train a linear segmentation head for an epoch."""
    from transferkit.dense.fitting import fit_network
    from transferkit.dense.network import Level, SegmentationNetwork
    from transferkit.dense.recipe import SegmentationRecipe
    from transferkit.dense.samples import DenseSamples
    from transferkit.dense.segmentation_loop import create_segmentation_loop
    from transferkit.forward import choose_device
    from transferkit.training import Processes

    one = np.random.default_rng(0).integers(0, N_CLASSES, (16, 16)).repeat(32, 0).repeat(32, 1)
    targets = np.broadcast_to(one.astype(np.uint8), (n_images, SIZE, SIZE))
    widths = [width for width, _ in LEVELS.values()]
    network = SegmentationNetwork(
        [Level(*level) for level in zip(LEVELS, widths, STRIDES, strict=True)],
        N_CLASSES,
        head="linear",
        neck="none",
    )
    recipe = SegmentationRecipe(epochs=1, batch_size=BATCH, mirrored=False)
    samples = DenseSamples([levels], targets)
    loop = partial(create_segmentation_loop, targets=targets, n_classes=N_CLASSES)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        device = Processes(choose_device("cpu"))
        history = fit_network(loop, network, samples, None, recipe, device, Path(folder))
    seconds = time.perf_counter() - start
    return {"ms_per_image": 1000 * seconds / n_images, **history[-1]}


class Memory:
    """Samples this process's own memory in a thread, from the start to the end of a block."""

    def __init__(self) -> None:
        self.samples: list[int] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Memory:
        self.before = _status("RssAnon")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.02):
            self.samples.append(_status("RssAnon"))

    def told(self) -> dict[str, Any]:
        """In MB: before, the peak of each tenth of the time, and the kernel's peak."""
        parts = np.array_split(np.array([self.before, *self.samples]), 10)
        return {
            "before_mb": round(self.before / 1e6),
            "peak_mb_by_tenths": [round(part.max() / 1e6) for part in parts if len(part)],
            "kernel_peak_mb": round(_status("VmHWM") / 1e6),
        }


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


PARTS = {"read in order": read_in_order, "read at random": read_at_random, "train": train}


def part(name: str, folder: Path, storage: str, n_images: int) -> dict[str, Any]:
    """One part, in this process."""
    with Memory() as memory:
        if name == "write":
            told = write(folder, storage, n_images)
        else:
            told = PARTS[name](opened(folder, storage, n_images), n_images)
    return told | memory.told()


def in_process(name: str, folder: Path, storage: str, n_images: int) -> dict[str, Any]:
    """The same in a process of its own."""
    given = [name, str(folder), storage, str(n_images)]
    done = subprocess.run(
        [sys.executable, __file__, "--part", *given], stdout=subprocess.PIPE, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(storage, name, told, flush=True)
    return told


def rounded(told: Any) -> Any:
    """The same numbers, to three decimals."""
    if isinstance(told, dict):
        return {name: rounded(value) for name, value in told.items()}
    return round(told, 3) if isinstance(told, float) else told


def main() -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", nargs="+", choices=STORAGE_DTYPES, default=["float16"])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of each store")
    parser.add_argument("--folder", type=Path, help="where the store is made")
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, folder, storage, n_images = options.part
        print(json.dumps(part(name, Path(folder), storage, int(n_images))))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for storage in options.storage:
        n_images = int(options.gigabytes * 1e9 / image_bytes(storage))
        with tempfile.TemporaryDirectory(dir=options.folder) as made:
            arguments = Path(made), storage, n_images
            told = {name: in_process(name, *arguments) for name in ("write", *PARTS)}
        results[f"{storage}, {options.gigabytes:g} GB"] = rounded(told)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
