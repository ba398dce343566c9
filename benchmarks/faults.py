"""Faults, one kind after another: what was tried, what survived, and what was lost or wrong.

    python benchmarks/faults.py [--kills 500] [--minutes 5] [--only NAME ...] [--folder FOLDER]

Each kind is a function of a file ``faults_*.py`` beside this one. It makes its own images, stores
and models in a temporary folder, and counts: how often the fault was brought about, after how many
of these everything was as it should be, how many rows were lost that had been stored, how many
came back with other numbers (it should be 0 and 0), and how many messages didn't say what to do.
Results: ``benchmarks/results/faults.json``, an entry for each kind, and a table on the terminal.
"""

from __future__ import annotations

import os

# Before NumPy and torch are imported: what forks has no threads.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import dataclasses
import json
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faults_kills
import faults_many
import faults_power
from faults_forks import Outcome

RESULTS = Path(__file__).parent / "results" / "faults.json"
COLUMNS = ("tried", "survived", "rows_lost", "rows_wrong", "unclear", "seconds")


def main() -> None:
    """Bring the faults about, and write the results."""
    kinds: Mapping[str, Callable[..., Outcome]] = {
        **faults_kills.FAULTS,
        **faults_power.FAULTS,
        **faults_many.FAULTS,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500, help="of all operations together")
    parser.add_argument("--minutes", type=float, default=5, help="of many processes at once")
    parser.add_argument("--only", nargs="+", choices=[*kinds], default=[*kinds])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where stores and models are made")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    print(f"{'':28}", *(f"{column:>10}" for column in COLUMNS))
    for name in options.only:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            start = time.perf_counter()
            rng = random.Random(f"{options.seed} {name}")
            found = kinds[name](Path(folder), rng, kills=options.kills, minutes=options.minutes)
            found.seconds = round(time.perf_counter() - start, 1)
        results[name] = dataclasses.asdict(found)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        print(f"{name:28}", *(f"{results[name][column]:>10}" for column in COLUMNS), flush=True)


if __name__ == "__main__":
    main()
