"""Data sets of other libraries: pairs of torchvision and PyTorch, and Hugging Face's tables.

They are recognised by their attributes, and no library is imported. No image is kept in memory:
files are listed by path, and all others are read from the data set whenever they are needed.
"""

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.images.imageset import ImageSet, Label
from transferkit.images.items import Content, Item, LazyImage, content_of
from transferkit.images.sources import frame
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources.items import item_of
from transferkit.images.splits import USUAL_NAMES, split_of

__all__ = ["accepts", "example", "listed"]

# Pairs run code of anybody's, which may hold a file that several threads can't share.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, eq=False)
class _Pair(LazyImage):
    """The image of a pair (image, label)."""

    dataset: Any
    index: int

    def read(self) -> Content:
        with _ONE_AT_A_TIME:
            return content_of(item_of(self.dataset[self.index][0], f"image {self.index}")[0])


@dataclass(frozen=True, eq=False)
class _Row(LazyImage):
    """The image of a row of a Hugging Face data set."""

    rows: Any
    column: str
    index: int

    def read(self) -> Content:
        value = self.rows[self.index][self.column]
        return content_of(item_of(value, f"image {self.index}")[0])


def accepts(given: Any) -> bool:
    """Whether a thing is a data set of another library, or a dictionary of such by split."""
    if frame.accepts(given):  # a column may be called as anything
        return False
    return _is_table(given) or _is_tables(given) or _is_pairs(given) or _is_stream(given)


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the images of a data set with its labels.

    It is a map-style data set of (image, label) pairs, a `Subset` of one, a Hugging Face data
    set with a column of images, or a dictionary of such by split. Classes are called by the
    names that the data set has for them, else by their numbers.

    Raises
    ------
    TypeError, ValueError
        If it is streamed, changes its images, or gives others than images and labels.
    """
    if _is_stream(given):
        raise TypeError(
            f"images given as {type(given).__name__}, which can only be run through; give a "
            f"data set whose images can be asked for by number (of a DataLoader its .dataset; of "
            f"Hugging Face's load it without streaming=True)"
        )
    if _is_tables(given):
        return _list_tables(given, options.label_column)
    if _is_table(given):
        return _list_table(given, options.label_column)
    if hasattr(given, "dataset") and hasattr(given, "indices"):  # a Subset
        return listed(given.dataset, options).select(given.indices)
    return _list_pairs(given)


class _Pictures:
    """The least that is taken for a data set of pairs: an image and its class by number."""

    def __init__(self, pictures: Sequence[np.ndarray]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        # As sequences do, so that a loop over it ends.
        return self.pictures[range(len(self))[index]], index % 2


def example(folder: Path, pictures: Sequence[np.ndarray]) -> Any:
    """A data set of pairs."""
    return _Pictures(pictures)


# ---- pairs: torch.utils.data, torchvision.datasets ----


def _is_pairs(source: Any) -> bool:
    # Such data sets have no __iter__, which all sequences have.
    is_map = hasattr(source, "__getitem__") and hasattr(source, "__len__")
    return is_map and not isinstance(source, Iterable)


def _is_stream(source: Any) -> bool:
    if hasattr(source, "dataset") and hasattr(source, "batch_size"):  # a DataLoader
        return True
    has_columns = hasattr(source, "features") and hasattr(source, "column_names")
    return has_columns and not hasattr(source, "__len__")


def _list_pairs(dataset: Any) -> ImageSet:
    _refuse_transform(dataset, getattr(dataset, "transform", None))
    joint = getattr(dataset, "transforms", None)
    _refuse_transform(dataset, getattr(joint, "transform", joint))
    if not len(dataset):
        raise ValueError(f"no images: the {type(dataset).__name__} is empty")
    files = _files(dataset)
    items: tuple[Item, ...] = tuple(_Pair(dataset, i) for i in range(len(dataset)))
    names = tuple(f"image {i}" for i in range(len(dataset)))
    if files is not None:
        items, names = tuple(map(Path, files)), tuple(map(str, files))
    else:
        item_of(_pair(dataset, 0)[0], "image 0 of the data set")  # or says what it is
    classes = getattr(dataset, "classes", None)
    changes_labels = getattr(dataset, "target_transform", None) is not None
    labels = getattr(dataset, "targets", None)
    if labels is None or changes_labels or len(labels) != len(dataset):
        labels = (_pair(dataset, i)[1] for i in range(len(dataset)))
    return ImageSet(items, names, _labels(labels, None if changes_labels else classes))


def _pair(dataset: Any, index: int) -> tuple[Any, Any]:
    pair = dataset[index]
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(
            f"the {type(dataset).__name__} gives a {type(pair).__name__} for image {index}; give a "
            f"data set of pairs (image, label)"
        )
    return pair[0], pair[1]


def _files(dataset: Any) -> list[Any] | None:
    """Paths of an ImageFolder's images; None if its pairs may be something else."""
    samples = getattr(dataset, "samples", None)
    is_folder = getattr(type(dataset).__getitem__, "__module__", "").startswith("torchvision.")
    if not is_folder or not isinstance(samples, list) or len(samples) != len(dataset):
        return None
    return [path for path, _ in samples]


def _refuse_transform(dataset: Any, transform: Any) -> None:
    if transform is not None:
        raise ValueError(
            f"the {type(dataset).__name__} has a transform, and images are prepared here, as the "
            f"backbone needs it; make the data set without transform"
        )


# ---- tables: Hugging Face's datasets ----


def _is_table(source: Any) -> bool:
    is_named = isinstance(getattr(source, "column_names", None), list)
    return is_named and hasattr(source, "features") and hasattr(source, "__len__")


def _is_tables(source: Any) -> bool:
    return isinstance(source, dict) and bool(source) and all(map(_is_table, source.values()))


def _list_tables(tables: Mapping[str, Any], label_column: str | Sequence[str]) -> ImageSet:
    """List data sets by split, one after the other."""
    unknown = [name for name in tables if split_of(str(name)) is None]
    if unknown:
        raise ValueError(
            f"the data sets are called {', '.join(tables)}, and {unknown[0]!r} is no split; name "
            f"them {USUAL_NAMES}, or give one of them"
        )
    parts = {str(name): _list_table(table, label_column) for name, table in tables.items()}
    chain = itertools.chain.from_iterable
    labels = tuple(chain(part.labels or [None] * len(part) for part in parts.values()))
    return ImageSet(
        tuple(chain(part.items for part in parts.values())),
        tuple(name for split, part in parts.items() for name in _in_split(part, split)),
        labels if any(label is not None for label in labels) else None,
        tuple(split_of(str(split)) for split, part in parts.items() for _ in part.names),
        next(iter(parts.values())).label_names,
    )


def _in_split(images: ImageSet, split: str) -> list[str]:
    """Name the images of a data set, which has them by number only."""
    pairs = zip(images.items, images.names, strict=True)
    return [f"{split} {name}" if isinstance(item, LazyImage) else name for item, name in pairs]


def _list_table(table: Any, label_column: str | Sequence[str]) -> ImageSet:
    if (getattr(table, "format", None) or {}).get("type") == "custom":
        _refuse_transform(table, "set_transform")
    if not len(table):
        raise ValueError("no images: the data set is empty")
    rows = table.with_format(None) if hasattr(table, "with_format") else table
    column = _image_column(table)
    feature = table.features.get(column)
    if getattr(feature, "decode", False):  # the bytes as they were stored, not their pixels
        rows = rows.cast_column(column, type(feature)(decode=False))
    items: tuple[Item, ...] = tuple(_Row(rows, column, i) for i in range(len(rows)))
    names = tuple(f"image {i}" for i in range(len(rows)))
    first = rows[0][column]
    if isinstance(first, dict) and first.get("bytes") is None:  # files, and no bytes beside them
        found = [item_of(row[column], f"image {i}") for i, row in enumerate(rows)]
        items, names = (tuple(parts) for parts in zip(*found, strict=True))
    else:
        item_of(first, f"image 0 (column {column!r})")  # or says what it is
    if label_column == "label" and "label" not in table.column_names:
        return ImageSet(items, names)
    columns = (label_column,) if isinstance(label_column, str) else tuple(label_column)
    labels = [_label_column(rows, name) for name in columns]
    if isinstance(label_column, str):
        return ImageSet(items, names, labels[0])
    return ImageSet(items, names, tuple(zip(*labels, strict=True)), None, columns)


def _image_column(table: Any) -> str:
    names: list[str] = table.column_names
    kinds = {name: type(feature).__name__ for name, feature in table.features.items()}
    images = [name for name in names if kinds.get(name) == "Image"]
    if "image" in names or len(images) == 1:
        return "image" if "image" in names else images[0]
    raise ValueError(
        f"a Hugging Face data set with the columns {', '.join(names)}; call the column of the "
        f"images 'image' (rename_column)"
    )


def _label_column(rows: Any, name: str) -> tuple[str | None, ...]:
    if name not in rows.column_names:
        raise ValueError(
            f"the Hugging Face data set has no column {name!r}; choose one of "
            f"{', '.join(rows.column_names)} (label_column)"
        )
    return _labels(rows[name], getattr(rows.features.get(name), "names", None))


def _labels(values: Iterable[Any], classes: Sequence[Any] | None) -> tuple[Any, ...]:
    """Labels as text, by the classes' names where these are known."""
    names = [", ".join(c) if isinstance(c, tuple | list) else str(c) for c in classes or ()]
    if len(set(names)) < len(names):  # two kinds of crane
        names = [f"{number} {name}" for number, name in enumerate(names)]
    labels: list[Label] = []
    for i, given in enumerate(values):
        # Of one number in an array or tensor the number.
        value = (
            given.item() if hasattr(given, "item") and not getattr(given, "shape", ()) else given
        )
        if value is None or (names and value == -1):  # a test part whose labels are secret
            labels.append(None)
        elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
            labels.append(names[value])
        elif isinstance(value, str | int | float):
            labels.append(str(value))
        else:
            raise ValueError(
                f"the label of image {i} is a {type(value).__name__}; give one class or number "
                f"per image"
            )
    return tuple(labels)
