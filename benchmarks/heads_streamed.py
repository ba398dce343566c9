"""Memory and time of heads on features that lie in a store and don't fit into memory.

    python benchmarks/heads_streamed.py [--rows 2000000] [--heads linear ...] [--folder FOLDER]

Makes a store in FOLDER (by default the system's temporary one; it is removed afterwards) of
2 million rows of 1,024 float32 numbers, 8.2 GB: ten classes, whose means differ by less than rows
of one class do. Then each head is fitted on all rows but the last hundredth and measured on these,
in a process of its own that may not have more than 3 GB of data (RLIMIT_DATA; the kernel refuses
more). Neighbours are looked up for 1,000 rows. Told are the process's largest resident size
(``VmHWM``), the seconds of fitting and of predicting, and how many times the rows were read; of the
processor's seconds, what others run beside it takes little. The files may be in the page cache,
which is the system's. Results:
``benchmarks/results/heads_streamed.json``, one entry for each number of rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.spec import FeatureSpec, Preprocess
from transferkit.store import FeatureStore, StoredRows

RESULTS = Path(__file__).parent / "results" / "heads_streamed.json"
N_FEATURES = 1024
N_CLASSES = 10
N_OF_SHARD = 20_000
N_QUERIES = 1000
LIMIT = 3 * 10**9
PREPROCESS = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
SPEC = FeatureSpec("benchmark:random", "{}", "random:0", PREPROCESS, "pre_logits")
# With these, a pass costs what it always does, and there are fewer of them: linear takes about a
# hundred where it chooses C itself, and mlp twelve epochs, and as many again on all rows.
PARAMETERS: dict[str, dict[str, Any]] = {
    "linear": {"C": 1e-3},
    "mlp": {"device": "cpu", "max_epochs": 2},
}


def row_id(i: int) -> bytes:
    """Row id of an image."""
    return i.to_bytes(16, "big")


def write(folder: Path, n: int) -> None:
    """Fill a store; classes follow one another row by row."""
    store = FeatureStore(folder)
    means = 0.1 * np.random.default_rng(0).normal(size=(N_CLASSES, N_FEATURES))
    for start in range(0, n, N_OF_SHARD):
        numbers = np.arange(start, min(start + N_OF_SHARD, n))
        rng = np.random.default_rng(start + 1)
        rows = rng.standard_normal((len(numbers), N_FEATURES), dtype=np.float32)
        rows += means[numbers % N_CLASSES].astype(np.float32)
        store.write(SPEC, [row_id(i) for i in numbers.tolist()], rows)


class Counted:
    """Rows in a store that count how many of them are read.

    Parameters
    ----------
    stored : StoredRows
        The rows.
    """

    def __init__(self, stored: StoredRows) -> None:
        self.stored, self.n_read = stored, 0
        self.shape, self.dtype, self.nbytes = stored.shape, stored.dtype, stored.nbytes
        self.ndim = 2

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = self.stored[key]
        self.n_read += len(rows) if rows.ndim > 1 else 1
        return rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise MemoryError("all rows were to be gathered")


def fit(name: str, folder: Path, n: int) -> dict[str, Any]:
    """Fit one head, in this process."""
    from transferkit.heads import create_head

    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    stored = FeatureStore(folder).open(SPEC, [row_id(i) for i in range(n)])
    n_train = n - n // 100
    rows = Counted(stored.select(np.arange(n_train)))
    y = np.arange(n) % N_CLASSES
    start, cpu = time.perf_counter(), time.process_time()
    head = create_head(name, **PARAMETERS.get(name, {})).fit(rows, y[:n_train])
    fitted, cpu = time.perf_counter(), time.process_time() - cpu
    passes = rows.n_read / n_train
    tested = np.arange(n_train, n)[: N_QUERIES if name == "knn" else None]
    accuracy = float((head.predict(stored.select(tested)) == y[tested]).mean())
    told = {
        "fit_seconds": fitted - start,
        "passes": passes,
        "seconds_per_pass": (fitted - start) / passes,
        "cpu_seconds_per_pass": cpu / passes,
        "predict_seconds": time.perf_counter() - fitted,
        "n_predicted": len(tested),
        "accuracy": accuracy,
        "peak_mb": peak_mb(),
    }
    chosen = {a: getattr(head, a) for a in ("C_", "alpha_", "n_epochs_", "n_iter_")
              if hasattr(head, a)}  # fmt: skip
    return told | {name.removesuffix("_"): float(value) for name, value in chosen.items()}


def peak_mb() -> float:
    """Largest resident size of this process so far, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def in_process(name: str, folder: Path, n: int) -> dict[str, Any]:
    """The same in a process of its own."""
    given = [name, str(folder), str(n)]
    done = subprocess.run(
        [sys.executable, __file__, "--part", *given], stdout=subprocess.PIPE, check=True
    )
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told = {what: round(value, 3) for what, value in told.items()}
    print(name, told, flush=True)
    return told


def main() -> None:
    """Run it and write the results."""
    from transferkit.heads import describe, head_names

    streaming = [name for name in head_names() if describe(name).streams]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--heads", nargs="+", choices=streaming, default=streaming)
    parser.add_argument("--folder", type=Path, help="where the store is made")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, folder, n = options.part
        print(json.dumps(fit(name, Path(folder), int(n))))
        return
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    size = f"{options.rows:,} x {N_FEATURES}"
    told = results.setdefault(size, {"gigabytes": options.rows * N_FEATURES * 4 / 1e9})
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        write(Path(made), options.rows)
        for name in options.heads:
            told[name] = in_process(name, Path(made), options.rows)
            options.results.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
