"""Mahalanobis distance of the pooled maps from those of good images: one Gaussian for all.

References
----------
Rippel, Mertens & Merhof (2021), "Modeling the distribution of normal data in pre-trained deep
features for anomaly detection", section III.
Ledoit & Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices".
"""

from __future__ import annotations

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from transferkit.dense.anomaly._method import AnomalyMethod, Descriptors

__all__ = ["Mahalanobis", "Method"]


class Mahalanobis(AnomalyMethod):
    """A Gaussian of the pooled maps scores images, and one of all patches scores patches.

    It is quick and small, and sees images that are strange as a whole better than small
    defects.

    Parameters
    ----------
    dimensions : int or None, default=None
        Numbers of a descriptor at most.
    seed : int, default=0
        Of the projection.

    Examples
    --------
    >>> from transferkit.maps import FeatureMaps
    >>> random = torch.Generator().manual_seed(0)
    >>> good = torch.randn(20, 4, 6, 6, generator=random)
    >>> maps = lambda x: FeatureMaps({"a": x}, {"a": 8})
    >>> method = Mahalanobis().fit(lambda: iter([maps(good)]))
    >>> _, images = method(maps(torch.cat([good[:1], good[:1] + 1])))
    >>> bool(images[1] > images[0])
    True
    """

    learnt = ("mean", "image_factor", "patch_factor")
    mean: Tensor
    image_factor: Tensor
    patch_factor: Tensor

    def __init__(self, *, dimensions: int | None = None, seed: int = 0) -> None:
        super().__init__(dimensions, seed)
        self.options = {"dimensions": dimensions, "seed": seed}

    def _learn(self, descriptors: Descriptors) -> None:
        pooled, products = [], torch.zeros((), dtype=torch.float64)
        for batch in descriptors():
            pooled.append(batch.mean((2, 3)))
            cells = batch.movedim(1, -1).flatten(0, -2)
            products = products + (cells.T @ cells).double().cpu()
        images = torch.cat(pooled)
        mean = images.mean(0)
        of_patches = products / self.patches.n_patches - torch.outer(mean, mean).double().cpu()
        of_images = torch.zeros_like(of_patches)
        if len(images) > 1:
            of_images = torch.from_numpy(ledoit_wolf(images.double().cpu().numpy())[0])
        self.register_buffer("mean", mean)
        for name, covariance in (("image_factor", of_images), ("patch_factor", of_patches)):
            self.register_buffer(name, _inverse_root(covariance, of_patches).to(mean))

    def _check(self) -> None:
        width = self.patches.width
        shapes = [tuple(getattr(self, name).shape) for name in self.learnt]
        if shapes != [(width,), (width, width), (width, width)]:
            raise ValueError(f"mean and factors have shapes {shapes}; train it again")

    def scores(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of the patches and of the images; see `AnomalyMethod.scores`."""
        n, width, height, breadth = descriptors.shape
        centred = descriptors.permute(0, 2, 3, 1).reshape(-1, width) - self.mean
        patches = (centred @ self.patch_factor.T).pow(2).sum(1).sqrt()
        images = (descriptors.mean((2, 3)) - self.mean) @ self.image_factor.T
        return patches.reshape(n, height, breadth), images.pow(2).sum(1).sqrt()


Method = Mahalanobis


def _inverse_root(covariance: Tensor, patches: Tensor) -> Tensor:
    """A matrix ``W`` with ``WᵀW`` the inverse of a covariance, however few images there were.

    Of one image the pooled maps don't vary at all; then a small part of how the patches vary is
    taken.
    """
    eye = torch.eye(len(covariance), dtype=torch.float64)
    floor = 1e-4 * float(patches.diagonal().mean())
    lower = torch.linalg.cholesky(covariance.double() + max(floor, 1e-9) * eye)
    found: Tensor = torch.linalg.solve_triangular(lower, eye, upper=False)
    return found
