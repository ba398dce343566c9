"""A single image file, of this machine or by its URL."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.imageset import ImageSet
from transferkit.images.items import Item
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources._places import (
    has_braces,
    is_file,
    is_remote,
    name_of,
    remote_image,
)
from transferkit.images.sources.folder import EXTENSIONS

__all__ = ["accepts", "example", "listed"]


def accepts(given: Any) -> bool:
    """Whether a thing is the path or URL of a file with an image's suffix."""
    return any(is_file(given, suffix) for suffix in EXTENSIONS) and not has_braces(given)


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the single image under its file's name."""
    item: Item = remote_image(given) if is_remote(given) else Path(given)
    return ImageSet((item,), (name_of(given),))


def example(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Write the first of some pictures."""
    Image.fromarray(pictures[0]).save(folder / "image.png")
    return folder / "image.png"
