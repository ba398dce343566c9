"""Digests of images that lie in tar files, Parquet files and object storage."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from transferkit.digests import DigestMemory
from transferkit.extract.fetching import REQUESTS
from transferkit.images import ImageError, content_of
from transferkit.images.blobs import Blob, BlobImage, ObjectBlob, WholeBlob

__all__ = ["BlobDigests", "blob_digests"]

# Digests are remembered so many at a time, for a run that is killed to be gone on with.
_REMEMBERED_AT_A_TIME = 5_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BlobDigests:
    """Digests of some images, and how many of the images had to be read for them.

    Parameters
    ----------
    values : list of bytes or Exception
        One per image, in the order given: the digest (32 bytes), or why there is none.
    n_read : int
        How many images had to be read.
    """

    values: list[bytes | Exception]
    n_read: int


def blob_digests(images: Sequence[BlobImage]) -> BlobDigests:
    """Digest images, reading only those that aren't remembered with their blobs' stamps.

    Parameters
    ----------
    images : sequence of BlobImage
        The images.
    """
    if not images:
        return BlobDigests([], 0)
    memory, start = DigestMemory(), time.perf_counter()
    is_far = any(image.blob.is_remote for image in images)
    with ThreadPoolExecutor(REQUESTS if is_far else min(8, os.cpu_count() or 1)) as pool:
        blobs = {id(image.blob): image.blob for image in images}
        stamps = dict(zip(blobs, pool.map(_stamp, blobs.values()), strict=True))
        found: dict[str, bytes | Exception] = {}
        wanted: dict[str, tuple[BlobImage, str]] = {}
        for image in images:
            stamp = stamps[id(image.blob)]
            if isinstance(stamp, Exception):
                found[image.key] = stamp
            else:
                wanted[image.key] = image, stamp
        found |= memory.recall({key: stamp for key, (_, stamp) in wanted.items() if stamp})
        unknown = [key for key in wanted if key not in found]
        for begin in range(0, len(unknown), _REMEMBERED_AT_A_TIME):
            some = {k: wanted[k] for k in unknown[begin : begin + _REMEMBERED_AT_A_TIME]}
            found |= _hash_all(some, memory, pool)
    if unknown:
        seconds = time.perf_counter() - start
        logger.info("hashed %s images in %.1f s", f"{len(unknown):,}", seconds)
    return BlobDigests([found[image.key] for image in images], len(unknown))


def _hash_all(
    images: dict[str, tuple[BlobImage, str]], memory: DigestMemory, pool: ThreadPoolExecutor
) -> dict[str, bytes | Exception]:
    """Read images, and remember the digests of those whose blobs have not changed meanwhile."""
    results = list(pool.map(_hash, (image for image, _ in images.values())))
    digests = {key: digest for key, (digest, _) in zip(images, results, strict=True)}
    unproven = {
        id(image.blob): image.blob
        for (image, _), (_, is_proven) in zip(images.values(), results, strict=True)
        if not is_proven
    }
    unchanged = dict(zip(unproven, pool.map(_is_unchanged, unproven.values()), strict=True))
    lasting: dict[str, tuple[str, bytes]] = {}
    for key, (image, stamp) in images.items():
        digest = digests[key]
        if isinstance(digest, Exception):
            continue
        if unchanged.get(id(image.blob), True):
            if stamp:
                lasting[key] = stamp, digest
        elif not isinstance(image, WholeBlob):  # what is there may be another image by now
            digests[key] = ImageError("its file has changed since it was listed")
    memory.record(lasting)
    return digests


def _stamp(blob: Blob) -> str | Exception:
    try:
        return blob.stamp
    except OSError as error:
        return error


def _hash(image: BlobImage) -> tuple[bytes | Exception, bool]:
    """Digest of an image, and whether its ETag proves that the bytes are those of its stamp."""
    try:
        content = content_of(image)
        if not isinstance(content, bytes):
            raise TypeError(f"a {type(content).__name__} instead of bytes")
    except (ImageError, OSError, MemoryError) as error:
        return error, True
    blob = image.blob
    is_proven = (
        isinstance(image, WholeBlob) and isinstance(blob, ObjectBlob) and blob.is_etag_of(content)
    )
    return hashlib.sha256(content).digest(), is_proven


def _is_unchanged(blob: Blob) -> bool:
    try:
        return blob.is_unchanged()
    except OSError:
        return False
