"""Sixteen processes on one store: some write, others compact, merge, remove, verify and read."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults_forks import Outcome, asked, ended, started
from faults_rows import SPEC, SPECS, fill, ids_of, lost_and_wrong

from transferkit.store import FeatureStore

__all__ = ["FAULTS"]

N_WRITERS = 8
N_READERS = 4
N_OF_WRITER = 100_000


def many(folder: Path, rng: random.Random, *, minutes: float, **_: Any) -> Outcome:
    """Let them work side by side for some minutes, then count the rows."""
    until = time.monotonic() + 60 * minutes
    place, other = folder / "store", folder / "other"
    fill(FeatureStore(other), SPEC, ids_of(range(-2000, 0)), 100)
    tellers = [_teller(folder, i) for i in range(N_WRITERS + N_READERS + 4)]

    def loop(number: int, step: Callable[[int], int]) -> Callable[[], None]:
        def work() -> None:
            total = n = 0
            while time.monotonic() < until:
                total += step(n)
                n += 1
                tellers[number].write_text(f"{n} {total}")

        return work

    def writer(number: int) -> Callable[[int], int]:
        store = FeatureStore(place)

        def write(n: int) -> int:
            first = number * N_OF_WRITER + 40 * n
            fill(store, SPEC, ids_of(range(first, first + 40)), 20)
            return 0

        return write

    def reader(n: int) -> int:
        store = FeatureStore(place)
        numbers = [random.Random(n).randrange(N_WRITERS) * N_OF_WRITER + i for i in range(400)]
        return lost_and_wrong(store, SPEC, ids_of(numbers))[1]

    def step_of(name: str) -> Callable[[int], int]:
        def step(n: int) -> int:
            store = FeatureStore(place)
            if name == "gc":
                fill(store, SPECS[1], ids_of(range(40)), 20)
                store.gc([SPECS[1].key])
            elif name == "merge":
                store.merge(FeatureStore(other))
            elif name == "compact":
                store.compact()
            else:
                return len([fault for fault in store.verify() if fault.ids])
            return 0

        return step

    steps = [*map(writer, range(N_WRITERS)), *[reader] * N_READERS,
             *map(step_of, ("compact", "gc", "merge", "verify"))]  # fmt: skip
    processes = [started(loop(i, step)) for i, step in enumerate(steps)]
    failed = sum(ended(process) != 0 for process in processes)
    return asked_outcome(place, tellers, failed)


def _teller(folder: Path, number: int) -> Path:
    """Where a process tells how often it has worked, and how much it has found wrong."""
    path = folder / f"told-{number}"
    path.write_text("0 0")
    return path


def asked_outcome(place: Path, tellers: list[Path], failed: int) -> Outcome:
    """Count what is there, of what each writer says that it has written."""
    told = [[int(value) for value in path.read_text().split()] for path in tellers]
    found = Outcome(tried=sum(n for n, _ in told), unclear=failed)
    found.rows_wrong = sum(wrong for _, wrong in told)

    def check(number: int, n: int) -> tuple[int, int]:
        ids = ids_of(range(number * N_OF_WRITER, number * N_OF_WRITER + 40 * n))
        return lost_and_wrong(FeatureStore(place), SPEC, ids)

    n_rows = 0
    for number, (n, _) in enumerate(told[:N_WRITERS]):
        lost, wrong = asked(lambda number=number, n=n: check(number, n))
        found.rows_lost, found.rows_wrong = found.rows_lost + lost, found.rows_wrong + wrong
        n_rows += 40 * n
    found.survived = found.tried if not (failed or found.rows_lost or found.rows_wrong) else 0
    found.notes = {"rows": n_rows, "processes": len(told), "failed": failed}
    return found


FAULTS = {"sixteen processes": many}
