"""Estimate what an extraction would take, by timing a few batches."""

from __future__ import annotations

import collections
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.backbones import Backbone
from transferkit.extract.identities import Identities
from transferkit.extract.job import ExtractionJob, specs_of
from transferkit.extract.workers import Workers
from transferkit.forward import device_names
from transferkit.images import ImageSet
from transferkit.spec import BackboneSpec, FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["Estimate", "plan"]

# Batches timed after a first one, which isn't timed because it includes the setup.
BATCHES = 3


@dataclass(frozen=True)
class Estimate:
    """Estimated time, size and number of images of an extraction.

    Parameters
    ----------
    n_images : int
        Images.
    n_missing : int
        Different images that would go through the network.
    seconds_per_image : dict of str to float
        Time of each part, by the threads that do it: read, decode, forward, write.
    images_per_second : float or None
        Rate to be expected; None if nothing is missing.
    seconds : float
        Time to be expected.
    n_bytes : int
        What would be added to the disk.
    slowest : str or None
        The part that takes longest.
    """

    n_images: int
    n_missing: int
    seconds_per_image: dict[str, float]
    images_per_second: float | None
    seconds: float
    n_bytes: int
    slowest: str | None


def plan(
    images: ImageSet,
    backbone: Backbone | BackboneSpec,
    features: Sequence[str],
    store: FeatureStore,
    *,
    device: str = "auto",
    precision: str = "float32",
    storage: str = "float32",
    engine: str = "auto",
    batch_size: int | None = None,
) -> Estimate:
    """Time a few batches of the missing images. Nothing is stored.

    Parameters
    ----------
    images, backbone, features, store, device, precision, storage, engine, batch_size
        As for `extract`.
    """
    specs = specs_of(backbone, features, precision=precision, storage=storage)
    devices = device_names(device)
    identities = Identities(images, exif=next(iter(specs.values())).preprocess.exif)
    job = ExtractionJob(
        images,
        backbone,
        specs,
        store,
        identities,
        devices[0],
        engine,
        batch_size,
        n_sharing=len(devices),
    )
    missing, first = job.missing()
    job.set_aside(first)
    if not first:
        return Estimate(len(images), 0, {}, None, 0.0, 0, None)
    size = job.chosen_batch_size()
    indices = list(first.values())
    workers = job.workers(-(-len(indices) // size))
    # They are spread over all images, because neighbours are often alike in size.
    wanted = (1 + BATCHES) * workers.n_workers * size
    chosen = np.linspace(0, len(indices) - 1, min(len(indices), wanted)).astype(int)
    indices = [indices[i] for i in sorted(set(chosen.tolist()))]
    chunks = [indices[start : start + size] for start in range(0, len(indices), size)]
    first_ones, others = chunks[: workers.n_workers], chunks[workers.n_workers :]
    rows, _, _ = _timed(job, missing, first_ones, len(first), workers)
    if rows is None:
        n_tried = sum(map(len, first_ones))
        raise ValueError(f"none of {n_tried} images that were tried could be read")
    _, wall, busy = _timed(job, missing, others or first_ones, len(first), workers)
    n_timed = sum(map(len, others or first_ones))
    beside = {"read": workers.n_decoders, "decode": workers.n_decoders}
    seconds = {
        part: value / n_timed / (beside.get(part) or workers.n_workers)
        for part, value in busy.items()
    }
    seconds["write"] = _seconds_to_write(rows, job)
    # Of several devices the first is timed, with its share of the cores.
    total = (wall / n_timed + (0 if workers.n_decoders else seconds["write"])) / len(devices)
    itemsize = np.dtype(storage).itemsize
    row_bytes = sum(itemsize * array[0].size for array in rows.values())
    return Estimate(
        n_images=len(images),
        n_missing=len(first),
        seconds_per_image=seconds,
        images_per_second=1 / total,
        seconds=total * len(first),
        n_bytes=row_bytes * len(first),
        slowest=max(seconds, key=lambda part: seconds[part]),
    )


def _timed(
    job: ExtractionJob,
    missing: dict[str, FeatureSpec],
    chunks: list[list[int]],
    n_images: int,
    workers: Workers,
) -> tuple[dict[str, np.ndarray] | None, float, dict[str, float]]:
    """Compute a batch; return its rows, the wall time, and each part's time over all threads."""
    rows = None
    busy: collections.Counter[str] = collections.Counter()
    start = time.perf_counter()
    for batch in job.run(chunks, missing, n_images, workers):
        rows = batch.rows or rows
        busy.update(batch.seconds)
    return rows, time.perf_counter() - start, dict(busy)


def _seconds_to_write(rows: dict[str, np.ndarray], job: ExtractionJob) -> float:
    """Seconds per image to write shards as large as they usually are."""
    n = 256
    ids = [os.urandom(16) for _ in range(n)]
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        store = FeatureStore(folder)
        start = time.perf_counter()
        for name, array in rows.items():
            store.write(job.specs[name], ids, np.resize(array, (n, *array.shape[1:])))
        return (time.perf_counter() - start) / n
