"""List images with their names, labels and splits."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.images.exclusions import split_exclusions, without_names, without_patterns
from transferkit.images.imageset import ImageSet
from transferkit.images.items import ImageBag, Item, file_of
from transferkit.images.labels import clean_label, warn_of_lookalikes
from transferkit.images.paths import in_either_form
from transferkit.images.sources import ListingOptions, bucket, folder, source_of, table
from transferkit.images.sources._places import is_remote, remote_image
from transferkit.images.sources.folder import EXTENSIONS
from transferkit.images.split_lists import SplitLists, find_split_lists, with_split_lists
from transferkit.remote import is_url, path_of_url, scheme_of

__all__ = ["list_images"]


def list_images(
    source: Any,
    *,
    path_column: str = "path",
    label_column: str | Sequence[str] = "label",
    split_column: str = "split",
    group_column: str | None = None,
    root: str | Path | None = None,
    suffix: str = "",
    exclude: Sequence[str] = (),
    split_lists: SplitLists | None = None,
    annotated: bool = False,
) -> ImageSet:
    """List images with their labels and splits.

    A folder's images are sorted bytewise by their path below it, in POSIX form. The label is
    the first folder below it; if its folders are called ``train``, ``val``, ``test``, or as
    people usually call these (``Training``, ``valid``, ``test_set``), they are splits and the
    label is the next folder. Names that begin with a dot are left out. A table keeps its
    order; its paths are relative to its own folder. Whether the files of a table or list exist
    shows when they are read. Labels come without blanks around them, in Unicode's form NFC.

    Parameters
    ----------
    source : str, Path, sequence, ndarray, DataFrame, data set or ImageSet
        - A folder, a ``.csv`` (with a header) or ``.parquet`` file, an image file.
        - ``.tar`` files as WebDataset has them, ``.parquet`` files with the images' bytes: one,
          several by braces (``"train-{0000..0127}.tar"``), or a folder of them.
        - The URL of any of these: ``s3://``, ``gs://``, ``az://``, ``memory://``, ``file://``.
        - One image, or a list, array, Series or generator of them: paths, URLs, files' bytes,
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
    root : path, optional
        Folder, or its URL, that the paths of a table or list are relative to; by default a
        table's own, or the working directory.
    suffix : str, default=""
        Put behind paths of a table or list that don't end as images do, such as ``".jpg"``.
    exclude : sequence of str, default=()
        Patterns of files and folders to leave out, such as ``"*_augmented"`` or
        ``"train/old/*"``: compared with each part of the path below the folder (or as the
        table has it), or with a slash, with the path from its beginning. One that ends in
        ``.txt`` is a file that lists images by name, as ``transferkit inspect`` writes it.

    Returns
    -------
    ImageSet
        At least one image.

    Raises
    ------
    ValueError
        If there are no images, or a table, an array or a file of images is not what it should
        be.
    RemoteError
        If object storage doesn't answer, or refuses.
    FileNotFoundError
        If the path doesn't exist.
    TypeError
        If the source is of another kind.

    See Also
    --------
    ImageSet : The list that this returns.
    FeatureExtractor : Extracts features of the images.
    """
    if isinstance(source, np.ndarray) and source.ndim == 0 and source.dtype.kind in "OUS":
        source = source.item()
    if is_url(source) and scheme_of(source) == "file":
        source = path_of_url(source, "images")
    if isinstance(source, ImageSet):
        _check_groups(group_column, has_groups=False)
        return source if split_lists is None else with_split_lists(source, split_lists)
    kind = source_of(source)
    _check_groups(group_column, has_groups=getattr(kind, "HAS_GROUPS", False))
    exclude, lists = split_exclusions([exclude] if isinstance(exclude, str) else list(exclude))
    options = ListingOptions(
        path_column, label_column, split_column, group_column, exclude, annotated
    )
    images = kind.listed(source, options)
    # Paths of a folder are where they are, and it has left out what it should.
    if kind not in (folder, bucket):
        is_path = isinstance(source, str | os.PathLike)
        if root is not None or suffix:
            images = _placed(images, root, suffix, Path(source).parent if is_path else Path())
        images = without_patterns(images, exclude)
    images = without_names(images, lists)
    return _with_splits(_with_clean_labels(images), source, split_lists, annotated)


def _with_splits(
    images: ImageSet, source: Any, lists: SplitLists | None, annotated: bool
) -> ImageSet:
    """Give images the splits of the lists that are given, or are found beside annotations."""
    if lists is not None:
        return with_split_lists(images, lists)
    if not annotated or images.splits is not None or not folder.accepts(source):
        return images
    found = find_split_lists(Path(source))
    return images if found is None else with_split_lists(images, found, is_found=True)


def _check_groups(column: str | None, *, has_groups: bool) -> None:
    if column is not None and not has_groups:
        raise ValueError(
            f"group column {column!r} is a column of a table, and the images are none; give "
            f"{table.PATHS}, or in Python an ImageSet with groups"
        )


def _placed(images: ImageSet, root: str | Path | None, suffix: str, beside: Path) -> ImageSet:
    """Complete paths that are relative to another folder, or lack their suffix."""
    base = beside if root is None else Path(root).expanduser()
    is_far = is_remote(root)
    if not (is_far or base.is_dir()):
        raise FileNotFoundError(f"root {str(root)!r} is no folder; give where the paths begin")
    dot = "" if suffix.startswith(".") or not suffix else "."

    def placed(item: Item, name: str) -> Item:
        if isinstance(item, ImageBag):
            inner = map(placed, item.items, item.names)
            return replace(item, items=tuple(inner))
        if file_of(item) is None:
            return item
        lacks = suffix and not name.lower().endswith(EXTENSIONS)
        whole = f"{name}{dot}{suffix}" if lacks else name
        if is_far:
            return remote_image(f"{str(root).rstrip('/')}/{whole}")
        return in_either_form(base / whole)

    return replace(images, items=tuple(map(placed, images.items, images.names)))


def _with_clean_labels(images: ImageSet) -> ImageSet:
    """Clean the labels of images, so that labels that look the same are the same."""
    if images.labels is None:
        return images
    labels = tuple(
        tuple(None if one is None else clean_label(one) for one in label)
        if isinstance(label, tuple)
        else (None if label is None else clean_label(label))
        for label in images.labels
    )
    warn_of_lookalikes(label for label in labels if isinstance(label, str))
    return replace(images, labels=labels)
