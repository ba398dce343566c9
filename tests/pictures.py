"""Tiny pictures, the same for the same seed, for tests of whatever takes images."""

from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["coloured", "picture", "write_pictures"]


def picture(seed, size=(64, 64)):
    """Smooth noise, uint8 (H, W, 3): no two seeds alike, and not hurt much by JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def write_pictures(folder, seeds, suffix=".png"):
    """Files ``000.png``, ``001.png`` …, one per seed, in their order."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:03d}{suffix}" for i, _ in enumerate(seeds)]
    for path, seed in zip(paths, seeds, strict=True):
        Image.fromarray(picture(seed)).save(path)
    return paths


def coloured(n_per_class, n_classes=3, seed=0):
    """Pictures whose class is their brightest channel, and the class of each, interleaved."""
    codes = np.tile(np.arange(n_classes), n_per_class)
    images = np.stack([picture(1000 * seed + i) // 4 for i in range(len(codes))])
    for image, code in zip(images, codes, strict=True):
        image[..., code] += 128
    return images, codes
