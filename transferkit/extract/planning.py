"""What an extraction would take, from a few timed batches."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transferkit.backbones import Backbone
from transferkit.extract.decoding import decode
from transferkit.extract.loop import Loop, specs_of
from transferkit.images import ImageSet
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore

__all__ = ["Plan", "plan"]

# After one batch that isn't timed: the first pays for what is set up once.
BATCHES = 3


@dataclass(frozen=True)
class Plan:
    """What an extraction would take.

    Parameters
    ----------
    n_images : int
        Images.
    n_missing : int
        Different images that would go through the network.
    seconds_per_image : dict of str to float
        Wall time of each part on its own: decode, forward, write.
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
    batch_size: int | None = None,
) -> Plan:
    """Time a few batches of what is missing; nothing is stored.

    Parameters
    ----------
    images, backbone, features, store, device, precision, storage, batch_size
        As for `extract`.
    """
    specs = specs_of(backbone, features, precision=precision, storage=storage)
    loop = Loop(images, backbone, specs, store, device, batch_size, "skip", False)
    loop.identify()
    missing, first = loop.missing()
    if not first:
        return Plan(len(images), 0, {}, None, 0.0, 0, None)
    size = loop.chosen_batch_size()
    # Spread over all images: neighbours are often alike in size.
    chosen = np.linspace(0, len(first) - 1, min(len(first), BATCHES * size)).astype(int)
    indices = [list(first.values())[i] for i in sorted(set(chosen.tolist()))]
    start = time.perf_counter()
    decoded = [pixels for _, (_, pixels, _) in decode(images, indices, loop.preprocess, False)]
    seconds = {"decode": (time.perf_counter() - start) / len(indices)}
    good = [pixels for pixels in decoded if isinstance(pixels, np.ndarray)]
    if not good:
        raise ValueError(f"none of {len(indices)} images that were tried could be read")
    forward = loop.forward(missing)
    batches = [_batch(good, start, size) for start in range(0, len(good), size)]
    rows = forward.rows(batches[0])
    start = time.perf_counter()
    for batch in batches:
        rows = forward.rows(batch)
    seconds["forward"] = (time.perf_counter() - start) / (len(batches) * size)
    seconds["write"] = _seconds_to_write(rows, loop)
    # On a CPU the parts share its cores; beside a GPU decoding goes on meanwhile.
    is_cpu = forward.device.type == "cpu"
    total = sum(seconds.values()) if is_cpu else max(seconds.values())
    itemsize = np.dtype(storage).itemsize
    row_bytes = sum(itemsize * array[0].size for array in rows.values())
    return Plan(
        n_images=len(images),
        n_missing=len(first),
        seconds_per_image=seconds,
        images_per_second=1 / total,
        seconds=total * len(first),
        n_bytes=row_bytes * len(first),
        slowest=max(seconds, key=lambda part: seconds[part]),
    )


def _batch(pixels: list[np.ndarray], start: int, size: int) -> np.ndarray:
    part = pixels[start : start + size]
    return np.stack(part + [part[-1]] * (size - len(part)))


def _seconds_to_write(rows: dict[str, np.ndarray], loop: Loop) -> float:
    """Seconds per image to write shards as large as they usually are."""
    n = 256
    ids = [os.urandom(16) for _ in range(n)]
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        store = FeatureStore(folder)
        start = time.perf_counter()
        for name, array in rows.items():
            store.write(loop.specs[name], ids, np.resize(array, (n, *array.shape[1:])))
        return (time.perf_counter() - start) / n
