"""A store in a folder of this machine, or of a file system that is mounted on it."""

import os
import shutil
import stat
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from transferkit.files import TEMPORARY_PREFIX, open_regular, write_whole
from transferkit.folders import check_folder
from transferkit.store.places.place import Stamp, StoredFile, StorePlace

__all__ = ["LocalPlace"]

# Leftovers of killed writers are removed once they are older than this.
TEMPORARY_SECONDS = 24 * 3600
# Larger parts are checked for holes before they are read: sparse files cost nothing to make.
LARGE_BYTES = 1 << 26


class _LocalFile(StoredFile):
    """A regular file that stays open while parts of it are read.

    It is read by plain reads, not through a memory map: a file that is truncated or fails under
    a map ends the process (SIGBUS); under a read it is an error that costs those rows.
    """

    def __init__(self, place: "LocalPlace", name: str) -> None:
        super().__init__(place, name)
        self._file = open_regular(place.path(name))

    def close(self) -> None:
        self._file.close()

    def fetched(self, spans: Sequence[tuple[int, int]]) -> StoredFile:
        """Return the file as it is: a read is quick."""
        return self

    def read(self, at: int, n: int) -> bytes:
        """Return `n` bytes at `at`; fewer if the file ends before."""
        self._file.seek(at)
        return self._file.read(n)

    def has_hole(self, at: int, n: int) -> bool:
        # Where the system can't tell, nothing is said; small parts are read, which is as quick.
        if n < LARGE_BYTES or not hasattr(os, "SEEK_HOLE"):
            return False
        handle = self._file.fileno()
        before = os.lseek(handle, 0, os.SEEK_CUR)
        try:
            return os.lseek(handle, at, os.SEEK_HOLE) < at + n
        except OSError:
            return False
        finally:
            os.lseek(handle, before, os.SEEK_SET)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns


class LocalPlace(StorePlace):
    """A folder. A file is written to a temporary one, flushed to the disk, then renamed.

    Parameters
    ----------
    folder : Path
        The folder, absolute; need not exist.
    """

    gap_bytes = 1 << 16

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str = "") -> Path:
        """Path of a file or folder of this place."""
        return self.folder / name

    def where(self, name: str = "") -> Path:
        """Return the path of a file here."""
        return self.path(name)

    def names(self, folder: str) -> list[str]:
        """List the names in a folder, sorted; none if there is no such folder."""
        try:
            return sorted(os.listdir(self.path(folder)))  # noqa: PTH208 (names alone are wanted)
        except FileNotFoundError:
            return []

    def files(self, folder: str) -> dict[str, tuple[int, Stamp]]:
        """List the files in a folder by name, each with its bytes and its stamp."""
        found: dict[str, tuple[int, Stamp]] = {}
        try:
            with os.scandir(self.path(folder)) as entries:
                for entry in entries:
                    try:
                        status = entry.stat()
                    except FileNotFoundError:  # it went meanwhile, or is a link to nothing
                        continue
                    except OSError:  # it can't be read either, which is told then
                        found[entry.name] = 0, ()
                    else:
                        found[entry.name] = status.st_size, _stamp(status)
        except FileNotFoundError:
            return {}
        return dict(sorted(found.items()))

    def size_and_stamp(self, name: str) -> tuple[int, Stamp]:
        """Return a file's bytes, and its inode, size and modification time (ns)."""
        status = self.path(name).stat()
        return status.st_size, _stamp(status)

    def open(self, name: str) -> StoredFile:
        """Open a regular file for reading several parts of it."""
        return _LocalFile(self, name)

    def read(self, name: str, at: int, n: int) -> bytes:
        """Return `n` bytes at `at`; fewer if the file ends before."""
        with self.open(name) as file:
            return file.read(at, n)

    def write_whole(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Write a file that exists whole or not at all, whenever the machine dies."""
        write_whole(self.path(name), parts)

    def remove(self, name: str) -> None:
        """Remove a file; no matter if it isn't there."""
        self.path(name).unlink(missing_ok=True)

    def folder_bytes(self, folder: str) -> int:
        """Size of all files in a folder and below."""
        below = self.path(folder).rglob("*")
        return sum(path.lstat().st_size for path in below if not path.is_dir())

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it."""
        shutil.rmtree(self.path(folder))

    def check_writable(self, what: str) -> None:
        """Raise early if the folder can't be written to."""
        check_folder(self.folder, what)

    def free_bytes(self) -> int | None:
        """Free bytes of the folder's disk, be it there or not yet; None if nobody can tell."""
        nearest = (path for path in (self.folder, *self.folder.parents) if path.exists())
        place = next(nearest, None)
        try:
            return None if place is None else shutil.disk_usage(place).free
        except OSError:
            return None

    def leftovers(self, folder: str) -> list[tuple[str, int]]:
        """Temporary files that were written more than a day ago."""
        found = []
        for path in sorted(self.path(folder).glob(f"{TEMPORARY_PREFIX}*")):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > TEMPORARY_SECONDS:
                found.append((f"{folder}/{path.name}", status.st_size))
        return found
