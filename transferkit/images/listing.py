"""Which images there are, with their names, labels and splits."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.table import SPLIT_OF, SPLITS, TABLE_SUFFIXES, read_table

__all__ = ["EXTENSIONS", "Failure", "ImageSet", "UnreadableImages", "list_images"]

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif"),
    *(".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"),
)
"""Extensions of the files that a folder's listing takes, in any case."""

_SHOWN_FAILURES = 20
# What file managers leave behind.
_NO_FILES = ("thumbs.db", "desktop.ini")

logger = logging.getLogger(__name__)

Item = Path | Image.Image | np.ndarray
Label = str | None | tuple[str | None, ...]


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images with their names and, where known, labels and splits.

    Parameters
    ----------
    items : tuple of Path, PIL.Image.Image or ndarray
        Where the images are, or the images themselves.
    names : tuple of str
        What messages and results call them.
    labels : tuple of str, None or tuple; optional
        As the user wrote them, None for an image without; with several label columns one
        tuple per image. None if no image has one.
    splits : tuple of str or None; optional
        ``"train"``, ``"val"``, ``"test"``, or None for an image in none of them. None if
        there are no splits.
    label_names : tuple of str, optional
        Names of the label columns of a CSV, in the order of a label's tuple.
    """

    items: tuple[Item, ...]
    names: tuple[str, ...]
    labels: tuple[Label, ...] | None = None
    splits: tuple[str | None, ...] | None = None
    label_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for what in ("names", "labels", "splits"):
            values = getattr(self, what)
            if values is not None and len(values) != len(self.items):
                raise ValueError(
                    f"{len(self.items)} items, but {len(values)} {what}; give one of each per image"
                )

    def __len__(self) -> int:
        return len(self.items)

    def __repr__(self) -> str:
        parts = [f"{len(self):,} images"]
        if self.labels is not None:
            n_classes = len({label for label in self.labels if label is not None})
            parts.append(f"{n_classes:,} different labels")
        counts = Counter(self.splits or ())
        parts += [f"{counts[name]:,} {name}" for name in self.split_names]
        return f"<ImageSet: {', '.join(parts)}>"

    @property
    def split_names(self) -> tuple[str, ...]:
        """Splits that have images, in the order of `SPLITS`."""
        return tuple(name for name in SPLITS if name in (self.splits or ()))

    def select(self, indices: Iterable[int]) -> "ImageSet":
        """Return the images at these positions, in this order."""
        chosen = [int(i) for i in indices]
        return ImageSet(
            tuple(self.items[i] for i in chosen),
            tuple(self.names[i] for i in chosen),
            None if self.labels is None else tuple(self.labels[i] for i in chosen),
            None if self.splits is None else tuple(self.splits[i] for i in chosen),
            self.label_names,
        )

    def split(self, name: str) -> "ImageSet":
        """Return the images of one split, in their order.

        Parameters
        ----------
        name : str
            ``"train"``, ``"val"`` (or ``"valid"``, ``"validation"``) or ``"test"``.

        Raises
        ------
        ValueError
            If no image is in it.
        """
        wanted = SPLIT_OF.get(str(name).lower())
        if wanted is None or wanted not in self.split_names:
            present = ", ".join(self.split_names) or "none"
            raise ValueError(
                f"no images in split {name!r}; splits here: {present} (they come from folders "
                f"named {', '.join(SPLITS)} or from a CSV's split column)"
            )
        return self.select(i for i, s in enumerate(self.splits or ()) if s == wanted)


@dataclass(frozen=True)
class Failure:
    """An image that could not be read: its position, name and the reason."""

    index: int
    name: str
    reason: str


class UnreadableImages(ValueError):
    """Images that could not be read.

    Parameters
    ----------
    failures : sequence of Failure
        Every one of them; the message shows at most 20.
    n_images : int
        Of how many.
    """

    def __init__(self, failures: Sequence[Failure], n_images: int) -> None:
        # Both in `args`, so that the error survives pickling (joblib's workers).
        super().__init__(failures, n_images)
        self.failures = list(failures)
        self.n_images = n_images

    def __str__(self) -> str:
        shown = "; ".join(f"{f.name} ({f.reason})" for f in self.failures[:_SHOWN_FAILURES])
        if (more := len(self.failures) - _SHOWN_FAILURES) > 0:
            shown += f"; … and {more:,} more (all in .failures)"
        return f"{len(self.failures):,} of {self.n_images:,} images could not be read: {shown}"


def list_images(
    source: Any,
    *,
    path_column: str = "path",
    label_column: str | Sequence[str] = "label",
    split_column: str = "split",
) -> ImageSet:
    """List images with their labels and splits.

    A folder's images are sorted bytewise by their path below it, in POSIX form. The label is
    the first folder below it; if its folders are ``train``, ``val`` (or ``valid``,
    ``validation``), ``test``, they are splits and the label is the next folder. Names that
    begin with a dot are left out. A table keeps its order; its paths are relative to its own
    folder. Whether the files of a table or list exist shows when they are read.

    Parameters
    ----------
    source : str, Path, sequence, ndarray or ImageSet
        A folder, a ``.csv`` (with a header) or ``.parquet`` file, an image file; a list, array
        or Series of paths, PIL images or uint8 arrays (H, W, 3); a PIL image; a uint8 array
        (n, H, W, 3), (n, H, W, 1) or (n, H, W). An ImageSet is returned as it is.
    path_column, split_column : str
        Columns of the table. The split column may be missing if it is called ``"split"``.
    label_column : str or sequence of str, default="label"
        Column of the labels, or several for multi-label data. It may be missing if it is
        called ``"label"``.

    Returns
    -------
    ImageSet
        At least one image.

    Raises
    ------
    ValueError
        If there are no images, or a table or an array is not what it should be.
    FileNotFoundError
        If the path doesn't exist.
    TypeError
        If the source is of another kind.
    """
    if isinstance(source, ImageSet):
        return source
    if isinstance(source, Image.Image):
        return _from_items([source])
    if isinstance(source, np.ndarray) and source.dtype.kind not in "OUS":
        return _from_items(_split_array(source))
    if not isinstance(source, str | os.PathLike):
        return _from_items(source)

    path = Path(source)
    if path.is_dir():
        return _from_folder(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{str(source)!r} doesn't exist; give a folder of images, a .csv or .parquet file "
            "or an image"
        )
    if path.suffix.lower() in TABLE_SUFFIXES:
        return _from_table(path, path_column, label_column, split_column)
    if path.suffix.lower() in EXTENSIONS:
        return ImageSet((path,), (path.name,))
    raise ValueError(
        f"{str(source)!r} is neither a folder nor a .csv or .parquet file nor an image "
        f"({', '.join(EXTENSIONS)})"
    )


def _from_folder(root: Path) -> ImageSet:
    found, others = _walk(root)
    if others:
        kinds = ", ".join(f"{kind or 'no suffix'} {n:,}" for kind, n in others.most_common(5))
        logger.warning(
            "%s files below %s are no images by their names and were left out (%s)",
            f"{others.total():,}",
            root,
            kinds,
        )
    names = sorted(found, key=os.fsencode)
    if not names:
        raise ValueError(
            f"no images in {str(root)!r} or below; files that end in "
            f"{', '.join(EXTENSIONS)} are looked for"
        )
    parts = [name.split("/") for name in names]
    items = tuple(root / name for name in names)
    folders = {p[0].lower() for p in parts if len(p) > 1}
    splits = None
    odd = sorted({p[0] for p in parts if len(p) > 1 and p[0].lower() not in SPLIT_OF})
    if odd and len({SPLIT_OF[f] for f in folders if f in SPLIT_OF}) > 1:
        raise ValueError(
            f"{str(root)!r} holds split folders and {odd[0]!r}, which is none; name it one of "
            f"{', '.join(SPLIT_OF)}, or move it away"
        )
    if folders <= SPLIT_OF.keys() and ("train" in folders or len(folders) > 1):
        splits = tuple(SPLIT_OF[p[0].lower()] if len(p) > 1 else None for p in parts)
        parts = [p[1:] if len(p) > 1 else p for p in parts]
    labels = tuple(p[0] if len(p) > 1 else None for p in parts)
    return ImageSet(items, tuple(names), labels if any(labels) else None, splits)


def _walk(root: Path) -> tuple[list[str], Counter[str]]:
    """Paths of the images below a folder, relative to it, in POSIX form; suffixes of the rest.

    Links are followed, but not to a folder that they stand in. No file is asked for its
    status: `os.scandir` knows what is a folder.
    """
    found: list[str] = []
    others: Counter[str] = Counter()
    folders: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(root), "", frozenset())]
    while folders:
        folder, prefix, above = folders.pop()
        status = os.stat(folder)  # noqa: PTH116
        here = (status.st_dev, status.st_ino)
        if here in above:
            continue
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append((entry.path, f"{prefix}{entry.name}/", above | {here}))
                    continue
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                if suffix in EXTENSIONS:
                    found.append(prefix + entry.name)
                elif entry.name.lower() not in _NO_FILES:
                    others[suffix] += 1
    return found, others


def _from_table(
    path: Path, path_column: str, label_column: str | Sequence[str], split_column: str
) -> ImageSet:
    is_single = isinstance(label_column, str)
    columns = (label_column,) if isinstance(label_column, str) else tuple(label_column)
    table = read_table(path, path_column, columns, split_column)
    labels: tuple[Label, ...] | None = table.labels
    if is_single and table.labels is not None:
        labels = tuple(row[0] for row in table.labels)
    items = tuple(path.parent / p for p in table.paths)
    label_names = None if table.labels is None else columns
    return ImageSet(items, table.paths, labels, table.splits, label_names)


def _split_array(array: np.ndarray) -> list[np.ndarray]:
    allowed = "give (n, H, W, 3), (n, H, W, 1) or (n, H, W)"
    if array.dtype != np.uint8:
        raise ValueError(f"array of dtype {array.dtype}; give uint8 pixels from 0 to 255")
    if array.ndim == 3 and array.shape[2] == 3:
        # Taken as (n, H, W), one colour image would become many grey ones, three pixels wide.
        raise ValueError(
            f"array of shape {array.shape} looks like one colour image; give array[np.newaxis]"
        )
    if not (array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))):
        raise ValueError(f"array of shape {array.shape}; {allowed}")
    return list(array)


def _from_items(source: Any) -> ImageSet:
    allowed = "paths, PIL images or uint8 arrays (H, W, 3)"
    if (
        not isinstance(source, Iterable)
        or isinstance(source, bytes | dict | set)
        or (
            hasattr(source, "columns")  # a DataFrame iterates over its columns' names
        )
    ):
        raise TypeError(
            f"images given as {type(source).__name__}; give a folder, a .csv or .parquet file, an "
            f"array or a list of {allowed}"
        )
    items: list[Item] = []
    names: list[str] = []
    for i, item in enumerate(source):
        if isinstance(item, str | os.PathLike):
            items.append(Path(item))
            names.append(str(item))
        elif isinstance(item, Image.Image | np.ndarray):
            items.append(item)
            names.append(f"image {i}")
        else:
            raise TypeError(f"image {i} is a {type(item).__name__}; give {allowed}")
    if not items:
        raise ValueError("no images: the list is empty")
    return ImageSet(tuple(items), tuple(names))
