"""Images of other machines are asked for some time before they are decoded, many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from transferkit.extract.decoding import whole_content
from transferkit.images import Content, ImageSet, LazyImage

__all__ = ["REQUESTS", "FetchedAhead"]

REQUESTS = 32
"""Requests at a time: each waits for most of its time."""


class FetchedAhead:
    """Reads the images of chunks as soon as these are taken, if to read them takes a while.

    Parameters
    ----------
    images : ImageSet
        All images.
    """

    def __init__(self, images: ImageSet) -> None:
        self._images = images
        self._futures: dict[int, Future[Content]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def chunks(self, chunks: Iterable[list[int]]) -> Iterator[list[int]]:
        """Give chunks of positions; who takes one has its images read from then on."""
        for chunk in chunks:
            for index in chunk:
                item = self._images.items[index]
                if isinstance(item, LazyImage) and item.is_far:
                    self._begin(index)
            yield chunk

    def _begin(self, index: int) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(REQUESTS)
        item = self._images.items[index]
        self._futures[index] = self._pool.submit(whole_content, item)

    def content(self, index: int) -> Content:
        """Content of the image at a position, or of the one that it is a part of.

        Raises
        ------
        OSError, ImageError
            If it can't be read.
        """
        future = self._futures.pop(index, None)
        return whole_content(self._images.items[index]) if future is None else future.result()
