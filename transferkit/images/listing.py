"""Which images there are, with their names, labels and splits."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.images.imageset import ImageSet
from transferkit.images.sources.datasets import is_dataset, list_dataset
from transferkit.images.sources.folder import EXTENSIONS, list_folder
from transferkit.images.sources.frame import is_frame, list_frame
from transferkit.images.sources.items import is_single, list_array, list_items
from transferkit.images.sources.table import TABLE_SUFFIXES, list_table

__all__ = ["list_images"]


def list_images(
    source: Any,
    *,
    path_column: str = "path",
    label_column: str | Sequence[str] = "label",
    split_column: str = "split",
    group_column: str | None = None,
) -> ImageSet:
    """List images with their labels and splits.

    A folder's images are sorted bytewise by their path below it, in POSIX form. The label is
    the first folder below it; if its folders are ``train``, ``val`` (or ``valid``,
    ``validation``), ``test``, they are splits and the label is the next folder. Names that
    begin with a dot are left out. A table keeps its order; its paths are relative to its own
    folder. Whether the files of a table or list exist shows when they are read.

    Parameters
    ----------
    source : str, Path, sequence, ndarray, DataFrame, data set or ImageSet
        - A folder, a ``.csv`` (with a header) or ``.parquet`` file, an image file.
        - One image, or a list, array, Series or generator of them: paths, files' bytes,
          open binary files, dictionaries ``{"bytes": …, "path": …}``, PIL images, uint8
          arrays (H, W, 3). A list in a list, or a row of a 2-D array of paths, is an item of
          several images: the rooms of a house, the slices of a scan.
        - A uint8 array (n, H, W, 3), (n, H, W, 1) or (n, H, W).
        - A DataFrame with the columns of a table.
        - A map-style data set of PyTorch or torchvision, of pairs (image, label); a Hugging
          Face data set with the columns ``image`` and ``label``, or several by split.
        - An ImageSet, which is returned as it is.
    path_column, split_column : str
        Columns of the table. The split column may be missing if it is called ``"split"``.
    label_column : str or sequence of str, default="label"
        Column of the labels, or several for multi-label data. It may be missing if it is
        called ``"label"``.
    group_column : str, optional
        Column of the table that says which images belong together, such as a patient's.

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
    is_table = isinstance(source, str | os.PathLike) and (
        Path(source).suffix.lower() in TABLE_SUFFIXES and not Path(source).is_dir()
    )
    if group_column is not None and not is_table:
        raise ValueError(
            f"group column {group_column!r} is a column of a table, and the images are none; give "
            f"a .csv or .parquet file, or in Python an ImageSet with groups"
        )
    if isinstance(source, ImageSet):
        return source
    if is_single(source):
        return list_items([source])
    if is_frame(source):
        return list_frame(source, path_column, label_column, split_column)
    if is_dataset(source):
        return list_dataset(source, label_column)
    if isinstance(source, np.ndarray) and source.ndim == 0 and source.dtype.kind in "OUS":
        source = source.item()
    if isinstance(source, np.ndarray):
        return list_array(source)
    if not isinstance(source, str | os.PathLike):
        return list_items(source)

    path = Path(source)
    if path.is_dir():
        return list_folder(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{str(source)!r} doesn't exist; give a folder of images, a .csv or .parquet file "
            "or an image"
        )
    if path.suffix.lower() in TABLE_SUFFIXES:
        return list_table(path, path_column, label_column, split_column, group_column)
    if path.suffix.lower() in EXTENSIONS:
        return ImageSet((path,), (path.name,))
    raise ValueError(
        f"{str(source)!r} is neither a folder nor a .csv or .parquet file nor an image "
        f"({', '.join(EXTENSIONS)})"
    )
