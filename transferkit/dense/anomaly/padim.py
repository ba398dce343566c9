"""PaDiM: at every position, how far a patch is from the good patches at that position.

References
----------
Defard et al. (2021), "PaDiM: a patch distribution modeling framework for anomaly detection and
localization", section III.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transferkit.dense.anomaly._method import AnomalyMethod, Descriptors, top_mean

__all__ = ["Method", "Padim"]

# Positions whose covariances are inverted at a time.
_AT_ONCE = 256


class Padim(AnomalyMethod):
    """A Gaussian at every position; a patch's score is its Mahalanobis distance.

    It suits images of objects that always lie in the same place. Its memory, and the saved
    model, are `dimensions`² numbers for each position.

    Parameters
    ----------
    ridge : float, default=1.0
        What is added to every variance, in units of the mean variance at that position. The
        paper adds 0.01, in units of the features. With few images a covariance is poorly known,
        and what is added keeps the rest in place.
    top : float, default=0.0
        Share of the patches whose mean is the image's score; one patch at least.
    dimensions : int or None, default=100
        Numbers of a patch's descriptor at most.
    seed : int, default=0
        Of the projection.

    Examples
    --------
    >>> from transferkit.maps import FeatureMaps
    >>> random = torch.Generator().manual_seed(0)
    >>> good = torch.arange(36.0).reshape(6, 6) + torch.randn(8, 4, 6, 6, generator=random)
    >>> maps = lambda x: FeatureMaps({"a": x}, {"a": 8})
    >>> method = Padim().fit(lambda: iter([maps(good)]))
    >>> patches, images = method(maps(torch.cat([good[:1], good[:1].flip(-1)])))
    >>> bool(images[1] > images[0])  # good patches in the wrong places
    True
    """

    learnt = ("mean", "factor")
    mean: Tensor
    factor: Tensor

    def __init__(
        self,
        *,
        ridge: float = 1.0,
        top: float = 0.0,
        dimensions: int | None = 100,
        seed: int = 0,
    ) -> None:
        super().__init__(dimensions, seed)
        if not ridge > 0:
            raise ValueError(f"ridge is {ridge!r}; give a number above 0, such as 1")
        self.options = {"ridge": ridge, "top": top, "dimensions": dimensions, "seed": seed}
        self.ridge, self.top = ridge, top

    def _learn(self, descriptors: Descriptors) -> None:
        n, origin = 0, torch.empty(0)
        total = products = torch.empty(0)
        for batch in descriptors():
            if not n:
                # Sums are taken about the first image, which keeps the digits.
                origin = batch[:1]
                total = torch.zeros_like(batch[0])
                d, places = batch.shape[1], batch.shape[2] * batch.shape[3]
                products = batch.new_zeros(places, d, d)
            centred = batch - origin
            total += centred.sum(0)
            at_places = centred.flatten(2).permute(2, 1, 0)  # (h w, d, B)
            products.baddbmm_(at_places, at_places.transpose(1, 2))
            n += len(batch)
        mean = total / n
        at_means = mean.flatten(1).T
        unbiased = n / max(n - 1, 1)
        variances = products.diagonal(dim1=1, dim2=2) / n - at_means**2
        # A position that never varies is given a little of what the others have, not 0.
        sizes = unbiased * variances.mean(1)
        ridges = self.ridge * sizes.clamp_min(1e-3 * max(float(sizes.mean()), 1e-9))
        for start in range(0, len(products), _AT_ONCE):
            at = slice(start, start + _AT_ONCE)
            centre = at_means[at]
            covariance = unbiased * (products[at] / n - centre[:, :, None] * centre[:, None])
            products[at] = _inverse_root(covariance.double(), ridges[at].double())
        self.register_buffer("mean", mean + origin[0])
        self.register_buffer("factor", products)

    def _check(self) -> None:
        width = self.patches.width
        places = self.mean[0].numel() if self.mean.ndim == 3 else 0
        if self.mean.shape[:1] != (width,) or self.factor.shape != (places, width, width):
            raise ValueError(
                f"mean has shape {tuple(self.mean.shape)} and factor {tuple(self.factor.shape)}; "
                f"they should be ({width}, h, w) and (h · w, {width}, {width})"
            )

    def scores(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of the patches, and scores of the images; see `AnomalyMethod.scores`."""
        if descriptors.shape[1:] != self.mean.shape:
            raise ValueError(
                f"the patches are {descriptors.shape[2]} × {descriptors.shape[3]}, and in fit they "
                f"were {self.mean.shape[1]} × {self.mean.shape[2]}; give images of one input size"
            )
        centred = (descriptors - self.mean).flatten(2).permute(2, 1, 0)  # (h w, d, B)
        distances = torch.bmm(self.factor, centred).pow(2).sum(1).sqrt()
        patches = distances.T.reshape(-1, *self.mean.shape[1:])
        return patches, top_mean(patches, self.top)


Method = Padim


def _inverse_root(covariance: Tensor, ridge: Tensor) -> Tensor:
    """Matrices ``W`` with ``WᵀW`` the inverse of the covariances with their ridges."""
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    lower = torch.linalg.cholesky(covariance + ridge[:, None, None] * eye)
    found: Tensor = torch.linalg.solve_triangular(lower, eye.expand_as(lower), upper=False)
    return found.float()
