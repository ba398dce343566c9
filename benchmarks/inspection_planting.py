"""Plant near duplicates and wrong labels in a copy of a labelled data set, and remember which."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

__all__ = ["KINDS", "Planted", "plant"]

KINDS = ("recompressed", "cropped", "mirrored")
TEST_SHARE = 0.2


@dataclass
class Planted:
    """What was planted, by the names of the images in the new folder.

    Parameters
    ----------
    copies : dict of str to tuple of str
        Name of a copy to its kind and the name of what it is a copy of.
    flips : dict of str to str
        Name of an image in a wrong class's folder to its right class.
    """

    copies: dict[str, tuple[str, str]] = field(default_factory=dict)
    flips: dict[str, str] = field(default_factory=dict)


def plant(source: Path, folder: Path, seed: int, n: int = 20) -> Planted:
    """Copy folders of classes into train and test, with n copies of each kind and n wrong labels.

    Copies stand in the other split than their original. No image is planted twice.
    """
    rng = np.random.default_rng(seed)
    files = sorted(path for path in source.rglob("*.*") if path.parent.parent == source)
    classes = sorted({path.parent.name for path in files})
    is_test = rng.uniform(size=len(files)) < TEST_SHARE
    chosen = rng.permutation(len(files))[: n * (len(KINDS) + 1)]
    wrong = set(chosen[:n].tolist())
    planted, names = Planted(), []
    for i, path in enumerate(files):
        name = path.parent.name
        if i in wrong:
            name = str(rng.choice([other for other in classes if other != name]))
        names.append(f"{'test' if is_test[i] else 'train'}/{name}/{i:05}{path.suffix}")
        target = folder / names[-1]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        if i in wrong:
            planted.flips[names[-1]] = path.parent.name
    for number, i in enumerate(chosen[n:].tolist()):
        kind = KINDS[number // n]
        other = "train" if is_test[i] else "test"
        copy = f"{other}/{files[i].parent.name}/{len(files) + number:05}.jpg"
        with Image.open(files[i]) as image:
            image, quality = changed(image.convert("RGB"), kind, rng)
        image.save(folder / copy, quality=quality)
        planted.copies[copy] = kind, names[i]
    return planted


def changed(image: Image.Image, kind: str, rng: np.random.Generator) -> tuple[Image.Image, int]:
    """A slightly changed image, and the quality that it is saved with."""
    if kind == "recompressed":
        return image, int(rng.integers(30, 61))
    if kind == "mirrored":
        return ImageOps.mirror(image), 90
    left, top, right, bottom = rng.uniform(0.01, 0.08, size=4)
    width, height = image.size
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    cut = image.crop(tuple(map(round, box)))
    # Every other one is enlarged to the size that it had.
    return (cut.resize(image.size, Image.Resampling.BICUBIC) if rng.uniform() < 0.5 else cut), 90
