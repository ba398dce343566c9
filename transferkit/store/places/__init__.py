"""Places that a store can be in: a folder of this machine, or a prefix of an object store.

All of the store goes through one `StorePlace`, which asks little: list a folder, tell a file's size
and stamp, read a part of it, write it whole or not at all, remove it. The files that hold shards
are the same everywhere, so a store may be copied from one place to another by any means.
"""

import re
from pathlib import Path

from transferkit.remote import is_url, path_of_url, scheme_of
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
        scheme = scheme_of(str(path))
        if scheme == "file":
            # A plain write isn't whole or nothing; that of the local place is.
            return LocalPlace(path_of_url(str(path), "store"))
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
