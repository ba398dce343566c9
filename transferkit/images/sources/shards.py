"""Tar files of images, as WebDataset has them: one, several by braces, or a folder of them.

Members whose names are the same up to the first dot are one sample: an image, and its label in
a ``.cls``, ``.txt`` or ``.json`` member. Nothing is unpacked: an image is read out of the tar
whenever it is needed.
"""

import contextlib
import hashlib
import io
import json
import logging
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.files import write_whole
from transferkit.folders import cache_folder
from transferkit.images.blobs import Blob, BlobPart
from transferkit.images.imageset import ImageSet
from transferkit.images.labels import clean_label
from transferkit.images.sources._containers import ContainerImages, list_containers, split_named
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources._places import blobs_of, is_file, name_of
from transferkit.images.sources._tar_samples import TarSample, TarSamples, read_samples
from transferkit.images.sources.folder import labels_and_splits

__all__ = ["HAS_GROUPS", "PATHS", "accepts", "example", "list_shards", "listed"]

PATHS = "a .tar file"
HAS_GROUPS = True
_SHOWN = 5

logger = logging.getLogger(__name__)


def accepts(given: Any) -> bool:
    """Whether a thing names tar files: a path, a URL, or one with braces."""
    return is_file(given, ".tar")


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the images of tar files in the order in which they stand there."""
    blobs = blobs_of(given)
    return list_shards(blobs, [name_of(blob.where) for blob in blobs], options)


def list_shards(blobs: Sequence[Blob], places: Sequence[str], options: ListingOptions) -> ImageSet:
    """List the images of tar files.

    Where no member tells a label, the folders in the images' names do, as those of a folder.

    Parameters
    ----------
    blobs : sequence of Blob
        The files.
    places : sequence of str
        What each is called.
    options : ListingOptions
        What is read of ``.json`` members.
    """
    one = isinstance(options.label_column, str)
    labels = [options.label_column] if one else list(options.label_column)
    labels = [clean_label(str(name)) for name in labels]
    group = [] if options.group_column is None else [options.group_column]
    columns = [*labels, options.split_column, *group]

    def read(blob: Blob, place: str) -> ContainerImages:
        found = _samples(blob, columns)
        _tell_left_out(place, found)
        rows = [sample.values for sample in found.samples]
        splits = [split_named(row[len(labels)], blob.where) for row in rows]
        return ContainerImages(
            [BlobPart(blob, sample.at, sample.n) for sample in found.samples],
            [sample.name for sample in found.samples],
            [tuple(row[: len(labels)]) for row in rows],
            splits if any(splits) else None,
            [row[-1] for row in rows] if group else None,
        )

    images = list_containers(blobs, places, read, labels[0] if one else tuple(labels))
    if not len(images):
        raise ValueError(f"no images in {', '.join(places[:_SHOWN])}; give tar files of images")
    return _with_labels(images, places, labels, options)


def _with_labels(
    images: ImageSet, places: Sequence[str], labels: Sequence[str], options: ListingOptions
) -> ImageSet:
    """Take the labels of folders where members tell none."""
    told = images.labels or ()
    if any(label is not None and label != (None,) * len(labels) for label in told):
        return images
    if labels != ["label"] or options.group_column is not None:
        raise ValueError(
            f"no .json member in {places[0]!r} tells {', '.join(map(repr, labels))}; choose a key "
            "of theirs (--label-column, label_column=)"
        )
    by_folder, splits, _ = labels_and_splits(places[0], _below_shared_folders(images.names))
    return ImageSet(
        images.items,
        images.names,
        by_folder if any(by_folder) else None,
        images.splits or splits,
    )


def _below_shared_folders(names: Sequence[str]) -> list[str]:
    """Names without the folder that was packed, if there is one around the folders of classes.

    Examples
    --------
    >>> _below_shared_folders(["photos/cat/1", "photos/dog/2"]), _below_shared_folders(["cat/1"])
    (['cat/1', 'dog/2'], ['cat/1'])
    """
    parts = [name.split("/") for name in names]
    while min(map(len, parts)) > 2 and len({p[0] for p in parts}) == 1:
        parts = [p[1:] for p in parts]
    return ["/".join(p) for p in parts]


def _tell_left_out(place: str, found: TarSamples) -> None:
    for reason, names in found.left_out.items():
        more = f" … and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
        shown = f"{', '.join(map(repr, names[:_SHOWN]))}{more}"
        logger.warning("members of %s are %s and were left out: %s", place, reason, shown)


# ---- what was read is remembered: of an object it would take as long as to read it all ----


def _samples(blob: Blob, columns: Sequence[str]) -> TarSamples:
    """Read the samples of a tar file, or take them from the user's cache."""
    stamp = blob.stamp
    name = hashlib.sha256(json.dumps([blob.where, *columns]).encode()).hexdigest()[:32]
    path = cache_folder() / "tars" / f"{name}.json"
    if stamp and (known := _remembered(path, stamp)) is not None:
        return known
    found = read_samples(blob, columns)
    if stamp and blob.is_unchanged():
        rows = [astuple(sample) for sample in found.samples]
        text = json.dumps([stamp, rows, found.left_out]).encode()
        with contextlib.suppress(OSError):  # only a shortcut
            write_whole(path, [b"%08x\n" % zlib.crc32(text), text])
    return found


def _remembered(path: Path, stamp: str) -> TarSamples | None:
    """What was read of a tar file with this very stamp; None if nothing, or if it is damaged."""
    try:
        crc, _, text = path.read_bytes().partition(b"\n")
        if crc != b"%08x" % zlib.crc32(text):
            return None
        kept, rows, left_out = json.loads(text)
        if kept != stamp:
            return None
        return TarSamples([TarSample(*row) for row in rows], left_out)
    except (OSError, ValueError, TypeError):
        return None


def example(folder: Path, pictures: Sequence[np.ndarray]) -> str:
    """Pictures with their classes in two tar files, by turns."""
    for i in range(2):
        with tarfile.open(folder / f"shard-{i}.tar", "w") as archive:
            for j in range(i, len(pictures), 2):
                png = io.BytesIO()
                Image.fromarray(pictures[j]).save(png, "PNG")
                for kind, content in (("png", png.getvalue()), ("cls", b"%d" % (j % 2))):
                    member = tarfile.TarInfo(f"{j:04d}.{kind}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return str(folder / "shard-{0..1}.tar")
