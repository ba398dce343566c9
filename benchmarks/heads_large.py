"""What large problems take: memory above a mapped file, and a thousand classes."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from heads_data import synthetic, timed


class Peak(threading.Thread):
    """The most anonymous memory while it runs, so without the pages of mapped files."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.first, self.most, self.is_done = self._now(), 0, threading.Event()

    def run(self) -> None:
        """Look every few milliseconds."""
        while not self.is_done.wait(0.005):
            self.most = max(self.most, self._now() - self.first)

    def _now(self) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def memory(n: int = 50_000, d: int = 2048, n_classes: int = 100) -> dict[str, Any]:
    """Peak memory above a memory-mapped file, by its number type."""
    import torch  # before the first look

    from transferkit.heads.linear import LinearClassifier

    torch.ones(8, 8).svd()
    LinearClassifier(C=1.0).fit(np.eye(8, 4), np.arange(8) % 2)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        X, y = synthetic(n, d, n_classes)["train"]
        for dtype in ("float16", "float32"):
            np.save(f"{folder}/{dtype}.npy", X.astype(dtype))
        del X
        for dtype in ("float16", "float32"):
            mapped = np.load(f"{folder}/{dtype}.npy", mmap_mode="r")
            for name, head in (
                ("one C", LinearClassifier(C=1e-3)),
                ("path", LinearClassifier(Cs=[1e-4, 1e-3])),
            ):
                peak = Peak()
                peak.start()
                spent, _ = timed(lambda head=head, mapped=mapped: head.fit(mapped, y))
                peak.is_done.set()
                peak.join()
                report[f"{dtype}, {name}"] = {"peak_GB": peak.most / 1e9, "cpu_s": spent}
                print(f"{dtype}, {name}", report[f"{dtype}, {name}"], flush=True)
    return report


def many_classes(n: int = 100_000, d: int = 1024, n_classes: int = 1000) -> list[dict[str, Any]]:
    """A thousand classes, ours alone: scikit-learn's loop would take too long here."""
    from transferkit.heads.linear import LinearClassifier

    data = synthetic(n, d, n_classes)
    reports = []
    for C in (1e-3, 1e-1):
        wall = time.perf_counter()
        spent, head = timed(lambda C=C: LinearClassifier(C=C, tol=1e-3).fit(*data["train"]))
        wall = time.perf_counter() - wall
        report = {"C": C, "cpu_s": spent, "wall_s": wall, "gap": head.gap_}
        report |= {"gradient": head.gradient_, "n_iter": head.n_iter_}
        report |= {"converged": head.converged_, "test_accuracy": head.score(*data["test"])}
        reports.append(report)
        print(report, flush=True)
    return reports
