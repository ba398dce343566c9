"""Decoding ahead in threads; and what to say where images and input don't suit each other."""

from __future__ import annotations

import collections
import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.digests import row_id
from transferkit.images import (
    ImageError,
    ImageSet,
    crop_fraction,
    prepare,
    read_rgb,
    upscale_factor,
)
from transferkit.spec import Preprocess

__all__ = ["decode", "warn_of_crop", "warn_of_size"]

logger = logging.getLogger(__name__)


def decode(
    images: ImageSet, indices: list[int], preprocess: Preprocess, progress: bool
) -> Iterator[tuple[int, Any]]:
    """Decode in threads, a bounded number ahead, results in order.

    Yields
    ------
    index : int
        Position of the image.
    decoded : tuple
        Row id of the bytes that were decoded (None for an image in memory, empty for a file
        that can't be read), the pixels or the reason why there are none, height and width.
    """
    from tqdm import tqdm

    def job(index: int) -> Any:
        item = images.items[index]
        row = b"" if isinstance(item, Path) else None
        try:
            if isinstance(item, Path):
                # The digest of the very bytes that are decoded: a file may have been changed
                # since it was looked at first.
                data = item.read_bytes()
                row = row_id(hashlib.sha256(data).digest())
                image = read_rgb(data, exif=preprocess.exif)
            else:
                image = read_rgb(item, exif=preprocess.exif)
            return row, prepare(image, preprocess), (image.height, image.width)
        except ImageError as error:
            return row, str(error), (0, 0)
        except OSError as error:
            return row, error.strerror or str(error), (0, 0)

    threads = min(8, os.cpu_count() or 1)
    ahead: collections.deque[tuple[int, Future[Any]]] = collections.deque()
    bar = tqdm(
        total=len(indices),
        desc="extract",
        unit=" images",
        disable=not progress,
        file=sys.stderr,
        smoothing=0.1,
    )
    pool = ThreadPoolExecutor(threads)
    try:
        with bar:
            for index in indices:
                ahead.append((index, pool.submit(job, index)))
                if len(ahead) >= 4 * threads + 16:
                    done, future = ahead.popleft()
                    yield done, future.result()
                    bar.update()
            while ahead:
                done, future = ahead.popleft()
                yield done, future.result()
                bar.update()
    finally:
        pool.shutdown(cancel_futures=True)


def warn_of_size(preprocess: Preprocess) -> None:
    """Say so where the backbone's input is unusually large."""
    height, width = preprocess.image_size
    if height * width > 400 * 400:
        logger.warning(
            "the backbone's input is %d × %d px, %.1f times the pixels of 224 × 224; a smaller "
            "image_size (--image-size 224) is that much faster, where the network allows it",
            height,
            width,
            height * width / 224**2,
        )


def warn_of_crop(sizes: list[tuple[int, int]], preprocess: Preprocess) -> None:
    """Say so where the geometry doesn't suit the images."""
    n_small = sum(upscale_factor(size, preprocess) >= 2 for size in sizes)
    if n_small > len(sizes) / 2:
        height, width = preprocess.image_size
        logger.warning(
            "%d of %d images are enlarged to twice their size or more, to fill the input of "
            "%d × %d px; a smaller image_size (--image-size) may be as good and is faster",
            n_small,
            len(sizes),
            height,
            width,
        )
    # What a square image would lose is the protocol's choice; more is the images' shape.
    side = max(sizes[0]) if sizes else 1
    usual = crop_fraction((side, side), preprocess)
    lost = [crop_fraction(size, preprocess) for size in sizes]
    n_cropped = sum(share > max(0.2, usual + 0.02) for share in lost)
    if n_cropped > len(sizes) / 2:
        logger.warning(
            "%d of %d images lose more than 20 %% of their area to the crop (%.0f %% on average); "
            "crop_mode 'squash' or 'border' with crop_pct 1 (--crop-mode, --crop-pct) keeps all",
            n_cropped,
            len(sizes),
            100 * float(np.mean(lost)),
        )
