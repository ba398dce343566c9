"""Make the C library's allocator keep its pages while images are computed."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Iterator

__all__ = ["kept_pages"]

# glibc's malloc.h: option, value while extracting, value afterwards. By itself glibc raises the
# thresholds up to these, as larger blocks are freed; once set, they stay as they are set.
_OPTIONS = (
    (-1, 2**31 - 1, 64 * 2**20),  # M_TRIM_THRESHOLD
    (-2, 64 * 2**20, 128 * 2**10),  # M_TOP_PAD
    (-3, 2**30, 32 * 2**20),  # M_MMAP_THRESHOLD
)

_lock = threading.Lock()
_inside = 0


@contextlib.contextmanager
def kept_pages() -> Iterator[None]:
    """Keep freed memory in the process instead of giving it back to the kernel.

    By itself glibc maps every large block anew and gives it back at once: each activation
    of each batch then has its pages zeroed by the kernel again, which costs small networks
    more than their arithmetic. Afterwards the thresholds are those that glibc reaches by
    itself, and what is free is given back. Does nothing where the C library isn't glibc.
    """
    global _inside
    library = _glibc()
    if library is None:
        yield
        return
    with _lock:
        _inside += 1
        if _inside == 1:
            for option, value, _ in _OPTIONS:
                library.mallopt(option, value)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                for option, _, usual in _OPTIONS:
                    library.mallopt(option, usual)
                library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
