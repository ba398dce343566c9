"""Items of a list: files, files' bytes, pixels, images of a data set, and bags of images."""

import abc
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from transferkit.images.decode import ImageError, read_file

__all__ = ["Content", "ImageBag", "Item", "LazyImage", "content_of", "file_of", "is_in_memory"]

Content = bytes | Image.Image | np.ndarray
"""What an image is decoded from: a file's bytes, or the image itself."""


class LazyImage(abc.ABC):
    """An image that is taken from somewhere whenever it is needed, such as a data set."""

    __slots__ = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width, px, if they are known without reading it."""
        return None

    @property
    def is_in_memory(self) -> bool:
        """Whether it exists in this process only."""
        return False

    @property
    def is_far(self) -> bool:
        """Whether to get it takes a while, so that it had better be asked for ahead of time."""
        return False

    @abc.abstractmethod
    def read(self) -> Content:
        """Get the image from the data set.

        Raises
        ------
        OSError, ImageError
            If it can't be read.
        """


@dataclass(frozen=True, eq=False)
class ImageBag:
    """Several images that are one item: the rooms of a house, the slices of a scan.

    Parameters
    ----------
    items : tuple of Path, bytes, PIL.Image.Image, ndarray or LazyImage
        Two or more images.
    names : tuple of str
        What messages call them.
    """

    items: "tuple[Item, ...]"
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.items)


Item = Path | bytes | Image.Image | np.ndarray | LazyImage | ImageBag


def content_of(item: Item) -> Content:
    """Read an image, if it isn't in memory already.

    Parameters
    ----------
    item : Path, bytes, PIL.Image.Image, ndarray or LazyImage
        Where the image is, or the image itself.

    Raises
    ------
    OSError, ImageError
        If it can't be read.
    """
    if isinstance(item, ImageBag):
        raise TypeError(f"an item of {len(item)} images; take them one by one (ImageSet.singles)")
    if isinstance(item, Path):
        return read_file(item)
    if not isinstance(item, LazyImage):
        return item
    try:
        return item.read()
    except (OSError, ImageError):
        raise
    except Exception as error:  # the data set runs code of anybody's
        raise ImageError(f"the data set can't give it ({type(error).__name__}: {error})") from error


def file_of(item: Item) -> Path | None:
    """Path of the file that holds an image and nothing else; None if there is none."""
    return item if isinstance(item, Path) else None


def is_in_memory(item: Item) -> bool:
    """Whether an image, or one of a bag, exists in this process only."""
    if isinstance(item, ImageBag):
        return any(map(is_in_memory, item.items))
    if isinstance(item, LazyImage):
        return item.is_in_memory
    return not isinstance(item, Path)
