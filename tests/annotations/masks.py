"""Images and masks as files, for the tests of what reads them."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.pictures import picture

__all__ = ["classes_of", "save", "write_images", "write_masks"]

SIZE = (12, 17)


def classes_of(seed, n_classes=3, size=SIZE, void=False):
    """Classes of pixels in patches: every class occurs, and VOID if wanted."""
    drawn = np.random.default_rng(seed)
    coarse = drawn.integers(0, n_classes, (4, 4))
    coarse.flat[:n_classes] = np.arange(n_classes)
    if void:
        coarse[3, 3] = -1
    rows = np.arange(size[0]) * 4 // size[0]
    columns = np.arange(size[1]) * 4 // size[1]
    return coarse[np.ix_(rows, columns)]


def save(path, values, **options):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)
    return path


def write_images(folder, names, size=SIZE):
    """A picture under each name."""
    for i, name in enumerate(names):
        save(Path(folder) / name, picture(i, size))
    return Path(folder)


def write_masks(folder, names, n_classes=3):
    """Index masks under each name; void is 255."""
    for i, name in enumerate(names):
        save(Path(folder) / name, classes_of(i, n_classes).astype(np.uint8))
    return Path(folder)
