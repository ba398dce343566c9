"""PatchCore: how far the patches of an image are from the nearest of a few good ones.

References
----------
Roth et al. (2022), "Towards total recall in industrial anomaly detection", section 3.
Sener & Savarese (2018), "Active learning for convolutional neural networks: a core-set
approach", algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transferkit.dense.anomaly._method import AnomalyMethod, Descriptors, top_mean
from transferkit.dense.anomaly._nearest import nearest, sampled

__all__ = ["Method", "PatchCore", "greedy_coreset"]


class PatchCore(AnomalyMethod):
    """Keep a coreset of the good patches; a patch far from all of it is strange.

    A patch's score is its distance to the nearest patch kept. For the image's score each
    distance is divided by how far that nearest one is from its own nearest ones, as in equation
    7 of the paper: a distance means less where good patches are rare. The image's score is the
    mean of its highest such ratios.

    Parameters
    ----------
    share : float, default=0.01
        Share of the good patches that is kept.
    least, most : int, default=5000 and 20000
        Number of patches that are kept at least and at most.
    sample : int, default=100000
        Number of patches, drawn from all images alike, that the coreset is chosen from.
    neighbours : int, default=9
        Nearest ones by which the density of the good patches is measured.
    top : float, default=0.003
        Share of the patches whose mean is the image's score; one patch at least.
    dimensions : int or None, default=256
        Numbers of a patch's descriptor at most.
    seed : int, default=0
        Of the sample, the projections and the coreset's first patch.

    Examples
    --------
    >>> from transferkit.maps import FeatureMaps
    >>> random = torch.Generator().manual_seed(0)
    >>> good = torch.randn(8, 4, 6, 6, generator=random)
    >>> maps = lambda x: FeatureMaps({"a": x}, {"a": 8})
    >>> method = PatchCore().fit(lambda: iter([maps(good)]))
    >>> strange = good[:1].clone()
    >>> strange[:, :, 2:4, 2:4] += 9
    >>> patches, images = method(maps(torch.cat([good[:1], strange])))
    >>> bool(images[1] > images[0]), patches[1].argmax().item() // 6 in (1, 2, 3, 4)
    (True, True)
    """

    learnt = ("bank", "spacing")
    bank: Tensor
    spacing: Tensor

    def __init__(
        self,
        *,
        share: float = 0.01,
        least: int = 5000,
        most: int = 20_000,
        sample: int = 100_000,
        neighbours: int = 9,
        top: float = 0.003,
        dimensions: int | None = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(dimensions, seed)
        if not 0 < share <= 1 or not 1 <= least <= most:
            raise ValueError(
                f"share is {share!r}, least {least!r} and most {most!r}; give a share above 0 and "
                "at most 1, and 1 ≤ least ≤ most"
            )
        self.options = {
            "share": share, "least": least, "most": most, "sample": sample,
            "neighbours": neighbours, "top": top, "dimensions": dimensions, "seed": seed,
        }  # fmt: skip
        self.share, self.least, self.most, self.sample = share, least, most, sample
        self.neighbours, self.top = neighbours, top

    def _learn(self, descriptors: Descriptors) -> None:
        random = torch.Generator().manual_seed(self.seed)
        n_each = max(1, self.sample // self.patches.n_images)
        drawn = torch.cat([sampled(batch, n_each, random) for batch in descriptors()])
        wanted = max(self.least, round(self.share * self.patches.n_patches))
        chosen = greedy_coreset(drawn, min(wanted, self.most), seed=self.seed)
        self.register_buffer("bank", drawn[chosen].contiguous())
        self.register_buffer("spacing", self._spacing(self.bank))

    def _spacing(self, bank: Tensor) -> Tensor:
        """Mean distance of each member to the nearest others."""
        if len(bank) < 2:
            return torch.ones(len(bank), device=bank.device)
        k = self.neighbours + 1  # each is the nearest to itself
        parts = [nearest(part, bank, k)[0] for part in torch.split(bank, 4096)]
        spacing = torch.cat(parts)[:, 1:].mean(1)
        # Members almost on one another must not make any distance endless.
        floor = 0.05 * float(spacing.median())
        return spacing.clamp_min(floor if floor > 0 else 1.0)

    def _check(self) -> None:
        width = self.patches.width
        if self.bank.ndim != 2 or self.bank.shape[1] != width:
            raise ValueError(f"bank has shape {tuple(self.bank.shape)}; it should be (n, {width})")
        if self.spacing.shape != self.bank.shape[:1] or not (self.spacing > 0).all():
            raise ValueError("spacing isn't one positive number for each member of the bank")

    def scores(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Distances of the patches, and scores of the images; see `AnomalyMethod.scores`."""
        n, width, height, breadth = descriptors.shape
        flat = descriptors.permute(0, 2, 3, 1).reshape(-1, width)
        distances, at = nearest(flat, self.bank, 1)
        shape = (n, height, breadth)
        ratios = (distances[:, 0] / self.spacing[at[:, 0]]).reshape(shape)
        return distances[:, 0].reshape(shape), top_mean(ratios, self.top)


Method = PatchCore


def greedy_coreset(vectors: Tensor, n: int, *, projected: int = 32, seed: int = 0) -> Tensor:
    """Choose vectors one by one, each the farthest from those that are chosen already.

    Parameters
    ----------
    vectors : Tensor of shape (m, d)
        What is chosen from.
    n : int
        How many; fewer where the rest are copies of those chosen.
    projected : int, default=32
        Dimensions of the random projection in which distances are measured.
    seed : int, default=0
        Of the projection and the first vector.

    Returns
    -------
    Tensor of int
        Positions, in the order of choice.

    Examples
    --------
    >>> greedy_coreset(torch.tensor([[0.0], [1.0], [9.0], [9.0]]), 2).tolist() in ([0, 2], [2, 0],
    ...     [3, 0], [1, 2])
    True
    """
    random = torch.Generator().manual_seed(seed)
    if vectors.shape[1] > projected:
        matrix = torch.randn(vectors.shape[1], projected, generator=random) / projected**0.5
        vectors = vectors @ matrix.to(vectors)
    squares = (vectors * vectors).sum(1)
    at = torch.randint(len(vectors), (1,), generator=random).to(vectors.device)[0]
    chosen = [at]
    distances = torch.full_like(squares, torch.inf)
    for _ in range(min(n, len(vectors)) - 1):
        new = torch.addmv(squares + squares[at], vectors, vectors[at], alpha=-2)
        distances = torch.minimum(distances, new)
        distances[at] = 0
        at = distances.argmax()
        chosen.append(at)
    # Once only copies are left, the first of equal distances, 0, is chosen again and again.
    found = list(dict.fromkeys(torch.stack(chosen).tolist()))
    return torch.tensor(found, device=vectors.device)
