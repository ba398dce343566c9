"""How much memory there is, and how much of it features may take."""

import os
import re
from pathlib import Path

__all__ = ["available_memory", "memory_for_features"]

# Features above this share of what is available stay where they are. Most heads that need them in
# memory make a copy or two of them.
SHARE = 0.25
_MEMINFO = Path("/proc/meminfo")
# Limits of a container, of the second and the first version of control groups.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available_memory() -> int:
    """Bytes of memory that can be had without swapping, as far as the system tells.

    Where it doesn't, half of the machine's memory; at most a container's limit.
    """
    found = [_available()]
    for path in _LIMITS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return min(found)


def memory_for_features() -> int:
    """Bytes that features may take in memory; larger ones are read block by block."""
    return int(SHARE * available_memory())


def _available() -> int:
    try:
        told = re.search(r"^MemAvailable:\s+(\d+) kB", _MEMINFO.read_text(), re.MULTILINE)
    except OSError:
        told = None
    if told is not None:
        return int(told[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # not on every system
        return 4 * 2**30
