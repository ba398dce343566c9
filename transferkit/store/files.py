"""Whole files, or none: atomic writing, the store's default place, arrays too large for memory."""

import contextlib
import math
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TEMPORARY_PREFIX", "allocate", "default_path", "write_whole"]

TEMPORARY_PREFIX = ".tmp-"
# Arrays above this many bytes live in a temporary file instead of memory.
MEMORY_BYTES = 1_000_000_000


def default_path() -> Path:
    """``$TRANSFERKIT_STORE``, otherwise ``transferkit/store`` in the user's cache directory."""
    chosen = os.environ.get("TRANSFERKIT_STORE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "transferkit" / "store"


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file that exists whole or not at all, whenever the process or machine dies.

    Parameters
    ----------
    path : Path
        Where the file will be; what is there is replaced in one step.
    parts : iterable of bytes-like
        The file's content, in order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `tempfile`: its files are readable by their owner alone, and stores are shared.
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise
        reason = f"{error.strerror}; what was stored before is kept"
        raise OSError(error.errno, reason, str(path.parent)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets folders be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """C-contiguous array; above `MEMORY_BYTES` backed by a file that goes when it does.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    dtype : numpy.dtype
        Its type.

    Returns
    -------
    array
        In memory, or a `numpy.memmap` of a temporary file in `tempfile.gettempdir()`.
    """
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
