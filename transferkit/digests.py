"""Digests of files and of pixels in memory, which are the addresses of rows in the store.

`DigestMemory` doesn't read a file again whose path, size and times haven't changed,
as git's index does. It is only a shortcut: without it, or with a broken one,
everything is hashed and the digests are the same.
"""

import contextlib
import errno
import functools
import hashlib
import logging
import math
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from transferkit.files import check_regular, is_settled, open_regular, stamp_of
from transferkit.folders import cache_folder

__all__ = [
    "ID_BYTES",
    "DigestMemory",
    "Digests",
    "HashFiles",
    "file_digest",
    "hash_files",
    "pixel_digest",
    "row_id",
]

ID_BYTES = 16
"""Length of a row id: the first bytes of a digest."""

_DEFAULT_THREADS = min(16, os.cpu_count() or 1)
_PATHS_PER_QUERY = 900  # older SQLite takes at most 999 parameters
# If another process has locked the memory, wait this long for it and then leave it alone for a
# while: hashing a few files again is quicker than waiting once for each of them.
_BUSY_TIMEOUT_S = 0.5
_PAUSE_S = 60.0
_PIXEL_PREFIX = b"transferkit-pixels\0"
# The table's name carries its version: another layout is another table.
_CREATE = """
    CREATE TABLE IF NOT EXISTS files_1 (
        path BLOB PRIMARY KEY, stamp TEXT NOT NULL, digest BLOB NOT NULL, crc INTEGER NOT NULL
    ) WITHOUT ROWID
"""

_logger = logging.getLogger(__name__)

# For each memory that was found locked, the time (`time.monotonic`) until which it is left alone.
_paused: dict[Path, float] = {}


class HashFiles(Protocol):
    """Digests files, here or elsewhere, as `hash_files` does."""

    def __call__(self, stamps: Mapping[str, str], /) -> Sequence[tuple[bytes | OSError, bool]]:
        """Digest files, by their paths and stamps."""


def file_digest(path: str | Path) -> bytes:
    """SHA-256 of a file's bytes.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    bytes
        The whole digest, 32 bytes.

    Raises
    ------
    OSError
        If the file can't be read, or isn't a regular one.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").digest()


def pixel_digest(array: np.ndarray) -> bytes:
    """SHA-256 of an array: its type, shape and values; not of its memory layout.

    Parameters
    ----------
    array : ndarray
        Pixels, of any numeric type and shape.

    Returns
    -------
    bytes
        The whole digest, 32 bytes; never that of a file, because of a prefix.

    Examples
    --------
    >>> pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    >>> pixel_digest(pixels) == pixel_digest(np.asfortranarray(pixels))
    True
    >>> pixel_digest(pixels) == pixel_digest(pixels.reshape(4, 1, 3))
    False
    """
    if array.dtype.hasobject:
        raise TypeError(
            f"array has dtype {array.dtype}, whose bytes are addresses; give an array of numbers"
        )
    digest = hashlib.sha256(_PIXEL_PREFIX)
    digest.update(f"{array.dtype.str}{array.shape}\0".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def row_id(digest: bytes) -> bytes:
    """Return the id of the row that belongs to a digest: its first `ID_BYTES` bytes."""
    return digest[:ID_BYTES]


@dataclass(frozen=True)
class Digests:
    """Digests of some files, and how many of the files had to be read for them.

    Parameters
    ----------
    values : list of bytes or OSError
        One per path, in the order asked: the digest (32 bytes) or, for a file that could
        not be read, the error.
    n_read : int
        How many files had to be read.
    """

    values: list[bytes | OSError]
    n_read: int


class DigestMemory:
    """Remembers the digests of files in a small SQLite file.

    An entry counts only while the file's device, inode, size, mtime and ctime (ns) are
    those it was hashed with. One connection is opened per call and closed in it, so threads
    and forks are safe. A memory that is locked, broken or not writable never fails a call:
    the files are hashed.

    Parameters
    ----------
    path : str or Path, optional
        The SQLite file, on a local disk; ``digests.sqlite`` in `cache_folder` by default.
        It is made when needed and may be deleted at any time.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else cache_folder() / "digests.sqlite"

    def digests(
        self,
        paths: Sequence[str | Path],
        *,
        threads: int = _DEFAULT_THREADS,
        check_size: Callable[[int, str], None] | None = None,
        hash_with: HashFiles | None = None,
    ) -> Digests:
        """Return the digests of files, reading only the files whose digest isn't remembered.

        Parameters
        ----------
        paths : sequence of str or Path
            The files; a path may stand there more than once.
        threads : int
            How many files are read at a time.
        check_size : callable, optional
            Called with a file's bytes and its path before it is read; an OSError that it
            raises stands in the place of the digest.
        hash_with : callable, optional
            What digests the files that aren't known; by default `hash_files`, by so many threads.

        Returns
        -------
        Digests
            In the order asked, with the error in the place of an unreadable file.
        """
        absolute = [os.path.abspath(p) for p in paths]  # noqa: PTH100 (Path is 10 times slower)
        digest_of: dict[str, bytes | OSError] = {}
        stamps: dict[str, str] = {}
        for path in dict.fromkeys(absolute):
            try:
                status = _stat(path)
                if check_size is not None:
                    check_size(status.st_size, path)
                stamps[path] = stamp_of(status)
            except OSError as error:
                digest_of[path] = error
        digest_of.update(self.recall(stamps))
        unknown = {path: stamp for path, stamp in stamps.items() if path not in digest_of}
        if unknown:
            if hash_with is None:
                hash_with = functools.partial(hash_files, threads=threads)
            digest_of.update(self._hash_all(unknown, hash_with))
        return Digests([digest_of[path] for path in absolute], len(unknown))

    def _hash_all(self, stamps: dict[str, str], hash_with: HashFiles) -> dict[str, bytes | OSError]:
        """Read the files with these paths and stamps, and remember their digests."""
        start = time.perf_counter()
        hashed = dict(zip(stamps, hash_with(stamps), strict=True))
        self.record(
            {
                path: (stamps[path], digest)
                for path, (digest, is_lasting) in hashed.items()
                if is_lasting and isinstance(digest, bytes)
            }
        )
        seconds = time.perf_counter() - start
        _logger.info("hashed %s files in %.1f s", f"{len(stamps):,}", seconds)
        return {path: digest for path, (digest, _) in hashed.items()}

    def recall(self, stamps: Mapping[str, str]) -> dict[str, bytes]:
        """Return the digests that are remembered for these paths with these very stamps.

        Parameters
        ----------
        stamps : mapping of str to str
            By absolute path, or whatever else names something for good, such as a URL.
        """
        known: dict[str, bytes] = {}
        keys = {os.fsencode(path): path for path in stamps}
        with self._forgiving("read"):
            if not keys or self._is_paused() or not self.path.exists():
                return known
            with self._connection() as connection:
                for some in _chunks(list(keys), _PATHS_PER_QUERY):
                    places = ",".join("?" * len(some))
                    rows = connection.execute(
                        f"SELECT path, stamp, digest, crc FROM files_1 WHERE path IN ({places})",
                        some,
                    )
                    for key, stamp, digest, crc in rows:
                        path = keys.get(key, "")
                        # The checksum, because SQLite has none: a flipped bit must not pass.
                        if stamp == stamps.get(path) and crc == _crc(key, stamp, digest):
                            known[path] = digest
        return known

    def record(self, entries: Mapping[str, tuple[str, bytes]]) -> None:
        """Remember digests, in one transaction.

        Parameters
        ----------
        entries : mapping of str to (str, bytes)
            Stamp and digest by path, as for `recall`. Any later change of the bytes has to
            show in the stamp.
        """
        if not entries or self._is_paused():
            return
        rows = [
            (key := os.fsencode(path), stamp, digest, _crc(key, stamp, digest))
            for path, (stamp, digest) in entries.items()
        ]
        with self._forgiving("written"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._connection() as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO files_1 VALUES (?, ?, ?, ?)", rows)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        # The default rollback journal: WAL would add two files and not work on network shares.
        connection = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.execute(_CREATE)
            yield connection

    @contextlib.contextmanager
    def _forgiving(self, what: str) -> Iterator[None]:
        """Turn a failure of the memory into a log line; remove the file if it is corrupt."""
        try:
            yield
        # The row types of a damaged file are anything: hence TypeError and the like.
        except (sqlite3.Error, OSError, TypeError, ValueError, OverflowError) as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                self._pause(error)
                return
            _logger.info("%s could not be %s (%s); files are hashed", self.path, what, error)
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                with contextlib.suppress(OSError):
                    self.path.unlink(missing_ok=True)

    def _pause(self, error: Exception) -> None:
        """Leave a locked memory alone for a while; say so once in this process."""
        level = logging.INFO if self.path in _paused else logging.WARNING
        _paused[self.path] = time.monotonic() + _PAUSE_S
        _logger.log(
            level,
            "%s, which remembers the digests of files, is used by another process (%s); files are "
            "hashed anew meanwhile: end that process, or remove that file",
            self.path,
            error,
        )

    def _is_paused(self) -> bool:
        return time.monotonic() < _paused.get(self.path, -math.inf)


def hash_files(
    stamps: Mapping[str, str], threads: int = _DEFAULT_THREADS
) -> list[tuple[bytes | OSError, bool]]:
    """Digest files, on the machine that stamped them or on another that sees them.

    Parameters
    ----------
    stamps : mapping of str to str
        What identifies each file's state, by its path: device, inode, size, mtime and ctime, as
        `DigestMemory` has found them.
    threads : int
        How many files are read at a time.

    Returns
    -------
    list of (bytes or OSError, bool)
        The digest (32 bytes) or the error, and whether it is of the file as it was stamped, so
        that it may be remembered.
    """
    with ThreadPoolExecutor(max(1, threads)) as pool:
        return list(pool.map(_hash, stamps, stamps.values()))


def _stat(path: str) -> os.stat_result:
    try:
        status = os.stat(path)  # noqa: PTH116 (60,000 Path objects would take longer)
    except ValueError as error:  # a null character
        raise OSError(errno.EINVAL, str(error), path) from error
    check_regular(status, path)
    return status


def _hash(path: str, stamp: str) -> tuple[bytes | OSError, bool]:
    """Digest of a file, and whether any later change to it will change its stamp."""
    now = time.time_ns()  # before reading: a change during or after it must show in the stamp
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            after = os.fstat(file.fileno())
    except OSError as error:
        return error, False
    # The device's number is that of a mount, and so another one on another machine.
    is_same = stamp_of(after).partition(":")[2] == stamp.partition(":")[2]
    return digest, is_settled(after, now) and is_same


def _crc(key: bytes, stamp: str, digest: bytes) -> int:
    return zlib.crc32(digest, zlib.crc32(stamp.encode(), zlib.crc32(key)))


def _chunks(values: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
