"""A single image file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.imageset import ImageSet
from transferkit.images.sources._options import ListingOptions
from transferkit.images.sources.folder import EXTENSIONS

__all__ = ["accepts", "example", "listed"]


def accepts(given: Any) -> bool:
    """Whether a thing is the path of a file with an image's suffix."""
    if not isinstance(given, str | os.PathLike):
        return False
    path = Path(given)
    return path.suffix.lower() in EXTENSIONS and path.exists() and not path.is_dir()


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the single image under its file's name."""
    path = Path(given)
    return ImageSet((path,), (path.name,))


def example(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Write the first of some pictures."""
    Image.fromarray(pictures[0]).save(folder / "image.png")
    return folder / "image.png"
