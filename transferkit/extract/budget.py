"""A limit on the pixels that are decoded at a time, for any number of threads."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

__all__ = ["BYTES_PER_PIXEL", "PixelBudget", "affordable_pixels"]

# Bytes that PIL needs for a pixel of a transparent WebP, the worst kind: 4.6 GB for 177 million.
BYTES_PER_PIXEL = 26
# A quarter of the memory is for pixels; without its size, one image of PIL's own limit.
_SHARE = 4
_LEAST = 180_000_000


def affordable_pixels() -> int:
    """Number of pixels that this machine can decode at a time."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not on every system
        return _LEAST
    return max(_LEAST, memory // _SHARE // BYTES_PER_PIXEL)


class PixelBudget:
    """A number of pixels that all threads share.

    Photos never meet the limit; giant images wait for one another.

    Parameters
    ----------
    total : int
        Pixels at a time. An image of more is decoded alone.

    Examples
    --------
    >>> budget = PixelBudget(100)
    >>> with budget.claim(60):
    ...     budget.left
    40
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.left = total
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def claim(self, n_pixels: int) -> Iterator[None]:
        """Wait until so many pixels may be decoded, and reserve them during the block."""
        share = min(n_pixels, self.total)
        with self._changed:
            self._changed.wait_for(lambda: share <= self.left)
            self.left -= share
        try:
            yield
        finally:
            with self._changed:
                self.left += share
                self._changed.notify_all()
