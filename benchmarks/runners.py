"""Extract on one, two and four nodes of Ray's and in this process: throughput and contents.

    TRANSFERKIT_DATA=FOLDER python benchmarks/runners.py

``FOLDER`` as for ``main_job.py``. The nodes are processes of this machine with one core each, so
they don't add to what it can do where there are fewer cores than nodes; what they cost is seen.
On a busy machine CPU time says more than the images per second.
On the way of a last run a worker and then a node are killed. Every store must hold the rows of the
one that this process filled, with one thread and the same batch size: bit by bit. Results:
``benchmarks/results/runners.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in the nodes
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import ray
import torch
from ray.cluster_utils import Cluster

import transferkit.extract
from transferkit import FeatureExtractor, FeatureStore, list_images
from transferkit.extract import Extraction

RESULTS = Path(__file__).parent / "results"
NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


class Bar:
    """Knows when images were done, and calls one thing after the other as they are."""

    def __init__(self, *calls: Callable[[], None], cpu: Callable[[], float]) -> None:
        self.calls, self.cpu = list(calls), cpu
        self.done: list[tuple[float, float, int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, n_images: int) -> None:
        """Note that so many more are done."""
        self.done.append((time.perf_counter(), self.cpu(), n_images))
        if self.calls:
            self.calls.pop(0)()

    @property
    def rate(self) -> float:
        """Images per second, from the first that were done to the last."""
        return self._n_images / (self.done[-1][0] - self.done[0][0])

    @property
    def cpu_seconds(self) -> float:
        """CPU time for an image, from the first that were done to the last."""
        return (self.done[-1][1] - self.done[0][1]) / self._n_images

    @property
    def _n_images(self) -> int:
        return sum(n for _, _, n in self.done[1:])


class WorkersTime:
    """CPU seconds of all processes that compute for this run, those that ended among them."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.seconds: dict[str, float] = {}

    def __call__(self) -> float:
        """Count what they have taken by now."""
        for folder in workers(self.place):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            ticks = int(fields[11]) + int(fields[12])  # utime, stime
            self.seconds[folder.name] = ticks / os.sysconf("SC_CLK_TCK")
        return sum(self.seconds.values())


def main() -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default="1,2,4", help="Numbers of nodes, with commas between.")
    parser.add_argument("--limit", type=int, help="Images, to try it.")
    options = parser.parse_args()
    data = Path(os.environ["TRANSFERKIT_DATA"])
    images = list_images(data / "images/sign-digits")
    images = images.select(range(len(images))[: options.limit])
    name = f"local-dir:{data}/weights/mobilenetv2_035.keras_in1k"
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRANSFERKIT_CACHE"] = str(Path(folder) / "cache")  # of the nodes too
        extractor = FeatureExtractor(name, store=FeatureStore(Path(folder) / "local"), batch_size=8)
        bar = Bar(cpu=time.process_time)
        expected = extracted(extractor, images, bar)
        runs = {"local, one thread": told(expected, expected, bar)}
        print(runs, flush=True)
        for n in map(int, options.nodes.split(",")):
            store = FeatureStore(Path(folder) / str(n))
            runs[f"ray, {n} nodes of one core"] = on_nodes(n, extractor, images, store, expected)
            print(runs, flush=True)
        store = FeatureStore(Path(folder) / "killed")
        killed = on_nodes(2, extractor, images, store, expected, kill=True)
        result = {
            "cores": len(os.sched_getaffinity(0)),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "ray": ray.__version__,
            "load_average_before": load[0],
            "load_average_after": os.getloadavg()[0],
            "images": len(images),
            "backbone": "mobilenetv2_035.keras_in1k",
            "batch_size": 8,
            "runs": runs,
            "a_worker_and_a_node_killed": killed,
        }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "runners.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def extracted(extractor: FeatureExtractor, images: Any, bar: Bar) -> Extraction:
    """Extract with this bar."""
    transferkit.extract.progress_bar = lambda n_images, shown: bar
    return extractor.extract(images)


def on_nodes(
    n_nodes: int,
    extractor: FeatureExtractor,
    images: Any,
    store: FeatureStore,
    expected: Extraction,
    *,
    kill: bool = False,
) -> dict[str, Any]:
    """Extract on a cluster of its own: a head that computes nothing, and nodes of one core."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **NODE})
    nodes = [cluster.add_node(num_cpus=1, **NODE) for _ in range(n_nodes + kill)]
    place = str(store.path.parent)
    calls = []
    if kill:
        calls = [
            lambda: kill_a_worker(place),
            lambda: None,
            lambda: cluster.remove_node(nodes[-1], allow_graceful=False),
        ]
    bar = Bar(*calls, cpu=WorkersTime(place))
    try:
        there = FeatureExtractor(
            extractor.backbone, store=store, batch_size=8, on=f"ray:{cluster.address}"
        )
        return told(extracted(there, images, bar), expected, bar)
    finally:
        ray.shutdown()
        cluster.shutdown()


def kill_a_worker(place: str) -> None:
    """Kill one of the processes that compute."""
    os.kill(int(next(workers(place)).name), signal.SIGKILL)


def workers(place: str) -> Iterator[Path]:
    """Folders in /proc of the processes that compute, of this run alone."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = b"ray::MapWorker" in (folder / "cmdline").read_bytes()
            if is_worker and os.fsencode(place) in (folder / "environ").read_bytes():
                yield folder
        except OSError:  # it has ended
            continue


def told(found: Extraction, expected: Extraction, bar: Bar) -> dict[str, Any]:
    """What a run has taken, and whether it has the rows that it should have."""
    ours, theirs = found.rows["pre_logits"], expected.rows["pre_logits"]
    is_whole = found.ids == expected.ids
    return {
        "seconds": round(found.seconds, 2),
        "images_per_second_from_first_to_last": round(bar.rate, 1),
        "cpu_milliseconds_per_image": round(1000 * bar.cpu_seconds, 2),
        "rows": len(found.ids),
        "rows_lost": len(set(expected.ids) - set(found.ids)),
        "bitwise_equal": bool(
            is_whole and np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))
        ),
        "largest_relative_difference": float(
            (np.abs(ours - theirs).max() / np.abs(theirs).max()) if is_whole else np.nan
        ),
    }


if __name__ == "__main__":
    main()
