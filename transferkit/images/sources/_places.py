"""Files and folders that a source is given: paths, URLs of object storage, and braces in either."""

import functools
import itertools
import os
import re
from pathlib import Path
from typing import Any, TypeGuard

from transferkit.images.blobs import Blob, FileBlob, ObjectBlob, WholeBlob
from transferkit.images.sources.folder import EXTENSIONS
from transferkit.remote import LIBRARIES, RemoteFiles, check_url, is_url, scheme_of

__all__ = [
    "FILE_SUFFIXES",
    "blobs_of",
    "expanded",
    "files_at",
    "has_braces",
    "is_file",
    "is_remote",
    "name_of",
    "remote_image",
    "suffix_of",
]

FILE_SUFFIXES = frozenset((*EXTENSIONS, ".csv", ".parquet", ".tar"))
"""Endings by which a URL is known to be a file's: to ask what is there would be a request."""

MOST_FILES = 1_000_000
"""Most files that braces may mean."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def is_remote(given: Any) -> TypeGuard[str]:
    """Whether a thing is a URL of a known kind of object storage."""
    return is_url(given) and scheme_of(given) in LIBRARIES


def suffix_of(given: str | os.PathLike[str]) -> str:
    """Ending of a path or URL, in small letters; none if it ends in a slash."""
    return os.path.splitext(os.fspath(given))[1].lower()  # noqa: PTH122 (a URL is no path)


def name_of(place: str | Path) -> str:
    """Name of a file without the folders above it."""
    return str(place).replace("\\", "/").rstrip("/").rpartition("/")[2]


def is_file(given: Any, suffix: str) -> bool:
    """Whether a thing names files of this ending: a path, a URL, or braces that mean several."""
    if not isinstance(given, str | os.PathLike) or suffix_of(given) != suffix:
        return False
    if is_remote(given):
        return True
    path = Path(given)
    return (path.exists() and not path.is_dir()) or has_braces(given)


def has_braces(given: str | os.PathLike[str]) -> bool:
    """Whether a text means several files by braces, and isn't the name of one."""
    return isinstance(given, str) and bool(_BRACES.search(given)) and not Path(given).exists()


@functools.cache
def _files(scheme: str) -> RemoteFiles:
    return RemoteFiles(scheme, "images")


def files_at(url: str) -> RemoteFiles:
    """Return what asks for files at such a URL, which all images of this process share.

    Raises
    ------
    ValueError
        If the URL holds more than a place, or its library isn't installed.
    """
    check_url(url, "images")
    return _files(scheme_of(url))


def remote_image(url: str) -> WholeBlob:
    """Image of a URL, which isn't asked for yet."""
    return WholeBlob(ObjectBlob(files_at(url), url))


def expanded(text: str) -> list[str]:
    """Return what braces mean, as a shell has them.

    Parameters
    ----------
    text : str
        With numbers from one to another, or texts with commas between.

    Raises
    ------
    ValueError
        If that is more than `MOST_FILES`.

    Examples
    --------
    >>> expanded("train-{08..10}.tar")
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    >>> expanded("{train,val}-{0..1}.tar")
    ['train-0.tar', 'train-1.tar', 'val-0.tar', 'val-1.tar']
    """
    parts = _BRACES.split(text)
    n = 1
    choices: list[list[str]] = []
    for i, part in enumerate(parts):
        within = _RANGE.fullmatch(part) if i % 2 else None
        if within is not None:
            first, last = within[1], within[2]
            n *= max(0, int(last) - int(first) + 1)
            _check_number(text, n)
            choices.append([f"{k:0{len(first)}}" for k in range(int(first), int(last) + 1)])
        else:
            choices.append(part.split(",") if i % 2 else [part])
            n *= len(choices[-1])
            _check_number(text, n)
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _check_number(text: str, n: int) -> None:
    if not 0 < n <= MOST_FILES:
        raise ValueError(
            f"{text!r} means {n:,} files; give from 1 to {MOST_FILES:,}, the smaller number first"
        )


def blobs_of(given: str | os.PathLike[str]) -> list[Blob]:
    """Return the files that a path, a URL, or one with braces names.

    Raises
    ------
    OSError, ValueError
        If one of them isn't there, where that is known at once.
    """
    if is_remote(given):
        url = str(given)
        return [ObjectBlob(files_at(url), one) for one in expanded(url)]
    if isinstance(given, str) and has_braces(given):
        return [FileBlob(path) for path in expanded(given)]
    return [FileBlob(Path(given))]
