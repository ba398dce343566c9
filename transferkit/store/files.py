"""The store's default folder, and arrays that are too large for memory."""

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.folders import cache_folder, user_cache_folder
from transferkit.store.places import is_url

__all__ = ["allocate", "default_path"]

# Arrays above this many bytes live in a temporary file instead of memory.
MEMORY_BYTES = 1_000_000_000


def default_path() -> Path | str:
    """``$TRANSFERKIT_STORE``, otherwise ``store`` in the folder that `cache_folder` gives.

    The first may be a URL.

    Earlier versions kept the store in the user's cache directory even if
    ``$TRANSFERKIT_CACHE`` was set. If there is a store at that old place and none at the new
    one, the old one is used.
    """
    chosen = os.environ.get("TRANSFERKIT_STORE")
    if chosen:
        return chosen if is_url(chosen) else Path(chosen)
    place, earlier = cache_folder() / "store", user_cache_folder() / "store"
    return earlier if earlier.is_dir() and not place.is_dir() else place


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Allocate a C-contiguous array. Above `MEMORY_BYTES` it lies in a temporary file.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        Its type; that of a subarray adds its axes.

    Returns
    -------
    array
        In memory, or a `numpy.memmap` of a temporary file in `tempfile.gettempdir()`.
    """
    shape, dtype = (*shape, *dtype.shape), dtype.base
    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes <= MEMORY_BYTES:
        return np.empty(shape, dtype)
    # The mapping keeps the file alive after it is closed and, on POSIX, already unlinked.
    with tempfile.TemporaryFile(prefix="transferkit-") as file:
        if hasattr(os, "posix_fallocate"):
            # On a full disk an error here; in a sparse file it would be a SIGBUS later.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
        return np.memmap(file, dtype, "r+", shape=shape)
