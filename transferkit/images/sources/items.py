"""Images that are given one by one: a list, an array, a Series, a single image."""

import numbers
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.imageset import ImageSet
from transferkit.images.items import ImageBag, Item
from transferkit.images.paths import in_either_form
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources._places import is_remote, remote_image

__all__ = ["accepts", "example", "is_missing", "item_of", "list_items", "listed"]

_ALLOWED = "paths, files' bytes, open files, PIL images or uint8 arrays (H, W, 3)"
_BYTES = (bytes, bytearray, memoryview)


def accepts(given: Any) -> bool:
    """Whether a thing is an image, or a list or array of images. Other iterables come last."""
    return _is_single(given) or isinstance(given, list | tuple | np.ndarray)


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List images in the order in which they are given."""
    if _is_single(given):
        return list_items([given])
    return _list_array(given) if isinstance(given, np.ndarray) else list_items(given)


def example(folder: Path, pictures: Sequence[np.ndarray]) -> list[Any]:
    """Pictures as pixels, files and files' bytes, in turn."""
    files = [folder / f"{i}.png" for i in range(len(pictures))]
    for file, pixels in zip(files, pictures, strict=True):
        Image.fromarray(pixels).save(file)
    return [
        (pixels, file, file.read_bytes(), Image.fromarray(pixels))[i % 4]
        for i, (file, pixels) in enumerate(zip(files, pictures, strict=True))
    ]


def _list_array(array: np.ndarray) -> ImageSet:
    """List the images of one array: of pixels, or of paths and the like.

    Of a 2-D array of paths each row is an item of several images, if it has more than one
    column.
    """
    if array.dtype.kind in "OUS" and array.ndim == 1:
        return list_items(array)
    if array.dtype.kind in "OUS" and array.ndim == 2 and array.shape[1]:
        return list_items(array[:, 0] if array.shape[1] == 1 else array.tolist())
    allowed = "give (n, H, W, 3), (n, H, W, 1) or (n, H, W)"
    if array.dtype != np.uint8:
        shape = f" and shape {array.shape}" if array.dtype.kind in "OUS" else ""
        raise ValueError(
            f"array of dtype {array.dtype}{shape}; give uint8 pixels from 0 to 255, or paths of "
            f"shape (n,), or (n, k) for k images of each item"
        )
    if array.ndim == 3 and array.shape[2] == 3:
        # Taken as (n, H, W), one colour image would become many grey ones, three pixels wide.
        raise ValueError(
            f"array of shape {array.shape} looks like one colour image; give array[np.newaxis]"
        )
    if not (array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))):
        raise ValueError(f"array of shape {array.shape}; {allowed}")
    return list_items(list(array))


def _is_single(source: Any) -> bool:
    """Whether a source is one image: encoded bytes, an open file, a PIL image, a dictionary."""
    return (
        isinstance(source, (*_BYTES, Image.Image))
        or (hasattr(source, "read") and not isinstance(source, os.PathLike))
        or _is_encoded(source)
    )


def list_items(source: Any) -> ImageSet:
    """List the images of an iterable. A list in it becomes an item of several images."""
    if hasattr(source, "to_pylist"):  # a column of pyarrow's
        source = source.to_pylist()
    if not isinstance(source, Iterable) or isinstance(source, dict | set | frozenset):
        raise TypeError(
            f"images given as {type(source).__name__}; give a folder, a .csv or .parquet file, a "
            f"data set, an array, a DataFrame or a list of {_ALLOWED}"
        )
    items: list[Item] = []
    names: list[str] = []
    for i, value in enumerate(source):
        item, name = _bag(value, i) if _is_bag(value) else item_of(value, f"image {i}")
        items.append(item)
        names.append(name)
    if not items:
        raise ValueError("no images: the list is empty")
    return ImageSet(tuple(items), tuple(names))


def item_of(value: Any, what: str) -> tuple[Item, str]:
    """Make an item of one value, with its name.

    Parameters
    ----------
    value
        A path, encoded bytes, an open binary file (which is read from its beginning), a
        dictionary of ``bytes`` and ``path`` as in Hugging Face's data sets, a PIL image or
        an array of pixels.
    what : str
        What messages call it, and its name if it has none of its own.

    Raises
    ------
    TypeError, ValueError
        If it is missing, or no image.
    """
    if is_missing(value):
        raise ValueError(f"{what} is missing ({value!r}); give its path, or leave it out")
    if isinstance(value, np.bytes_):  # of an array of bytes: NumPy cuts zeros off, so no image
        value = os.fsdecode(value)
    if isinstance(value, str | os.PathLike):
        if not str(value).strip():
            raise ValueError(f"{what} has an empty path; give its path, or leave it out")
        if is_remote(value):
            return remote_image(value), value
        return in_either_form(Path(value)), str(value)
    if isinstance(value, _BYTES):
        return bytes(value), what
    if isinstance(value, Image.Image) or (
        isinstance(value, np.ndarray) and value.dtype.kind not in "OUS"
    ):
        return value, what
    if _is_encoded(value):
        path = None if is_missing(value.get("path")) else value["path"]
        if is_missing(value.get("bytes")):
            return item_of(path, what)
        return item_of(value["bytes"], what if path is None else str(path))
    if hasattr(value, "read"):
        return _read(value, what)
    raise TypeError(f"{what} is a {type(value).__name__}; give {_ALLOWED}, and labels as y")


def is_missing(value: Any) -> bool:
    """Whether a value stands for a missing one: None, NaN, or pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and value != value  # NaN differs from itself


def _is_encoded(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and value.keys() <= {"bytes", "path"}


def _is_bag(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "OUS"
    return isinstance(value, list | tuple)


def _bag(values: Any, i: int) -> tuple[Item, str]:
    """Several images as one item; a single one is that image."""
    found = [item_of(value, f"image {j} of item {i}") for j, value in enumerate(values)]
    if not found:
        raise ValueError(f"item {i} has no images; give it one at least, or leave it out")
    if len(found) == 1:
        return found[0]
    items, names = zip(*found, strict=True)
    return ImageBag(items, names), " + ".join(names)


def _read(file: Any, what: str) -> tuple[bytes, str]:
    """Read the bytes of an open file, and its name."""
    try:
        if hasattr(file, "seekable") and file.seekable():
            file.seek(0)  # reading its first bytes has moved the position
        data = file.read()
    except UnicodeDecodeError as error:
        data = str(error)
    except (ValueError, OSError) as error:  # closed, or gone
        raise ValueError(f"{what} is a file that can't be read ({error}); open it anew") from error
    if not isinstance(data, bytes):
        raise TypeError(
            f"{what} is a {type(file).__name__} whose read() gives {type(data).__name__}; open the "
            f"file in binary mode, open(path, 'rb')"
        )
    name = getattr(file, "name", None)
    return data, name if isinstance(name, str) and name else what
