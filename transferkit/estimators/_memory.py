"""Where features of images in memory are kept, if no store was chosen: in this process.

An image without a file is seldom seen again, and its features would fill the default store for
nothing; but grid searches train on the same ones many times. So what is trained on is kept for
as long as the process lives, and what is only predicted isn't kept at all.
"""

from __future__ import annotations

import os
import tempfile

from transferkit.store import FeatureStore

__all__ = ["known_in_process", "process_store"]

_STORES: dict[int, tuple[tempfile.TemporaryDirectory[str], FeatureStore]] = {}


def process_store() -> FeatureStore:
    """Return this process's own store, a folder that is removed when it ends."""
    if os.getpid() not in _STORES:  # a fork has another parent's
        folder = tempfile.TemporaryDirectory(prefix="transferkit-", ignore_cleanup_errors=True)
        _STORES[os.getpid()] = (folder, FeatureStore(folder.name))
    return _STORES[os.getpid()][1]


def known_in_process() -> FeatureStore | None:
    """Return this process's own store, if anything has been kept there."""
    return process_store() if os.getpid() in _STORES else None
