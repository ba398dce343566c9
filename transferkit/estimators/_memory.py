"""Features of images in memory are kept in this process, if no store was chosen.

An image without a file is seldom seen again, so its features would fill the default store for
nothing. But grid searches train on the same images many times. So features of training images
are kept until the process ends, and features that only serve predictions aren't kept.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from transferkit.store import FeatureStore

__all__ = ["known_in_process", "process_store"]

_STORES: dict[int, FeatureStore] = {}
"""The store of each process: a fork has its parent's among them, which isn't its own."""


def process_store() -> FeatureStore:
    """Return this process's own store, a folder that is removed when it ends."""
    process = os.getpid()
    if process not in _STORES:
        folder = tempfile.mkdtemp(prefix="transferkit-")
        atexit.register(_remove, folder, process)
        _STORES[process] = FeatureStore(folder)
    return _STORES[process]


def known_in_process() -> FeatureStore | None:
    """Return this process's own store, if anything has been kept there."""
    return _STORES.get(os.getpid())


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
