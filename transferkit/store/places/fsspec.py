"""A store on object storage, through fsspec and the library of the URL's kind.

An object is there whole or not at all, so a shard is one put. What a place can't tell is never
guessed: a request that fails is made again a few times, and then the run fails.
"""

import errno
import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

from transferkit.store.places.place import PlaceError, Stamp, StorePlace

__all__ = ["LIBRARIES", "ObjectPlace"]

logger = logging.getLogger(__name__)

LIBRARIES: Mapping[str, tuple[str, str]] = {
    "s3": ("s3fs", "'transferkit[s3]'"),
    "gs": ("gcsfs", "gcsfs"),
    "gcs": ("gcsfs", "gcsfs"),
    "az": ("adlfs", "adlfs"),
    "abfs": ("adlfs", "adlfs"),
    "memory": ("fsspec", "'transferkit[fsspec]'"),
}
"""The library of each kind of URL, and what pip is told to install."""

# Seconds between one attempt and the next. A request that waits for an answer ends by itself.
WAITS = (0.2, 0.6, 1.8, 5.4)
# The attempts are made here, for all kinds alike, and those of s3fs and botocore aren't added:
# multiplied, a server that is gone would take half an hour to be told of.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {"config_kwargs": {"retries": {"total_max_attempts": 1, "mode": "standard"}}},
}
# Another attempt wouldn't change these.
_FINAL = (PermissionError, NotImplementedError, ImportError, TypeError, ValueError)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError")
# Texts of libraries may quote what was sent.
_SECRETS = re.compile(
    r"\b(?:AKIA|ASIA)[A-Z0-9]{8,}\b|(?<=://)[^/@\s]+@"
    r"|(?<=[?&\s])[^?&=\s]*(?:signature|sig|token|key|secret|credential)[^?&=\s]*=[^&\s'\"]+",
    re.IGNORECASE,
)
_SECRET_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class ObjectPlace(StorePlace):
    """A prefix of an object store.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/prefix``. Credentials and endpoints are found by the library, in
        the environment or in its own files, and are no part of it.

    Raises
    ------
    ValueError
        If the URL holds more than a place, or its library isn't installed.
    """

    gap_bytes = 1 << 20
    at_once = 8

    def __init__(self, url: str) -> None:
        _check_url(url)
        scheme, _, rest = url.partition("://")
        self._scheme = scheme.lower()
        self.url = f"{self._scheme}://{rest.strip('/')}"
        self.is_shared = self._scheme != "memory"
        library, install = LIBRARIES[self._scheme]
        if importlib.util.find_spec(library) is None:
            raise ValueError(
                f"store {self.url!r} needs {library}, which isn't installed; run pip install "
                f"{install}"
            )
        self._opened: tuple[int, Any] | None = None

    def __reduce__(self) -> tuple[type["ObjectPlace"], tuple[str]]:
        # Connections, and whatever they were opened with, stay here.
        return type(self), (self.url,)

    def where(self, name: str = "") -> str:
        """Return the URL of a file here."""
        return f"{self.url}/{name}" if name else self.url

    def names(self, folder: str) -> list[str]:
        """List the names in a folder, sorted; none if there is no such folder."""
        path = self._path(folder)
        try:
            found = self._ask("list", folder, lambda: self._system().ls(path, detail=False))
        except FileNotFoundError:
            return []
        # Asked for a file, or for a folder that has an object of its own, they list that too.
        others = (name.rstrip("/") for name in found if name.strip("/") != path.strip("/"))
        return sorted({name.rpartition("/")[2] for name in others})

    def files(self, folder: str) -> dict[str, tuple[int, Stamp]]:
        """List the files in a folder by name, each with its bytes and its stamp."""
        path = self._path(folder)
        try:
            found = self._ask("list", folder, lambda: self._system().ls(path, detail=True))
        except FileNotFoundError:
            return {}
        told = {
            info["name"].rpartition("/")[2]: _size_and_stamp(info)
            for info in found
            if info["type"] == "file" and info["name"].strip("/") != path.strip("/")
        }
        return dict(sorted(told.items()))

    def size_and_stamp(self, name: str) -> tuple[int, Stamp]:
        """Return a file's bytes, and its ETag, or what this kind of place has instead."""
        info = self._ask("look at", name, lambda: self._system().info(self._path(name)))
        if info["type"] != "file":
            raise self._absent(name)
        return _size_and_stamp(info)

    def read(self, name: str, at: int, n: int) -> bytes:
        """Return `n` bytes at `at`; fewer if the file ends before."""
        return self._ask("read", name, lambda: self._read(name, at, n)) if n else b""

    def _read(self, name: str, at: int, n: int) -> bytes:
        system, path = self._system(), self._path(name)
        try:
            content = bytes(system.cat_file(path, start=at, end=at + n))
        except FileNotFoundError:
            raise
        except OSError:
            # Some say so where others send nothing.
            if at >= system.info(path)["size"]:
                return b""
            raise
        if len(content) > n or (len(content) < n and at + len(content) < system.info(path)["size"]):
            raise OSError(errno.EIO, f"{len(content)} bytes came instead of {n}")
        return content

    def write_whole(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Write a file by one put; the library sends a large one in parts, which no list shows."""
        content = b"".join(parts)
        try:
            self._ask("write", name, lambda: self._system().pipe_file(self._path(name), content))
        except FileNotFoundError as error:
            self._fail("write", name, error, "there is no such bucket; make it first")

    def remove(self, name: str) -> None:
        """Remove a file; no matter if it isn't there."""

        def remove() -> None:
            self._system().rm_file(self._path(name))

        try:
            self._ask("remove", name, remove)
        except FileNotFoundError:
            return

    def folder_bytes(self, folder: str) -> int:
        """Size of all files in a folder and below."""

        def find() -> dict[str, Any]:
            return dict(self._system().find(self._path(folder), detail=True))

        return sum(info["size"] for info in self._ask("list", folder, find).values())

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it."""

        def remove() -> None:
            self._system().rm(self._path(folder), recursive=True)

        try:
            self._ask("remove", folder, remove)
        except FileNotFoundError:
            return

    def check_writable(self, what: str) -> None:
        """Raise if there is no such bucket, or if nobody answers."""
        if not self.is_shared:
            return
        bucket = self._path().partition("/")[0]
        try:
            self._ask("look at", "", lambda: self._system().info(bucket))
        except FileNotFoundError as error:
            raise ValueError(
                f"{what}: there is no bucket {bucket!r}; make it first, or give another store "
                f"than {self.url!r}"
            ) from error

    def _path(self, name: str = "") -> str:
        """Return what the library calls a file."""
        return str(self._system()._strip_protocol(self.where(name)))

    def _system(self) -> Any:
        """Return the library's file system, one per process: connections don't survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            # Listings must show what others write, and our own settings are for nobody else.
            system = fsspec.filesystem(
                self._scheme,
                use_listings_cache=False,
                skip_instance_cache=True,
                **_OPTIONS.get(self._scheme, {}),
            )
            if self._scheme == "s3":
                system.retries = 1
            self._opened = os.getpid(), system
        return self._opened[1]

    def _ask(self, verb: str, name: str, request: Callable[[], Any]) -> Any:
        """Make a request, again if need be; `FileNotFoundError` is an answer."""
        for wait in (*WAITS, None):
            try:
                return request()
            except FileNotFoundError as error:
                raise self._absent(name) from error
            except PlaceError:
                raise
            except Exception as error:  # each library has its own
                kind = type(error).__name__
                if kind in _NO_CREDENTIALS:
                    self._fail(verb, name, error, "no credentials were found")
                if wait is None or isinstance(error, _FINAL):
                    self._fail(verb, name, error, _told(error))
                logger.info(
                    "could not %s %s (%s); again in %s s", verb, self.where(name), kind, wait
                )
                time.sleep(wait)
        raise AssertionError  # the last attempt returned or raised

    def _fail(self, verb: str, name: str, error: Exception, reason: str) -> NoReturn:
        advice = (
            "check its credentials and what they allow"
            if isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS
            else "check that it can be reached"
        )
        raise PlaceError(
            f"could not {verb} {self.where(name)}: {reason}; {advice}, and run it again: what was "
            "stored before is kept"
        ) from error

    def _absent(self, name: str) -> FileNotFoundError:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.where(name))


def _size_and_stamp(info: Mapping[str, Any]) -> tuple[int, Stamp]:
    tag = next((info[key] for key in ("ETag", "etag", "generation") if info.get(key)), None)
    dates = ("LastModified", "last_modified", "updated", "created")
    date = next((info[key] for key in dates if info.get(key)), None)
    return info["size"], (tag, str(date), info["size"])


def _check_url(url: str) -> None:
    """Refuse what a URL must not hold, without repeating it."""
    scheme, netloc, path, query, fragment = urlsplit(url)
    # Of Azure, the container stands before the account.
    is_account = scheme in ("az", "abfs") and ":" not in netloc
    if ("@" in netloc and not is_account) or query or fragment:
        raise ValueError(
            f"the store's URL, {scheme}://…, holds more than a bucket and a prefix; credentials "
            "and endpoints belong in the environment or in the library's own files"
        )
    if scheme != "memory" and not netloc:
        raise ValueError(f"store {url!r} names no bucket; give {scheme}://BUCKET/PREFIX")
    if "::" in url or ".." in path.split("/"):
        raise ValueError(f"store {url!r} isn't a plain URL; give {scheme}://BUCKET/PREFIX")


def _told(error: Exception) -> str:
    """What an error says, in a line and without secrets."""
    text = " ".join(str(error).split())[:200]
    for name in _SECRET_NAMES:
        if value := os.environ.get(name):
            text = text.replace(value, "…")
    text = _SECRETS.sub("…", text)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
