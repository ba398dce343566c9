"""k nearest neighbours: how far an image is from the most similar good ones.

References
----------
Bergman, Cohen & Hoshen (2020), "Deep nearest neighbor anomaly detection", section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transferkit.dense.anomaly._method import AnomalyMethod, Descriptors
from transferkit.dense.anomaly._nearest import nearest, sampled

__all__ = ["Method", "NearestNeighbours"]


class NearestNeighbours(AnomalyMethod):
    """Mean distance to the nearest good images, by pooled maps; and to good patches.

    An image's score is the mean distance of its pooled map to the `k` nearest ones of good
    images. A patch's is its mean distance to the `k` nearest of good patches drawn at random.

    Parameters
    ----------
    k : int, default=3
        Neighbours.
    most : int, default=10000
        Good images, and good patches, that are kept at most, drawn at random.
    dimensions : int or None, default=256
        Numbers of a descriptor at most.
    seed : int, default=0
        Of the draws and the projection.

    Examples
    --------
    >>> from transferkit.maps import FeatureMaps
    >>> random = torch.Generator().manual_seed(0)
    >>> good = torch.randn(20, 4, 6, 6, generator=random)
    >>> maps = lambda x: FeatureMaps({"a": x}, {"a": 8})
    >>> method = NearestNeighbours().fit(lambda: iter([maps(good)]))
    >>> _, images = method(maps(torch.cat([good[:1], good[:1] + 1])))
    >>> bool(images[1] > images[0])
    True
    """

    learnt = ("images", "bank")
    images: Tensor
    bank: Tensor

    def __init__(
        self, *, k: int = 3, most: int = 10_000, dimensions: int | None = 256, seed: int = 0
    ) -> None:
        super().__init__(dimensions, seed)
        if k < 1 or most < 1:
            raise ValueError(f"k is {k!r} and most {most!r}; give whole numbers above 0")
        self.options = {"k": k, "most": most, "dimensions": dimensions, "seed": seed}
        self.k, self.most = k, most

    def _learn(self, descriptors: Descriptors) -> None:
        random = torch.Generator().manual_seed(self.seed)
        n_each = max(1, self.most // self.patches.n_images)
        pooled, drawn = [], []
        for batch in descriptors():
            pooled.append(batch.mean((2, 3)))
            drawn.append(sampled(batch, n_each, random))
        for name, parts in (("images", pooled), ("bank", drawn)):
            every = torch.cat(parts)
            at = torch.randperm(len(every), generator=random)[: self.most].sort().values
            self.register_buffer(name, every[at.to(every.device)].contiguous())

    def _check(self) -> None:
        width = self.patches.width
        for name in self.learnt:
            if getattr(self, name).shape[1:] != (width,):
                raise ValueError(f"{name} has no rows of {width} numbers; train it again")

    def scores(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of the patches and of the images; see `AnomalyMethod.scores`."""
        n, width, height, breadth = descriptors.shape
        flat = descriptors.permute(0, 2, 3, 1).reshape(-1, width)
        patches = nearest(flat, self.bank, self.k)[0].mean(1)
        images = nearest(descriptors.mean((2, 3)), self.images, self.k)[0].mean(1)
        return patches.reshape(n, height, breadth), images


Method = NearestNeighbours
