"""Choose a method by the good images alone: by whether their content lies in the same place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from transferkit.dense.anomaly._patches import Batches, Patches

__all__ = ["ALIGNED", "Choice", "alignment", "choose_method"]

ALIGNED = 0.75
"""Images whose `alignment` is at least this are of content that lies in the same place."""

# With fewer good images, nothing is known of what varies at a position.
_FEWEST = 8
_DIMENSIONS = 32


class Choice(NamedTuple):
    """A method, and why it was chosen: `alignment` of the good images, None if they are few."""

    method: str
    alignment: float | None


def choose_method(batches: Batches, *, seed: int = 0) -> Choice:
    """Choose `Padim` for images of content that lies in the same place, else `PatchCore`.

    Parameters
    ----------
    batches : callable
        As for `AnomalyMethod.fit`.
    seed : int, default=0
        Of the draws.
    """
    patches = Patches(_DIMENSIONS, seed).fit(batches)
    if patches.n_images < _FEWEST:
        return Choice("patchcore", None)
    found = _alignment(patches, batches, seed)
    return Choice("padim" if found >= ALIGNED else "patchcore", found)


def alignment(batches: Batches, *, seed: int = 0) -> float:
    """How often a good patch suits its position better than one from elsewhere in its image.

    Two thirds of the images give the mean patch of every position. At each position of the
    others it is seen whether the patch there is nearer to that mean than one from another
    position of the same image, drawn at random: a patch in the wrong place is an anomaly that
    the maps of good images hold already.

    Parameters
    ----------
    batches, seed
        As for `choose_method`; at least three images.

    Returns
    -------
    float
        Near 1 if all images look alike position by position; near 0.5 if a position says
        nothing, as in textures.

    Examples
    --------
    >>> from transferkit.maps import FeatureMaps
    >>> random = torch.Generator().manual_seed(0)
    >>> texture = torch.randn(9, 4, 8, 8, generator=random)
    >>> thing = torch.randn(4, 8, 8, generator=random) + 0.1 * texture
    >>> batches = lambda x: lambda: iter([FeatureMaps({"a": x}, {"a": 8})])
    >>> round(alignment(batches(thing)), 1), round(alignment(batches(texture)), 1)
    (1.0, 0.5)
    """
    return _alignment(Patches(_DIMENSIONS, seed).fit(batches), batches, seed)


@torch.no_grad()
def _alignment(patches: Patches, batches: Batches, seed: int) -> float:
    mean, n = torch.zeros(()), 0
    for learnt in _part(batches, patches, is_held=False):
        mean = mean.to(learnt) + learnt.sum(0)
        n += len(learnt)
    mean = mean.flatten(1) / n
    elsewhere = torch.randperm(mean.shape[1], generator=torch.Generator().manual_seed(seed))
    better, count = 0.0, 0
    for held in _part(batches, patches, is_held=True):
        there = held.flatten(2)
        own = (there - mean).pow(2).sum(1)
        other = (there[:, :, elsewhere.to(there.device)] - mean).pow(2).sum(1)
        better += float((own < other).sum() + 0.5 * (own == other).sum())
        count += own.numel()
    return better / count


def _part(batches: Batches, patches: Patches, *, is_held: bool) -> Iterator[Tensor]:
    """Descriptors of every third image, or of the others."""
    start = 0
    for maps in batches():
        found = patches(maps)
        is_third = torch.arange(start, start + len(found)) % 3 == 2
        start += len(found)
        yield found[(is_third if is_held else ~is_third).to(found.device)]
