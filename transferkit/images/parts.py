"""`ImagePart`, a rectangle of an image that is an item itself."""

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.decode import ImageError, read_rgb
from transferkit.images.items import Content, Item, LazyImage, content_of, is_in_memory

__all__ = ["DecodedImages", "ImagePart"]

# What is kept of decoded images, bytes; the last one always is.
_KEPT_BYTES = 2**28


class DecodedImages:
    """Remembers the images that were decoded last, so that one isn't decoded for each part.

    They are known by the digest of their bytes, so that a file that was changed meanwhile is
    another image. Threads that need an image at a time wait for the one that decodes it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pixels: OrderedDict[tuple[bytes, bool], np.ndarray] = OrderedDict()
        self._decoding: dict[tuple[bytes, bool], threading.Lock] = {}

    def pixels(self, data: bytes, *, exif: bool) -> np.ndarray:
        """RGB pixels ``(H, W, 3)`` of a file's bytes, which are not to be changed.

        Parameters
        ----------
        data : bytes
            Of the file.
        exif : bool
            Whether the EXIF orientation is applied.

        Raises
        ------
        ImageError
            If they can't be decoded; see `read_rgb`.
        """
        key = hashlib.sha256(data).digest(), exif
        with self._lock:
            mine = self._decoding.setdefault(key, threading.Lock())
        with mine:
            with self._lock:
                found = self._pixels.get(key)
            try:
                if found is None:
                    found = np.asarray(read_rgb(data, exif=exif))
                self._keep(key, found)
            finally:
                with self._lock:
                    self._decoding.pop(key, None)
        return found

    def _keep(self, key: tuple[bytes, bool], pixels: np.ndarray) -> None:
        """Remember an image as the last one, and forget the first if they are too many."""
        with self._lock:
            self._pixels[key] = pixels
            self._pixels.move_to_end(key)
            while len(self._pixels) > 1 and self._n_bytes() > _KEPT_BYTES:
                self._pixels.popitem(last=False)

    def _n_bytes(self) -> int:
        return sum(array.nbytes for array in self._pixels.values())

    def __reduce__(self) -> tuple[Any, ...]:
        return DecodedImages, ()  # another process decodes for itself


@dataclass(frozen=True, eq=False)
class ImagePart(LazyImage):
    """A rectangle of an image, which is cut out whenever it is needed.

    Parameters
    ----------
    whole : Path, bytes, PIL.Image.Image, ndarray or LazyImage
        The image.
    box : (int, int, int, int)
        Left, top, right and bottom edge, px of the image after its EXIF orientation was applied
        if `exif` says so.
    exif : bool, default=False
        Whether it is.
    decoded : DecodedImages
        Shared by parts of the same images.
    """

    whole: Item
    box: tuple[int, int, int, int]
    exif: bool = False
    decoded: DecodedImages = field(default_factory=DecodedImages)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        left, top, right, bottom = self.box
        return bottom - top, right - left

    @property
    def is_in_memory(self) -> bool:
        """Whether the image exists in this process only."""
        return is_in_memory(self.whole)

    @property
    def is_far(self) -> bool:
        """Whether the image is."""
        return isinstance(self.whole, LazyImage) and self.whole.is_far

    def read(self) -> Content:
        """Pixels of the part, uint8 ``(H, W, 3)``, as `cut` gives them."""
        return self.cut(content_of(self.whole))

    def cut(self, content: Content) -> np.ndarray:
        """Pixels of the part, uint8 ``(H, W, 3)``, out of the image's content.

        Parameters
        ----------
        content : bytes, PIL.Image.Image or ndarray
            From `content_of` of the whole.

        Raises
        ------
        ImageError
            If the image can't be decoded, or doesn't have these pixels (any more).
        """
        left, top, right, bottom = self.box
        if isinstance(content, Image.Image):
            image = read_rgb(content, exif=self.exif)
            self._check((image.height, image.width))
            return np.asarray(image.crop(self.box))
        if isinstance(content, bytes):
            content = self.decoded.pixels(content, exif=self.exif)
        self._check(content.shape[:2])
        # Grey pixels become RGB, or it says what is wrong.
        return np.asarray(read_rgb(content[top:bottom, left:right]))

    def _check(self, size: tuple[int, ...]) -> None:
        _, _, right, bottom = self.box
        if len(size) != 2 or bottom > size[0] or right > size[1]:
            raise ImageError(
                f"it is {' × '.join(map(str, size))} px now, and a part of it ends at "
                f"{bottom} × {right}"
            )
