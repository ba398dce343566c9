"""The row id of each image, and the images that have none."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from transferkit.digests import DigestMemory, HashFiles, row_id
from transferkit.extract.decoding import Decoded, content_id, part_id, reason_of_failure
from transferkit.extract.hashing import blob_digests
from transferkit.images import (
    EXTENSIONS,
    Failure,
    ImageError,
    ImagePart,
    ImageSet,
    Item,
    UnreadableImages,
    check_file_size,
    content_of,
)
from transferkit.images.blobs import BlobImage, WholeBlob
from transferkit.images.items import file_of
from transferkit.images.paths import why_missing

__all__ = ["Identities"]


class Identities:
    """Row id of every image, or the reason why it has none.

    Parameters
    ----------
    images : ImageSet
        The images.
    exif : bool
        Whether images in memory are turned as their EXIF says, before they are digested.
    ids : sequence of bytes, optional
        If they are known; None digests every image now.
    hash_with : callable, optional
        Digests files that aren't remembered; see `DigestMemory.digests`.

    Attributes
    ----------
    ids : list of bytes or None
        One per image.
    failures : dict of int to Failure
        By position.
    unusable : dict of bytes to str
        Reasons of the images that can't be used, by the row that they would have.
    n_read : int
        Files that had to be read.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        exif: bool,
        ids: Sequence[bytes] | None = None,
        hash_with: HashFiles | None = None,
    ) -> None:
        self.images = images
        self.ids: list[bytes | None] = [None] * len(images) if ids is None else list(ids)
        self.failures: dict[int, Failure] = {}
        self.unusable: dict[bytes, str] = {}
        self.n_read = 0
        self._positions: dict[Path, list[int]] = {}
        if ids is None:
            self._digest(exif, hash_with)

    def _digest(self, exif: bool, hash_with: HashFiles | None) -> None:
        files = self._files()
        digests = DigestMemory().digests(
            list(files.values()), check_size=check_file_size, hash_with=hash_with
        )
        self.n_read = digests.n_read
        for i, digest in zip(files, digests.values, strict=True):
            if isinstance(digest, OSError):
                self.fail(i, self._reason(i, digest))
            else:
                self.ids[i] = self._own_id(i, row_id(digest))
        in_blobs = self._digest_blobs()
        known: dict[int, bytes] = {}  # an image of which there are several parts is digested once
        for i, item in enumerate(self.images.items):
            if i in files or i in in_blobs:
                continue
            whole = _whole(item)
            try:
                if id(whole) not in known:
                    known[id(whole)] = content_id(content_of(whole), exif=exif)
                self.ids[i] = self._own_id(i, known[id(whole)])
            except (ImageError, OSError, MemoryError) as error:
                self.fail(i, reason_of_failure(error))

    def _digest_blobs(self) -> Collection[int]:
        """Digest the images that lie in tars, Parquet files and object storage; their positions."""
        wholes = enumerate(map(_whole, self.images.items))
        images = {i: whole for i, whole in wholes if isinstance(whole, BlobImage)}
        found = blob_digests(list(images.values()))
        self.n_read += found.n_read
        for i, digest in zip(images, found.values, strict=True):
            if isinstance(digest, Exception):
                self.fail(i, reason_of_failure(digest))
            else:
                self.ids[i] = self._own_id(i, row_id(digest))
        return images

    def _own_id(self, index: int, whole: bytes) -> bytes:
        """Row id of an item, from that of the image that it is, or is a part of."""
        item = self.images.items[index]
        return part_id(whole, item) if isinstance(item, ImagePart) else whole

    def _files(self) -> dict[int, Path]:
        """Files of the images that have one, by position."""
        files = enumerate(file_of(_whole(item)) for item in self.images.items)
        return {i: file for i, file in files if file is not None}

    @property
    def readable_ids(self) -> list[bytes]:
        """Ids of the images that have one, in their order."""
        return [row for row in self.ids if row is not None]

    def fail(self, index: int, reason: str) -> None:
        """Record that an image has no row."""
        self.ids[index] = None
        self.failures[index] = Failure(index, self.images.names[index], reason)

    def _reason(self, index: int, error: OSError) -> str:
        """Reason why a file can't be read. For a missing one it names the path that was tried."""
        name, tried = self.images.names[index], str(error.filename or "")
        if isinstance(error, FileNotFoundError):
            return "No such file or directory" + f": {tried}" * (tried not in ("", name))
        return error.strerror or str(error)

    def _hint(self) -> str:
        """Hint at what may be wrong if not a single file is there."""
        files = list(self._files().values())
        if len(self.failures) < len(self.images) or len(files) < len(self.images):
            return ""
        if any(file.exists() for file in files):
            return ""
        name = self.images.names[0]
        depth = len(Path(name).parts)
        folder = files[0].parents[depth - 1] if depth <= len(files[0].parts) - 1 else Path()
        why = why_missing(self.images.names, folder, EXTENSIONS)
        return f"Not one of the files is there; {why}"

    def fail_rows(self, reasons: Mapping[bytes, str]) -> None:
        """Record that images and all copies of them have no row."""
        self.unusable |= reasons
        for i, row in enumerate(self.ids):
            if row is not None and row in reasons:
                self.fail(i, reasons[row])

    def check(self, on_error: str) -> None:
        """Raise `UnreadableImages` if any image failed or, with ``"skip"``, if all of them did."""
        if self.failures and (on_error == "raise" or len(self.failures) == len(self.images)):
            failures = [self.failures[i] for i in sorted(self.failures)]
            raise UnreadableImages(failures, len(self.images), self._hint())

    def record(self, image: Decoded, unusable: dict[bytes, str]) -> bytes | None:
        """Record the id of a decoded image, and return it; None if there is no image.

        If the file changed since it was digested, every entry that names it is updated.

        Ids of images that can't be read are put into `unusable`, with the reason.
        """
        was = self.ids[image.index]
        assert was is not None
        row = was if image.row is None else image.row  # in memory it can't have changed
        if image.reason:
            if row == was:
                unusable[was] = image.reason
            else:  # this file was changed or removed; others may still hold those bytes
                for i in self._entries(image.index):
                    self.fail(i, image.reason)
            return None
        if row != was and self._is_part_of_file(image.index):
            # What is where it was may be another image by now, of another name and label.
            self.fail(image.index, "its file has changed since it was listed")
            return None
        if row != was:  # the file was changed after it was digested
            for i in self._entries(image.index):
                self.ids[i] = row
        return row

    def _is_part_of_file(self, index: int) -> bool:
        """Whether an image is one of many in a tar or Parquet file."""
        whole = _whole(self.images.items[index])
        return isinstance(whole, BlobImage) and not isinstance(whole, WholeBlob)

    def _entries(self, index: int) -> list[int]:
        """Positions at which an image's file is listed, which is often once."""
        if not self._positions:
            for i, file in self._files().items():
                if isinstance(self.images.items[i], ImagePart):
                    continue
                self._positions.setdefault(file, []).append(i)
        item = self.images.items[index]
        # Parts of a changed file get their new ids one by one, each from its own.
        file_here = None if isinstance(item, ImagePart) else file_of(item)
        return [index] if file_here is None else self._positions[file_here]


def _whole(item: Item) -> Item:
    """The image that an item is a part of, or is."""
    return item.whole if isinstance(item, ImagePart) else item
