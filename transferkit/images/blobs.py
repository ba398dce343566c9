"""Bytes of which any part can be read: a file of this machine, or of object storage by its URL.

A blob knows the size that it had and a stamp, which is another one once other bytes are there. So
what a part of it holds is remembered without reading it again.
"""

import abc
import errno
import hashlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from transferkit.files import check_regular, is_settled, open_regular, stamp_of
from transferkit.images.decode import check_file_size
from transferkit.images.items import LazyImage
from transferkit.remote import RemoteError, RemoteFiles, tag_and_date

__all__ = ["Blob", "BlobImage", "BlobPart", "FileBlob", "ObjectBlob", "WholeBlob"]

BLOCK_BYTES = 1 << 20
"""Small parts of an object are read by blocks of so many bytes."""

_BLOCKS_KEPT = 64


class Blob(abc.ABC):
    """Bytes in one place. It pickles as the place, with size and stamp.

    Attributes
    ----------
    where : str
        Its path or URL.
    is_remote : bool
        Whether a read is a request to another machine.
    """

    __slots__ = ("where",)
    is_remote = False

    def __init__(self, where: str) -> None:
        self.where = where

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of bytes.

        Raises
        ------
        OSError
            If it isn't there, as all that follow.
        """

    @property
    @abc.abstractmethod
    def stamp(self) -> str:
        """What changes with the bytes; empty if nothing tells."""

    @abc.abstractmethod
    def read(self, at: int, n: int) -> bytes:
        """Return exactly `n` bytes at `at`."""

    @abc.abstractmethod
    def is_unchanged(self) -> bool:
        """Whether it still is what it was, as far as its stamp tells."""

    def read_part(self, at: int, n: int) -> bytes:
        """Return exactly `n` bytes at `at`, of which those nearby will likely be wanted too."""
        return self.read(at, n)

    def _whole(self, content: bytes, n: int) -> bytes:
        if len(content) != n:
            raise OSError(errno.EIO, f"{self.where} ends before its last byte")
        return content


class FileBlob(Blob):
    """A regular file of this machine, which is opened for each read.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    OSError
        If it isn't there, or is no regular file.
    """

    __slots__ = ("_is_settled", "_size", "_stamp")

    def __init__(self, path: str | Path) -> None:
        super().__init__(os.path.abspath(path))  # noqa: PTH100 (links stay)
        status = os.stat(self.where)  # noqa: PTH116 (as in `open_regular`)
        check_regular(status, self.where)
        self._size, self._stamp = status.st_size, stamp_of(status)
        # Before the first read: what is changed from now on has another stamp.
        self._is_settled = is_settled(status, time.time_ns())

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._size

    @property
    def stamp(self) -> str:
        """Its inode, size and times; empty if it was written just now."""
        return self._stamp if self._is_settled else ""

    def read(self, at: int, n: int) -> bytes:
        """Return exactly `n` bytes at `at`, if the file is still the one that it was."""
        with open_regular(self.where) as file:
            if stamp_of(os.fstat(file.fileno())) != self._stamp:
                raise OSError(errno.EIO, f"{self.where} has changed since it was listed")
            file.seek(at)
            return self._whole(file.read(n), n)

    def is_unchanged(self) -> bool:
        """Whether it is the file that it was."""
        return stamp_of(os.stat(self.where)) == self._stamp  # noqa: PTH116


class _Blocks:
    """The blocks of objects that were asked for last, in this process.

    Threads that want the same one wait for the first of them to get it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: OrderedDict[Hashable, Future[bytes]] = OrderedDict()

    def get(self, key: Hashable, fetch: Callable[[], bytes]) -> bytes:
        """Return a block, which is fetched if it isn't there."""
        key = os.getpid(), key  # nobody fetches here what a process was forked from has begun
        with self._lock:
            future = self._futures.get(key)
            is_first = future is None
            if future is None:
                future = self._futures[key] = Future()
            self._futures.move_to_end(key)
            while len(self._futures) > _BLOCKS_KEPT:
                self._futures.popitem(last=False)
        if is_first:
            try:
                future.set_result(fetch())
            except BaseException as error:
                with self._lock:
                    self._futures.pop(key, None)
                future.set_exception(error)
        return future.result()


_BLOCKS = _Blocks()


class ObjectBlob(Blob):
    """An object of object storage.

    Parameters
    ----------
    files : RemoteFiles
        Shared by all that are read from there.
    url : str
        Its URL.
    info : mapping, optional
        What a listing tells of it; None asks for it when it is needed.
    """

    __slots__ = ("_files", "_known")
    is_remote = True

    def __init__(self, files: RemoteFiles, url: str, info: Mapping[str, Any] | None = None) -> None:
        super().__init__(url)
        self._files = files
        self._known = None if info is None else _known(info)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._looked()[0]

    @property
    def stamp(self) -> str:
        """Its ETag and size."""
        size, tag = self._looked()
        return f"{tag}:{size}" if tag else ""

    def read(self, at: int, n: int) -> bytes:
        """Return exactly `n` bytes at `at`."""
        try:
            return self._whole(self._files.read(self.where, at, n), n)
        except RemoteError as error:
            raise OSError(errno.EIO, str(error)) from error

    def read_part(self, at: int, n: int) -> bytes:
        """Return exactly `n` bytes at `at`, out of blocks: small parts are not a request each."""
        first, last = at // BLOCK_BYTES, (at + n - 1) // BLOCK_BYTES
        # A large one is worth a request of its own; and blocks are known by the stamp.
        if last - first > 1 or not self.stamp:
            return self.read(at, n)
        content = b"".join(self._block(number) for number in range(first, last + 1))
        return self._whole(content[at - first * BLOCK_BYTES :][:n], n)

    def _block(self, number: int) -> bytes:
        at = number * BLOCK_BYTES
        n = min(BLOCK_BYTES, self.size - at)
        return _BLOCKS.get((self.where, self.stamp, number), lambda: self.read(at, n))

    def is_unchanged(self) -> bool:
        """Whether it is the object that it was."""
        return self._looked() == self._look()

    def is_etag_of(self, content: bytes) -> bool:
        """Whether the ETag proves that these are its bytes: of a plain upload it is their MD5."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return self._looked()[1].strip('"') == md5

    def _looked(self) -> tuple[int, str]:
        if self._known is None:
            self._known = self._look()
        return self._known

    def _look(self) -> tuple[int, str]:
        try:
            return _known(self._files.info(self.where))
        except RemoteError as error:
            raise OSError(errno.EIO, str(error)) from error


def _known(info: Mapping[str, Any]) -> tuple[int, str]:
    tag, date = tag_and_date(info)
    return int(info["size"]), str(tag or date or "")


class BlobImage(LazyImage):
    """An image whose bytes lie in a blob.

    Attributes
    ----------
    blob : Blob
        Where.
    """

    __slots__ = ()
    blob: Blob

    @property
    @abc.abstractmethod
    def key(self) -> str:
        """Name of the image among all of all blobs."""

    @property
    def is_far(self) -> bool:
        """Whether a read is a request to another machine."""
        return self.blob.is_remote


class WholeBlob(BlobImage):
    """An image that is a blob and nothing else: an object of object storage.

    Parameters
    ----------
    blob : Blob
        The object.
    """

    __slots__ = ("blob",)

    def __init__(self, blob: Blob) -> None:
        self.blob = blob

    @property
    def key(self) -> str:
        """Its URL."""
        return self.blob.where

    def read(self) -> bytes:
        """Return its bytes."""
        check_file_size(self.blob.size, self.blob.where)
        return self.blob.read(0, self.blob.size)


class BlobPart(BlobImage):
    """An image that is a part of a blob: a member of a tar.

    Parameters
    ----------
    blob : Blob
        The file.
    at, n : int
        Where the image begins in it, and its bytes.
    """

    __slots__ = ("at", "blob", "n")

    def __init__(self, blob: Blob, at: int, n: int) -> None:
        self.blob = blob
        self.at = at
        self.n = n

    @property
    def key(self) -> str:
        """Place of the file, and of the image in it."""
        return f"{self.blob.where}\0{self.at}:{self.n}"

    def read(self) -> bytes:
        """Return its bytes."""
        check_file_size(self.n, self.blob.where)
        if self.at + self.n > self.blob.size:  # no memory is taken for what isn't there
            raise OSError(errno.EIO, f"{self.blob.where} ends before the image's last byte")
        return self.blob.read_part(self.at, self.n) if self.n else b""
