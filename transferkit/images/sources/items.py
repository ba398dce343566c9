"""Images and paths that are given one by one: a list, an array, a Series."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.imageset import ImageSet, Item

__all__ = ["list_array", "list_items"]


def list_array(array: np.ndarray) -> ImageSet:
    """List the images of one array of pixels."""
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
    return list_items(list(array))


def list_items(source: Any) -> ImageSet:
    """List the images of an iterable of paths, PIL images or arrays."""
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
