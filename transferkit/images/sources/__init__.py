"""Sources of images. Each file of this folder is one kind, and is found by being here.

A file offers `accepts`, `listed` and `example`, as `ImageSource` says. There is no list to edit.
At most one of them accepts a thing. A thing that none accepts is taken as images one by one.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from transferkit import registry
from transferkit.images.imageset import ImageSet
from transferkit.images.sources import items
from transferkit.images.sources._options import ListingOptions
from transferkit.remote import LIBRARIES, is_url, scheme_of

__all__ = ["ImageSource", "ListingOptions", "paths_taken", "source_of", "sources"]


class ImageSource(Protocol):
    """The functions that a file of this folder offers.

    ``PATHS`` is optional: what paths it takes, for messages, such as ``"a .csv file"``.
    ``HAS_GROUPS`` is so too: whether it knows `ListingOptions.group_column`.
    """

    def accepts(self, given: Any) -> bool:
        """Whether a thing is a source of this kind. This is quick, and imports no library."""

    def listed(self, given: Any, options: ListingOptions) -> ImageSet:
        """List the source's images, without decoding any."""

    def example(self, folder: Path, pictures: Sequence[np.ndarray]) -> Any:
        """Make a source of this kind from some pictures, for the common tests of all sources.

        Parameters
        ----------
        folder : Path
            An empty folder, for what has to be a file.
        pictures : sequence of ndarray
            uint8, ``(H, W, 3)``.
        """


@functools.cache
def sources() -> tuple[ImageSource, ...]:
    """Return every kind of source by name."""
    loaded = (registry.load(__name__, name, "image source") for name in registry.names(__name__))
    return tuple(cast(ImageSource, module) for module in loaded)


def source_of(given: Any) -> ImageSource:
    """Find the kind of source that accepts a thing.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is a path, and nothing is there or nothing that any kind takes.
    """
    for source in sources():
        if source.accepts(given):
            return source
    if is_url(given):
        raise ValueError(
            f"images can't be at {scheme_of(given)}://; give a path, or a URL that begins with "
            f"{', '.join(f'{name}://' for name in LIBRARIES)} or file://"
        )
    if isinstance(given, str | os.PathLike):
        raise _unknown_path(Path(given))
    return cast(ImageSource, items)  # or it says what is wrong with it


def paths_taken() -> list[str]:
    """Kinds of paths that are accepted besides folders and images, for messages."""
    return [str(kind) for source in sources() if (kind := getattr(source, "PATHS", ""))]


def _unknown_path(path: Path) -> Exception:
    from transferkit.images.sources.folder import EXTENSIONS

    if not path.exists():
        kinds = ", ".join(["a folder of images", *paths_taken()])
        return FileNotFoundError(f"{str(path)!r} doesn't exist; give {kinds} or an image")
    kinds = " nor ".join(["a folder", *paths_taken(), "an image"])
    return ValueError(f"{str(path)!r} is neither {kinds} ({', '.join(EXTENSIONS)})")
