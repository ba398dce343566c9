"""Files of object storage by their URLs, through fsspec and the library of the URL's kind.

What isn't answered is never guessed: a request that fails is made again a few times, and then it
is an error. Credentials and endpoints are found by the library, in the environment or in its own
files; none of them is kept, or told in a message.
"""

import errno
import importlib.util
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeGuard, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = [
    "LIBRARIES",
    "RemoteError",
    "RemoteFiles",
    "check_url",
    "is_url",
    "path_of_url",
    "scheme_of",
    "tag_and_date",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

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
# After so many files in a row that could not be had, the place is down, and it would take hours to
# wait for each of the others.
_PATIENCE = 20
# The attempts are made here, for all kinds alike, and those of s3fs and botocore aren't added:
# multiplied, a server that is gone would take half an hour to be told of.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            # Its ten would be fewer than the threads that ask.
            "max_pool_connections": 64,
        }
    },
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


class RemoteError(RuntimeError):
    """A place didn't answer, or refused, so that nothing is known about what it holds."""


class RemoteFiles:
    """All files of one kind of URL. Nobody is asked before a file is.

    It pickles as the kind's name: connections, and whatever they were opened with, stay here.

    Parameters
    ----------
    scheme : str
        One of `LIBRARIES`.
    what : str
        What is there, for messages.

    Raises
    ------
    ValueError
        If the library of this kind isn't installed.
    """

    def __init__(self, scheme: str, what: str) -> None:
        self.scheme = scheme
        self.what = what
        self._opened: tuple[int, Any] | None = None
        self._failed = 0
        library, install = LIBRARIES[scheme]
        if importlib.util.find_spec(library) is None:
            raise ValueError(
                f"{what} at {scheme}:// need{'s' * (what == 'a store')} {library}, which isn't "
                f"installed; run pip install {install}"
            )

    def __reduce__(self) -> tuple[type["RemoteFiles"], tuple[str, str]]:
        return type(self), (self.scheme, self.what)

    def system(self) -> Any:
        """Return the library's file system, one per process: connections don't survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            # Listings must show what others write, and our own settings are for nobody else.
            system = fsspec.filesystem(
                self.scheme,
                use_listings_cache=False,
                skip_instance_cache=True,
                **_OPTIONS.get(self.scheme, {}),
            )
            if self.scheme == "s3":
                system.retries = 1
            self._opened = os.getpid(), system
        return self._opened[1]

    def path(self, url: str) -> str:
        """Return what the library calls a file."""
        return str(self.system()._strip_protocol(url))

    def find(self, url: str) -> dict[str, Mapping[str, Any]]:
        """List all files in a folder and below: the path of each below it, and what is known of it.

        There are none if there is no such folder.
        """
        root = self.path(url)

        def find() -> dict[str, Mapping[str, Any]]:
            return dict(self.system().find(root, detail=True))

        try:
            found = self.ask("list", url, find)
        except FileNotFoundError:
            return {}
        above = f"{root.strip('/')}/".lstrip("/")
        names = {name.strip("/"): info for name, info in found.items()}
        return {n.removeprefix(above): info for n, info in names.items() if n.startswith(above)}

    def info(self, url: str) -> Mapping[str, Any]:
        """Return what is known of a file: its ``size`` in bytes, and more by the library.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        info: Mapping[str, Any] = self.ask(
            "look at", url, lambda: self.system().info(self.path(url))
        )
        if info["type"] != "file":
            raise _absent(url)
        return info

    def read(self, url: str, at: int, n: int) -> bytes:
        """Return `n` bytes of a file at `at`; fewer if the file ends before.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        return self.ask("read", url, lambda: self._read(url, at, n)) if n else b""

    def _read(self, url: str, at: int, n: int) -> bytes:
        system, path = self.system(), self.path(url)
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

    def ask(self, verb: str, url: str, request: Callable[[], T]) -> T:
        """Make a request, again if need be; `FileNotFoundError` is an answer.

        Parameters
        ----------
        verb, url : str
            What is done with which file, for messages.
        request : callable
            Does it.

        Raises
        ------
        RemoteError
            If there is no answer, or a refusal.
        """
        waits = WAITS if self._failed < _PATIENCE else ()
        for wait in (*waits, None):
            try:
                answer = request()
            except FileNotFoundError as error:
                raise _absent(url) from error
            except Exception as error:  # each library has its own
                kind = type(error).__name__
                if kind in _NO_CREDENTIALS:
                    self._fail(verb, url, error, "no credentials were found")
                if wait is None or isinstance(error, _FINAL):
                    self._fail(verb, url, error, _told(error))
                logger.info("could not %s %s (%s); again in %s s", verb, url, kind, wait)
                time.sleep(wait)
            else:
                self._failed = 0
                return answer
        raise AssertionError  # the last attempt returned or raised

    def _fail(self, verb: str, url: str, error: Exception, reason: str) -> NoReturn:
        self._failed += 1
        is_refusal = isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS
        if is_refusal:
            self._opened = None  # other credentials may be there when it is asked again
        advice = (
            "check its credentials and what they allow"
            if is_refusal
            else "check that it can be reached"
        )
        raise RemoteError(f"could not {verb} {url}: {reason}; {advice}") from error


def is_url(path: object) -> TypeGuard[str]:
    """Whether a thing is a text that is a URL; a `Path` never is.

    Examples
    --------
    >>> is_url("s3://bucket/features"), is_url("features"), is_url("C:/features")
    (True, False, False)
    """
    return isinstance(path, str) and "://" in path


def scheme_of(url: str) -> str:
    """Kind of a URL, in small letters: ``"s3"``.

    Examples
    --------
    >>> scheme_of("S3://bucket/features")
    's3'
    """
    return url.partition("://")[0].lower()


def path_of_url(url: str, what: str) -> Path:
    """Path that a ``file://`` URL names.

    Parameters
    ----------
    url : str
        Of a file or folder of this machine.
    what : str
        What is there, for messages.

    Raises
    ------
    ValueError
        If it names another machine, or no absolute path.
    """
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError(
            f"{what} {url!r} names no folder of this machine; give file:///PATH, with three slashes"
        )
    return Path(url2pathname(parts.path))


def check_url(url: str, what: str) -> None:
    """Refuse what a URL must not hold, without repeating it.

    Parameters
    ----------
    url : str
        Of one of `LIBRARIES`.
    what : str
        What is there, for messages.

    Raises
    ------
    ValueError
        If it holds credentials, a query or several URLs, or names no bucket.
    """
    scheme, netloc, path, query, fragment = urlsplit(url)
    # Of Azure, the container stands before the account.
    is_account = scheme in ("az", "abfs") and ":" not in netloc
    if ("@" in netloc and not is_account) or query or fragment:
        raise ValueError(
            f"the URL of the {what}, {scheme}://…, holds more than a bucket and a prefix; "
            "credentials and endpoints belong in the environment or in the library's own files"
        )
    if scheme != "memory" and not netloc:
        raise ValueError(f"{what} {url!r} names no bucket; give {scheme}://BUCKET/PREFIX")
    if "::" in url or ".." in path.split("/"):
        raise ValueError(f"{what} {url!r} isn't a plain URL; give {scheme}://BUCKET/PREFIX")


def tag_and_date(info: Mapping[str, Any]) -> tuple[Any, str]:
    """Return a file's ETag, or what this kind of place has instead, and the date of its writing."""
    tag = next((info[key] for key in ("ETag", "etag", "generation") if info.get(key)), None)
    dates = ("LastModified", "last_modified", "updated", "created")
    date = next((info[key] for key in dates if info.get(key)), "")
    # A listing may have as a number what is a date by itself.
    return tag, str(date.timestamp() if isinstance(date, datetime) else date)


def _absent(url: str) -> FileNotFoundError:
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)


def _told(error: Exception) -> str:
    """What an error says, in a line and without secrets."""
    text = " ".join(str(error).split())[:200]
    for name in _SECRET_NAMES:
        if value := os.environ.get(name):
            text = text.replace(value, "…")
    text = _SECRETS.sub("…", text)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
