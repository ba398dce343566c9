"""Decode one image from its file to pixels, and warn if the geometry doesn't suit the images."""

from __future__ import annotations

import hashlib
import logging
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transferkit.digests import pixel_digest, row_id
from transferkit.extract.pixels import network_input, part_pixels
from transferkit.images import (
    Content,
    ImageError,
    ImagePart,
    ImageSet,
    Item,
    content_of,
    crop_fraction,
    read_rgb,
    upscale_factor,
)
from transferkit.images.items import is_in_memory
from transferkit.spec import Preprocess

__all__ = [
    "Decoded",
    "content_id",
    "decode",
    "part_id",
    "reason_of_failure",
    "warn_of_crop",
    "warn_of_size",
    "whole_content",
]

logger = logging.getLogger(__name__)

# So that no file has a part's digest.
_PART_PREFIX = b"transferkit-part\0"


@dataclass(frozen=True)
class Decoded:
    """One decoded image, or the reason why there is none.

    Parameters
    ----------
    index : int
        Its position.
    row : bytes or None
        Row id of the very bytes that were decoded; None for an image in memory, empty for
        one that can't be read.
    pixels : ndarray or None
        ``(H, W, C)``: the network's input, from `network_input`.
    reason : str
        Why there are no pixels; empty if there are.
    size : (int, int)
        Its own height and width, px.
    seconds : (float, float)
        To read and to decode.
    """

    index: int
    row: bytes | None
    pixels: np.ndarray | None
    reason: str
    size: tuple[int, int]
    seconds: tuple[float, float]


def decode(
    images: ImageSet,
    index: int,
    preprocess: Preprocess,
    content_at: Callable[[int], Content] | None = None,
) -> Decoded:
    """Read, decode, resize and crop one image.

    Parameters
    ----------
    images : ImageSet
        All images.
    index : int
        Which.
    preprocess : Preprocess
        How.
    content_at : callable, optional
        Reads the image at a position; by default the item itself does.
    """
    item = images.items[index]
    row = None if is_in_memory(item) else b""
    pixels, reason, size = None, "", (0, 0)
    start = read = time.perf_counter()
    try:
        content = whole_content(item) if content_at is None else content_at(index)
        if row is not None:
            # The digest is of the very bytes that are decoded, because a file may have changed
            # since it was looked at first.
            row = content_id(content, exif=preprocess.exif)
            read = time.perf_counter()
        if isinstance(item, ImagePart):
            row = None if row is None else part_id(row, item)
            content = part_pixels(item, content)
        pixels, size = network_input(content, preprocess)
    except (ImageError, OSError, MemoryError) as error:
        reason = reason_of_failure(error)
    end = time.perf_counter()
    return Decoded(index, row, pixels, reason, size, (read - start, end - read))


def whole_content(item: Item) -> Content:
    """Read an image, or the one that it is a part of."""
    return content_of(item.whole if isinstance(item, ImagePart) else item)


def reason_of_failure(error: Exception) -> str:
    """Why an image can't be read, in plain words."""
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    return (error.strerror if isinstance(error, OSError) else "") or str(error)


def content_id(content: Content, *, exif: bool) -> bytes:
    """Row id of an image, from the bytes of its file or from its pixels.

    Parameters
    ----------
    content : bytes, PIL.Image.Image or ndarray
        The image.
    exif : bool
        Whether an image in memory is turned as its EXIF says first.

    Raises
    ------
    ImageError
        If it is no image.
    """
    if isinstance(content, bytes):
        return row_id(hashlib.sha256(content).digest())
    if isinstance(content, np.ndarray) and _is_of_values(content):
        return row_id(pixel_digest(content))
    return row_id(pixel_digest(np.asarray(read_rgb(content, exif=exif))))


def _is_of_values(array: np.ndarray) -> bool:
    """Whether an array is of other numbers than those of 8-bit grey or RGB."""
    is_rgb = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3))
    return array.dtype.kind in "biuf" and not (array.dtype == np.uint8 and is_rgb)


def part_id(whole: bytes, part: ImagePart) -> bytes:
    """Row id of a part of an image.

    Parameters
    ----------
    whole : bytes
        Row id of the image.
    part : ImagePart
        Which.
    """
    # Four edges, px, and whether the image was turned before it was cut.
    where = struct.pack("<4q?", *part.box, part.exif)
    return row_id(hashlib.sha256(_PART_PREFIX + whole + where).digest())


def warn_of_size(preprocess: Preprocess) -> None:
    """Warn if the backbone's input is unusually large."""
    height, width = preprocess.image_size
    if height * width > 400 * 400:
        logger.warning(
            "the backbone's input is %d × %d px, %.1f times the pixels of 224 × 224; a smaller "
            "image_size (--image-size 224) is that much faster, where the network allows it",
            height,
            width,
            height * width / 224**2,
        )


def warn_of_crop(
    sizes: list[tuple[int, int]], preprocess: Preprocess, *, may_enlarge: bool = False
) -> None:
    """Warn if the geometry doesn't suit the images.

    Parameters
    ----------
    sizes : list of (int, int)
        Height and width of some of the images, px.
    preprocess : Preprocess
        The geometry.
    may_enlarge : bool, default=False
        Whether images may be enlarged on purpose: maps show small objects better so.
    """
    if len(sizes) < 2:  # of a single image, as a server gets them, nothing can be said
        return
    n_small = sum(upscale_factor(size, preprocess) >= 2 for size in sizes)
    if n_small > len(sizes) / 2 and not may_enlarge:
        height, width = preprocess.image_size
        logger.warning(
            "%d of %d images are enlarged to twice their size or more, to fill the input of "
            "%d × %d px; a smaller image_size (--image-size) may be as good and is faster",
            n_small,
            len(sizes),
            height,
            width,
        )
    # What an image of the input's own shape would lose is the protocol's choice, and ordinary
    # photographs (4:3, 3:2, 16:9) do no better with their whole area seen. Beyond 2:1 it is less
    # than half of what the protocol meant to be seen.
    usual = 1 - crop_fraction(preprocess.image_size, preprocess)
    lost = [crop_fraction(size, preprocess) for size in sizes]
    cropped = [share for share in lost if 1 - share < usual / 2]
    if len(cropped) > len(sizes) / 2:
        logger.warning(
            "%d of %d images are so long or so wide that the crop leaves out %.0f %% of their area "
            "on average; whether that matters depends on where their subject stands: compare what "
            "is measured with --crop-mode center, squash and border (crop_mode)",
            len(cropped),
            len(sizes),
            100 * float(np.mean(cropped)),
        )
