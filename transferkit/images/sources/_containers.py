"""Files that hold many images each, tars and Parquet files, listed as one set."""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from transferkit.images.blobs import Blob
from transferkit.images.imageset import ImageSet, Label
from transferkit.images.items import Item
from transferkit.images.splits import USUAL_NAMES, split_of

__all__ = ["ContainerImages", "list_containers", "safe_name", "split_named"]

# Files whose headers are read at a time.
_AT_ONCE = 8


@dataclass(frozen=True)
class ContainerImages:
    """The images of one file.

    Parameters
    ----------
    items, names
        As of an `ImageSet`.
    labels : sequence of tuples of str or None; optional
        One entry per label column.
    splits : sequence of str or None; optional
        As in `SPLITS`.
    groups : sequence of str or None; optional
        As written.
    """

    items: Sequence[Item]
    names: Sequence[str]
    labels: Sequence[tuple[str | None, ...]] | None = None
    splits: Sequence[str | None] | None = None
    groups: Sequence[str | None] | None = None


def list_containers(
    blobs: Sequence[Blob],
    places: Sequence[str],
    read: Callable[[Blob, str], ContainerImages],
    label_column: str | Sequence[str],
) -> ImageSet:
    """List the images of several files, one file after the other.

    Splits are those that the files tell of their images, else those that their own names say.
    Names that stand more than once get their file's name before them.

    Parameters
    ----------
    blobs : sequence of Blob
        The files.
    places : sequence of str
        What each is called, below what was given.
    read : callable
        Lists the images of a file and its name.
    label_column : str or sequence of str
        One, or several for labels of several values.
    """
    if len(blobs) == 1:
        found = [read(blobs[0], places[0])]
    else:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(read, blobs, places))
    names = [name for one in found for name in one.names]
    if len(set(names)) < len(names):
        pairs = zip(places, found, strict=True)
        names = [f"{place}/{name}" for place, one in pairs for name in one.names]
    labels: tuple[Label, ...] | None = None
    if any(one.labels is not None for one in found):
        several = not isinstance(label_column, str)
        empty: tuple[None, ...] = (None,) * (len(label_column) if several else 1)
        rows = [row for one in found for row in (one.labels or [empty] * len(one.names))]
        labels = tuple(rows) if several else tuple(row[0] for row in rows)
    groups = None
    if any(one.groups is not None for one in found):
        groups = tuple(g for one in found for g in (one.groups or [None] * len(one.names)))
    return ImageSet(
        tuple(item for one in found for item in one.items),
        tuple(names),
        labels,
        _splits(found, places),
        None if labels is None else (*_columns(label_column),),
        groups,
    )


def _columns(label_column: str | Sequence[str]) -> Sequence[str]:
    return (label_column,) if isinstance(label_column, str) else label_column


def _splits(
    found: Sequence[ContainerImages], places: Sequence[str]
) -> tuple[str | None, ...] | None:
    if any(one.splits is not None for one in found):
        return tuple(s for one in found for s in (one.splits or [None] * len(one.names)))
    own = [split_of_file(place) for place in places]
    if None in own or not ("train" in own or len(set(own)) > 1):
        return None
    pairs = zip(own, found, strict=True)
    return tuple(split for split, one in pairs for _ in one.names)


def split_of_file(place: str) -> str | None:
    """Split that a file is of, by the folder above it, or its name without its number.

    Examples
    --------
    >>> [split_of_file(p) for p in ("train-0000.tar", "val/7.tar", "test-00000-of-00002.parquet")]
    ['train', 'val', 'test']
    >>> split_of_file("shard-0000.tar") is None
    True
    """
    *folders, file = place.split("/")
    stem = re.split(r"[-_.]?\d|\.", file, maxsplit=1)[0]
    return split_of(folders[0] if folders and split_of(folders[0]) else stem)


def safe_name(name: str) -> str | None:
    """Name of an image without what would lead elsewhere if it were a path; None if that is all.

    Results are written under images' names, and these come from whoever made the file.

    Examples
    --------
    >>> safe_name("./cat//1.jpg"), safe_name("/etc/1.jpg"), safe_name("cat/../../1.jpg")
    ('cat/1.jpg', 'etc/1.jpg', None)
    """
    if ".." in re.split(r"[/\\]", name) or "\0" in name:
        return None
    return "/".join(part for part in name.split("/") if part not in ("", ".")) or None


def split_named(text: str | None, where: str) -> str | None:
    """Split that a text stands for; None if there is none.

    Raises
    ------
    ValueError
        If it is no split's name.
    """
    if text is None or not text.strip():
        return None
    split = split_of(text)
    if split is None:
        raise ValueError(
            f"{where!r}: unknown split {text!r}; choose one of {USUAL_NAMES}, or leave it empty"
        )
    return split
