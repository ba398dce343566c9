"""What a store asks of the place where its files are."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

__all__ = ["PlaceError", "Stamp", "StorePlace", "StoredFile"]

T = TypeVar("T")
U = TypeVar("U")

Stamp = tuple[object, ...]


class PlaceError(RuntimeError):
    """A place didn't answer, or refused, so that nothing is known about what it holds.

    It isn't an `OSError`: those are about one file, whose rows then count as missing and are
    computed again. Of a place that can't be reached that would be wrong for every row.
    """


class StoredFile:
    """A file of a place, open for reading.

    Parameters
    ----------
    place : StorePlace
        Where it is.
    name : str
        Its name there.
    fetched : sequence of (int, bytes), optional
        Parts that are known already, and where they begin.
    """

    def __init__(
        self, place: "StorePlace", name: str, fetched: Sequence[tuple[int, bytes]] = ()
    ) -> None:
        self._place = place
        self._name = name
        self._fetched = fetched

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""

    def fetched(self, spans: Sequence[tuple[int, int]]) -> "StoredFile":
        """Return the file with parts that are about to be read; near ones come by one request.

        Parameters
        ----------
        spans : sequence of (int, int)
            Where each part begins, and its bytes.
        """
        joined = _joined(spans, self._place.gap_bytes)
        parts = [(at, self._place.read(self._name, at, n)) for at, n in joined]
        return StoredFile(self._place, self._name, parts)

    def read(self, at: int, n: int) -> bytes:
        """Return `n` bytes at `at`; fewer if the file ends before."""
        for begin, content in self._fetched:
            if begin <= at and at + n <= begin + len(content):
                return content[at - begin : at - begin + n]
        return self._place.read(self._name, at, n)

    def has_hole(self, at: int, n: int) -> bool:
        """Whether a part is known never to have been written."""
        return False


def _joined(spans: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Join parts that are no further apart than the gap."""
    joined: list[tuple[int, int]] = []
    for at, n in sorted(spans):
        if joined and at - sum(joined[-1]) <= gap:
            begin, size = joined[-1]
            joined[-1] = begin, max(size, at + n - begin)
        else:
            joined.append((at, n))
    return joined


class StorePlace(ABC):
    """A tree of files by names such as ``key/shards/file``, each there whole or not at all.

    The first six abstract methods are what a store needs; the others are built on them, or look
    after what only one kind of place has.

    Attributes
    ----------
    gap_bytes : int
        Parts of a file that are no further apart are read as one.
    at_once : int
        How many requests are worth making at a time.
    is_shared : bool
        Whether other processes see what is written here.
    """

    gap_bytes: int
    at_once = 1
    is_shared = True

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """List the names in a folder, sorted; none if there is no such folder."""

    @abstractmethod
    def files(self, folder: str) -> dict[str, tuple[int, Stamp]]:
        """List the files in a folder by name, sorted, each with its bytes and its stamp.

        Folders of a disk are among them. Stamps are compared with those of other lists alone:
        `size_and_stamp` may tell less.
        """

    @abstractmethod
    def size_and_stamp(self, name: str) -> tuple[int, Stamp]:
        """Return a file's bytes, and values that differ if another has taken its name.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """

    @abstractmethod
    def read(self, name: str, at: int, n: int) -> bytes:
        """Return `n` bytes at `at`; fewer if the file ends before.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """

    @abstractmethod
    def write_whole(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Write a file that exists whole or not at all; one of that name is replaced."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file; no matter if it isn't there."""

    @abstractmethod
    def where(self, name: str = "") -> Path | str:
        """Return what users call a file of this place: its path or its URL."""

    @abstractmethod
    def folder_bytes(self, folder: str) -> int:
        """Size of all files in a folder and below."""

    @abstractmethod
    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it."""

    @abstractmethod
    def check_writable(self, what: str) -> None:
        """Raise early if nothing can be written here, rather than after hours of work.

        Parameters
        ----------
        what : str
            Beginning of the sentence: what can't be done.
        """

    def free_bytes(self) -> int | None:
        """Bytes that are free here; None if nobody can tell."""
        return None

    def leftovers(self, folder: str) -> list[tuple[str, int]]:
        """Names and bytes of files that killed writers left in a folder, and that may go."""
        return []

    def open(self, name: str) -> StoredFile:
        """Open a file for reading several parts of it."""
        return StoredFile(self, name)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        try:
            self.size_and_stamp(name)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def each(self, work: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
        """Do the same for each item, as many at a time as are worth it; results in their order.

        Within such work, what is done for each of other items is done one after the other.
        """
        items = list(items)
        if self.at_once == 1 or len(items) < 2 or getattr(_THREAD, "is_one_of_many", False):
            yield from map(work, items)
            return
        with ThreadPoolExecutor(self.at_once, initializer=_mark_thread) as pool:
            yield from pool.map(work, items)


_THREAD = threading.local()


def _mark_thread() -> None:
    _THREAD.is_one_of_many = True
