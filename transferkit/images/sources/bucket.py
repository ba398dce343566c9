"""A folder of images in object storage, listed as a folder of this machine is."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.images.blobs import ObjectBlob, WholeBlob
from transferkit.images.imageset import ImageSet
from transferkit.images.paths import is_excluded
from transferkit.images.sources import folder as local
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources._places import FILE_SUFFIXES, files_at, is_remote, suffix_of
from transferkit.images.sources.folder import Walk, leave_arrays_out, listed_walk
from transferkit.remote import RemoteError, scheme_of

__all__ = ["accepts", "example", "listed"]


def accepts(given: Any) -> bool:
    """Whether a thing is a URL that doesn't end as a file's does."""
    return is_remote(given) and suffix_of(given) not in FILE_SUFFIXES


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the images of a folder, sorted bytewise by their path below it.

    One listing tells everything: no image is asked for.
    """
    root = f"{scheme_of(given)}://{given.partition('://')[2].rstrip('/')}"
    files = files_at(given)
    try:
        found = files.find(root)
    except RemoteError as error:
        raise RemoteError(f"{error}, and run it again") from error
    if not found:
        raise FileNotFoundError(f"nothing is in {root!r}; give the URL of a folder of images")
    walk = _walked(found, options.exclude)

    def blob(name: str) -> ObjectBlob:
        return ObjectBlob(files, f"{root}/{name}", found[name])

    return listed_walk(root, walk, options, lambda name: WholeBlob(blob(name)), blob)


def _walked(names: Iterable[str], exclude: Sequence[str]) -> Walk:
    """What the walk through such a folder would find: there are no folders but in names."""
    walk = Walk()
    left_out: set[str] = set()
    folders: set[str] = set()
    for name in names:
        parts = name.split("/")
        for i, part in enumerate(parts):
            path = "/".join(parts[: i + 1])
            if part.startswith("."):
                break
            if exclude and is_excluded(path, exclude):
                left_out.add(path)
                break
            if path != name:
                folders.add(path)
        else:
            walk.take(name)
    # An object of a folder's own name stands for the folder.
    walk.others = [name for name in walk.others if name not in folders]
    leave_arrays_out(walk)
    walk.n_excluded = len(left_out)
    walk.folders = sorted(folders)
    return walk


def example(folder: Path, pictures: Sequence[np.ndarray]) -> str:
    """Pictures in the memory of this process, each in the folder of its class."""
    import fsspec

    local.example(folder, pictures)
    url = f"memory://{folder.as_posix().strip('/')}"
    fsspec.filesystem("memory").put(str(folder), url, recursive=True)
    return url
