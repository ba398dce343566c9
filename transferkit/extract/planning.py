"""Estimate what an extraction would take, by timing a few batches."""

from __future__ import annotations

import collections
import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from transferkit.backbones import Backbone
from transferkit.extract.identities import Identities
from transferkit.extract.job import ExtractionJob, specs_of
from transferkit.extract.views import View
from transferkit.extract.workers import Workers
from transferkit.extract.writing import SHARD_BYTES
from transferkit.forward import device_names
from transferkit.images import ImageSet
from transferkit.spec import STORAGE_DTYPES, BackboneSpec, FeatureSpec
from transferkit.store import FeatureStore, encoding

__all__ = ["Estimate", "plan"]

# Batches timed after a first one, which isn't timed because it includes the setup.
BATCHES = 3
# Narrower storage is mentioned if maps take more bytes than this.
_LARGE_BYTES = 1_000_000_000


@dataclass(frozen=True)
class Estimate:
    """Estimated time, size and number of images of an extraction.

    Parameters
    ----------
    n_images : int
        Images.
    n_missing : int
        Different images that would go through the network, counted for each view.
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
    row_shapes : dict of str to tuple of int, default={}
        Shape of a row of each feature that would be computed, ``(D, H, W)`` of a map.
    bytes_as : dict of str to int, default={}
        What would be added to the disk in each storage class that takes these features, the
        chosen one among them.
    n_bytes_free : int, optional
        Free bytes of the store's disk; None if it isn't known.
    """

    n_images: int
    n_missing: int
    seconds_per_image: dict[str, float]
    images_per_second: float | None
    seconds: float
    n_bytes: int
    slowest: str | None
    row_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    bytes_as: dict[str, int] = field(default_factory=dict)
    n_bytes_free: int | None = None

    @property
    def maps(self) -> dict[str, tuple[int, ...]]:
        """Shape ``(D, H, W)`` of each feature that is a map."""
        return {name: shape for name, shape in self.row_shapes.items() if len(shape) == 3}

    @property
    def narrower(self) -> dict[str, int]:
        """Bytes in storage classes that take less, if maps make it worth a thought."""
        if not self.maps or self.n_bytes < _LARGE_BYTES:
            return {}
        return {name: n for name, n in self.bytes_as.items() if n < self.n_bytes}


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
    views: Sequence[View | None] = (None,),
) -> Estimate:
    """Time a few batches of the missing images. Nothing is stored.

    Parameters
    ----------
    images, backbone, features, store, device, precision, storage, engine, batch_size
        As for `extract`.
    views : sequence of View or None, default=(None,)
        What would be extracted, one after the other: None is the plain images, and
        ``(None, mirrored(preprocess))`` these and their mirror images.
    """
    specs = specs_of(backbone, features, precision=precision, storage=storage)
    devices = device_names(device)
    identities = Identities(images, exif=next(iter(specs.values())).preprocess.exif)
    jobs = [
        ExtractionJob(
            images,
            backbone,
            {
                name: dataclasses.replace(spec, view=view.number if view else 0)
                for name, spec in specs.items()
            },
            store,
            identities,
            devices[0],
            engine,
            batch_size,
            n_sharing=len(devices),
            view=view,
        )
        for view in views
    ]
    for job in jobs:  # images that are set aside are so in every view
        job.set_aside(job.missing()[1])
    found = [job.missing() for job in jobs]
    n_missing = sum(len(first) for _, first in found)
    n_free = store.place.free_bytes()
    if not n_missing:
        return Estimate(len(images), 0, {}, None, 0.0, 0, None, n_bytes_free=n_free)
    most = max(range(len(jobs)), key=lambda i: len(found[i][1]))
    total, seconds, shapes = _measured(jobs[most], *found[most], len(devices))
    counts = {name: sum(len(f) for m, f in found if name in m) for name in shapes}
    bytes_as = {
        kind: sum(_row_bytes(kind, shapes[name]) * n for name, n in counts.items())
        for kind in STORAGE_DTYPES
    }
    return Estimate(
        n_images=len(images),
        n_missing=n_missing,
        seconds_per_image=seconds,
        images_per_second=1 / total,
        seconds=total * n_missing,
        n_bytes=bytes_as[storage],
        slowest=max(seconds, key=lambda part: seconds[part]),
        row_shapes=shapes,
        bytes_as=bytes_as,
        n_bytes_free=n_free,
    )


def _measured(
    job: ExtractionJob, missing: dict[str, FeatureSpec], first: dict[bytes, int], n_devices: int
) -> tuple[float, dict[str, float], dict[str, tuple[int, ...]]]:
    """Seconds per image, those of each part, and the shape of a row of each feature."""
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
    total = (wall / n_timed + (0 if workers.n_decoders else seconds["write"])) / n_devices
    return total, seconds, {name: array.shape[1:] for name, array in rows.items()}


def _row_bytes(storage: str, shape: tuple[int, ...]) -> int:
    return encoding.row_type(storage, shape).itemsize


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
    n_bytes = sum(array[:1].nbytes for array in rows.values())
    n = min(256, max(1, math.ceil(SHARD_BYTES / n_bytes)))
    ids = [os.urandom(16) for _ in range(n)]
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        store = FeatureStore(folder)
        start = time.perf_counter()
        for name, array in rows.items():
            store.write(job.specs[name], ids, np.resize(array, (n, *array.shape[1:])))
        return (time.perf_counter() - start) / n
