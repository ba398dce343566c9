"""A store in the memory of this process, which ends with it."""

import errno
import itertools
import os
import threading
from collections.abc import Iterable
from typing import NoReturn

from transferkit.store.places.place import Stamp, StorePlace

__all__ = ["MemoryPlace"]


class MemoryPlace(StorePlace):
    """Files that are kept in memory: for few rows that nobody wants to keep.

    Nothing is written to a disk, and nothing waits for one. Unlike ``memory://`` it is no name:
    who has the object has the files.
    """

    gap_bytes = 0
    is_shared = False

    def __init__(self) -> None:
        self._files: dict[str, tuple[int, bytes]] = {}  # a number that differs, and the content
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a store in memory can't be sent to another process; give it a folder")

    def where(self, name: str = "") -> str:
        """Return what messages call a file here."""
        return f"memory of this process/{name}".rstrip("/")

    def names(self, folder: str) -> list[str]:
        """List the names in a folder, sorted; none if there is no such folder."""
        return sorted({name.partition("/")[0] for name in self._below(folder)})

    def files(self, folder: str) -> dict[str, tuple[int, Stamp]]:
        """List the files in a folder by name, each with its bytes and its stamp."""
        found = {name: one for name, one in self._below(folder).items() if "/" not in name}
        return {name: (len(one[1]), (one[0],)) for name, one in sorted(found.items())}

    def size_and_stamp(self, name: str) -> tuple[int, Stamp]:
        """Return a file's bytes, and a number that no other file has had."""
        number, content = self._found(name)
        return len(content), (number,)

    def read(self, name: str, at: int, n: int) -> bytes:
        """Return `n` bytes at `at`; fewer if the file ends before."""
        return self._found(name)[1][at : at + n]

    def write_whole(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Write a file; one of that name is replaced."""
        content = b"".join(parts)
        with self._lock:
            self._files[name] = next(self._numbers), content

    def remove(self, name: str) -> None:
        """Remove a file; no matter if it isn't there."""
        with self._lock:
            self._files.pop(name, None)

    def folder_bytes(self, folder: str) -> int:
        """Size of all files in a folder and below."""
        return sum(len(content) for _, content in self._below(folder).values())

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        for name in self._below(folder):
            self.remove(f"{folder}/{name}")

    def check_writable(self, what: str) -> None:
        """Memory can always be written to."""

    def _below(self, folder: str) -> dict[str, tuple[int, bytes]]:
        """Files below a folder, by their names from there."""
        begin = f"{folder}/" if folder else ""
        with self._lock:
            files = list(self._files.items())
        return {name.removeprefix(begin): one for name, one in files if name.startswith(begin)}

    def _found(self, name: str) -> tuple[int, bytes]:
        with self._lock:
            found = self._files.get(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.where(name))
        return found
