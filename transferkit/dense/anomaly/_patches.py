"""`Patches` makes descriptors of patches from the levels of a pyramid."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate

from transferkit.maps import FeatureMaps

__all__ = ["Batches", "Patches"]

Batches = Callable[[], Iterator[FeatureMaps]]
"""Gives the maps of all images, a batch at a time, and may be called again."""

# A direction in which a level hardly varies is noise, so it isn't enlarged as much as others.
_SHRINKAGE = 0.01
# Patches are the cells of the finest level that isn't finer than this, input px.
_FINEST = 8


class Patches(nn.Module):
    """From the levels of a pyramid to one descriptor for every patch.

    Each level is averaged over 3 × 3 cells, whitened by the patches of the good images, so that
    all directions and all levels weigh the same, and resized to the grid of the patches: that of
    the finest level with a stride of 8 px or more. Descriptors of more than `dimensions` numbers
    are projected at random, by which distances hardly change.

    Parameters
    ----------
    dimensions : int or None, default=None
        Numbers of a descriptor at most; None for those of all levels side by side.
    seed : int, default=0
        Of the projection.

    Attributes
    ----------
    n_images, n_patches : int
        How many were learnt from.

    References
    ----------
    Roth et al. (2022), "Towards total recall in industrial anomaly detection", equations 1 to 3.
    Johnson & Lindenstrauss (1984), "Extensions of Lipschitz mappings into a Hilbert space".

    Examples
    --------
    >>> random = torch.Generator().manual_seed(0)
    >>> maps = {"a": torch.randn(4, 3, 16, 16, generator=random),
    ...         "b": torch.randn(4, 5, 8, 8, generator=random)}
    >>> batches = lambda: iter([FeatureMaps(maps, {"a": 4, "b": 8})])
    >>> Patches().fit(batches)(next(batches())).shape
    torch.Size([4, 8, 8, 8])
    """

    def __init__(self, dimensions: int | None = None, seed: int = 0) -> None:
        super().__init__()
        self.dimensions, self.seed = dimensions, seed
        self.n_levels = self.n_images = self.n_patches = 0

    def fit(self, batches: Batches) -> Self:
        """Learn how the levels vary; see `AnomalyMethod.fit`."""
        moments: list[_Moments] = []
        self.n_images = self.n_patches = 0
        for maps in batches():
            levels = [_smoothed(level) for level in maps.maps.values()]
            moments = moments or [_Moments(level) for level in levels]
            for moment, level in zip(moments, levels, strict=True):
                moment.add(level)
            self.n_images += len(levels[0])
            self.n_patches += len(levels[0]) * math.prod(_grid(maps))
        if not self.n_images:
            raise ValueError("there are no good images to learn from; give at least one")
        self._keep([moment.whitening() for moment in moments], moments[0].origin.device)
        return self

    def _keep(self, whitenings: Sequence[tuple[Tensor, Tensor]], device: torch.device) -> None:
        """Set the linear layer of each level: whitening, then its part of the projection."""
        widths = [len(mean) for mean, _ in whitenings]
        parts = torch.split(_projection(widths, self.dimensions, self.seed), widths)
        self.n_levels = len(widths)
        for i, ((mean, matrix), part) in enumerate(zip(whitenings, parts, strict=True)):
            weight = (matrix @ part).T
            self.register_buffer(f"weight_{i}", weight.float().contiguous().to(device))
            self.register_buffer(f"bias_{i}", (-weight @ mean).float().to(device))

    @property
    def width(self) -> int:
        """Numbers of a descriptor."""
        return len(self.get_buffer("bias_0"))

    def restore(self, tensors: Mapping[str, Tensor]) -> Self:
        """Take back the buffers of one that has learnt.

        Raises
        ------
        ValueError
            If they aren't those of this module.
        """
        self.n_levels = len(tensors) // 2
        names = {f"{kind}_{i}" for i in range(self.n_levels) for kind in ("weight", "bias")}
        if not tensors or names != set(tensors):
            raise ValueError(f"layers of patches are named {sorted(tensors)[:6]}; train it again")
        widths = {len(tensors[f"bias_{i}"]) for i in range(self.n_levels)}
        for name, tensor in tensors.items():
            is_layer = tensor.ndim == (2 if name.startswith("weight") else 1)
            if not is_layer or not tensor.is_floating_point() or {len(tensor)} != widths:
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}; train it again")
            self.register_buffer(name, tensor.float())
        return self

    def forward(self, maps: FeatureMaps) -> Tensor:
        """Descriptors ``(B, width, h, w)`` on the grid of the patches."""
        levels, grid = list(maps.maps.values()), _grid(maps)
        if len(levels) != self.n_levels:
            raise ValueError(f"{len(levels)} levels of maps; give the {self.n_levels} of fit")
        found = []
        for i, level in enumerate(levels):
            weight, bias = self.get_buffer(f"weight_{i}"), self.get_buffer(f"bias_{i}")
            if level.shape[1] != weight.shape[1]:
                raise ValueError(
                    f"level {i} has {level.shape[1]} channels; give the {weight.shape[1]} of fit"
                )
            layer = conv2d(_smoothed(level), weight[:, :, None, None], bias)
            if layer.shape[-2:] != grid:
                # Halving a level so is averaging 2 × 2 of its cells.
                layer = interpolate(layer, grid, mode="bilinear", align_corners=False)
            found.append(layer)
        return torch.stack(found).sum(0)


def _grid(maps: FeatureMaps) -> tuple[int, int]:
    """Rows and columns of the patches."""
    names = [name for name in maps.maps if maps.strides[name] >= _FINEST] or list(maps.maps)[-1:]
    height, width = maps.maps[names[0]].shape[-2:]
    return int(height), int(width)


def _smoothed(level: Tensor) -> Tensor:
    return avg_pool2d(level.float(), 3, stride=1, padding=1, count_include_pad=False)


def _projection(widths: Sequence[int], dimensions: int | None, seed: int) -> Tensor:
    """Matrix from the whitened levels side by side, each of length 1 on average, to descriptors."""
    total = sum(widths)
    scale = torch.cat([torch.full((n,), n**-0.5, dtype=torch.float64) for n in widths])
    if dimensions is None or dimensions >= total:
        return torch.diag(scale)
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randn(total, dimensions, generator=random, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(drawn)[0]
    return scale[:, None] * basis * math.sqrt(total / dimensions)


class _Moments:
    """Mean and covariance of a level's cells, added up batch by batch."""

    def __init__(self, level: Tensor) -> None:
        # Sums are taken about the first batch's mean: about 0, a large mean would eat the digits.
        self.origin = level.mean((0, 2, 3))
        width = len(self.origin)
        self.n = 0
        self.total = torch.zeros(width, dtype=torch.float64)
        self.products = torch.zeros(width, width, dtype=torch.float64)

    def add(self, level: Tensor) -> None:
        cells = (level - self.origin[:, None, None]).movedim(1, -1).flatten(0, -2)
        self.n += len(cells)
        self.total += cells.sum(0).cpu()
        self.products += (cells.T @ cells).cpu()

    def whitening(self) -> tuple[Tensor, Tensor]:
        """The mean, and the matrix by which a centred cell becomes one of covariance 1."""
        mean = self.total / self.n
        covariance = self.products / self.n - mean[:, None] * mean
        size = float(covariance.diagonal().mean())
        if size <= 0:  # images of one colour
            covariance, size = torch.eye(len(mean), dtype=torch.float64), 1.0
        shrunk = covariance + _SHRINKAGE * size * torch.eye(len(mean), dtype=torch.float64)
        values, vectors = torch.linalg.eigh(shrunk)
        scales = values.clamp_min(_SHRINKAGE * size).rsqrt()
        whitening: Tensor = vectors * scales
        return mean + self.origin.cpu().double(), whitening
