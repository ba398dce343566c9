"""Small maps of two levels, of things that lie in one place and of textures."""

import numpy as np
import torch

from transferkit.maps import FeatureMaps

STRIDES = {"fine": 4, "middle": 8, "coarse": 16}


def aligned(n, seed=0, size=8):
    """The same content at the same place in every image, with a little noise."""
    content = torch.Generator().manual_seed(99)
    noise = torch.Generator().manual_seed(seed)
    return {
        name: 3 * torch.randn(d, side, side, generator=content)
        + 0.3 * torch.randn(n, d, side, side, generator=noise)
        for name, d, side in (("fine", 3, 2 * size), ("middle", 4, size), ("coarse", 6, size // 2))
    }


def texture(n, seed=0, size=8):
    """Any content anywhere."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(n, d, side, side, generator=random)
        for name, d, side in (("fine", 3, 2 * size), ("middle", 4, size), ("coarse", 6, size // 2))
    }


def with_defects(levels, seed=0):
    """The same images, each with a strange region; and where it is, on the middle level."""
    random = np.random.default_rng(seed)
    n, _, side, _ = levels["middle"].shape
    where = np.zeros((n, side, side), bool)
    found = {name: level.clone() for name, level in levels.items()}
    for i in range(n):
        top, left = random.integers(0, side - 2, 2)
        where[i, top : top + 2, left : left + 2] = True
        for level in found.values():
            scale = level.shape[-1] / side
            rows = slice(int(top * scale), max(int(top * scale) + 1, int((top + 2) * scale)))
            columns = slice(int(left * scale), max(int(left * scale) + 1, int((left + 2) * scale)))
            level[i, :, rows, columns] += 6
    return found, where


def batches(levels, size=4):
    """As the methods take them."""
    n = len(levels["middle"])

    def give():
        for start in range(0, n, size):
            part = {name: level[start : start + size] for name, level in levels.items()}
            yield FeatureMaps(part, {name: STRIDES[name] for name in levels})

    return give


def scores(method, levels):
    """Scores of patches and images as arrays."""
    with torch.no_grad():
        found = [method(maps) for maps in batches(levels)()]
    return tuple(torch.cat(part).numpy() for part in zip(*found, strict=True))
