"""Places that a store can be in: a folder of this machine, or a prefix of an object store.

All of the store goes through one `StorePlace`, which asks little: list a folder, tell a file's size
and stamp, read a part of it, write it whole or not at all, remove it. The files that hold shards
are the same everywhere, so a store may be copied from one place to another by any means.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from transferkit.store.places.fsspec import LIBRARIES, ObjectPlace
from transferkit.store.places.local import LocalPlace
from transferkit.store.places.memory import MemoryPlace
from transferkit.store.places.place import PlaceError, Stamp, StoredFile, StorePlace

__all__ = [
    "LocalPlace",
    "MemoryPlace",
    "ObjectPlace",
    "PlaceError",
    "Stamp",
    "StorePlace",
    "StoredFile",
    "is_url",
    "open_place",
]

# What is left of a URL that was made a path.
_WAS_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:")


def is_url(path: str | Path) -> bool:
    """Whether a text is a URL; a `Path` never is.

    Examples
    --------
    >>> is_url("s3://bucket/features"), is_url("features"), is_url("C:/features")
    (True, False, False)
    """
    return isinstance(path, str) and "://" in path


def open_place(path: str | Path) -> StorePlace:
    """Return the place that a path or a URL names. Nothing is made there, and nobody is asked.

    Parameters
    ----------
    path : str or Path
        A folder; or a URL, as text: ``s3://``, ``gs://``, ``az://``, ``memory://`` or ``file://``.

    Raises
    ------
    ValueError
        If the URL is of another kind, or says more than a place.
    """
    if is_url(path):
        scheme = str(path).partition("://")[0].lower()
        if scheme == "file":
            # A plain write isn't whole or nothing; that of the local place is.
            return LocalPlace(_local_path(str(path)))
        if scheme not in LIBRARIES:
            raise ValueError(
                f"a store can't be at {scheme}://; give a folder, or a URL that begins with "
                f"{', '.join(f'{name}://' for name in LIBRARIES)} or file://"
            )
        return ObjectPlace(str(path))
    first = next(iter(Path(path).parts), "")
    if _WAS_URL.fullmatch(first) and len(first) > 2 and not Path(first).is_dir():
        raise ValueError(
            f"store {str(path)!r} looks like a URL that was made a path; give it as text, with "
            "two slashes after the colon"
        )
    return LocalPlace(Path(path).expanduser().absolute())


def _local_path(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError(
            f"store {url!r} names no folder of this machine; give file:///PATH, with three slashes"
        )
    return Path(url2pathname(parts.path))
