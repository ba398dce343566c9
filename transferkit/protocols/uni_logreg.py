"""Logistic regression of UNI: one fixed strength, on the penalty's root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.protocols import Geometry, Parts, Probe

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class UniLogisticRegression:
    """Mean loss plus ``0.5 ‖W‖ / C`` with C = features × classes / 100: the norm not squared.

    References
    ----------
    Chen et al. (2024), "Towards a general-purpose foundation model for computational
    pathology", and its code.
    """

    geometry: Geometry = Geometry(224, 1.0, "center", "bilinear")
    feature: str = "pre_logits"
    shots: tuple[int, ...] = ()
    max_iter: int = 1000
    penalty: float = 0.5
    products_per_C: int = 100
    start: float = 1e-3
    draws: bool = False


Protocol = UniLogisticRegression


def fit(protocol: UniLogisticRegression, parts: Parts, seed: int = 0) -> Probe:
    """L-BFGS with strong Wolfe steps on training and validation rows together."""
    import torch

    if parts.y.ndim == 2:
        raise ValueError("uni-logreg is for one label per image; use dinov2-logreg for several")
    X, y = parts.merged()
    C = X.shape[1] * parts.n_classes / protocol.products_per_C
    rows, codes = torch.tensor(X), torch.tensor(y)
    # The norm has no gradient at zero, so start near it. The problem is convex: any start will do.
    generator = torch.Generator().manual_seed(0)
    shape = parts.n_classes, X.shape[1]
    weight = protocol.start * torch.randn(shape, generator=generator, dtype=rows.dtype)
    weight.requires_grad_()
    bias = torch.zeros(parts.n_classes, dtype=rows.dtype, requires_grad=True)
    solver: Any = torch.optim.LBFGS(
        [weight, bias], max_iter=protocol.max_iter, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss: torch.Tensor = torch.nn.functional.cross_entropy(rows @ weight.T + bias, codes)
        loss = loss + protocol.penalty * torch.linalg.vector_norm(weight) / C
        torch.autograd.backward(loss)
        return loss

    solver.step(closure)
    W, b = weight.detach().numpy(), bias.detach().numpy()
    n_iter = int(solver.state[weight].get("n_iter", 0))
    return Probe(
        lambda given: np.asarray(given @ W.T + b),
        {"C": C, "n_iter": n_iter},
        converged=n_iter < protocol.max_iter,
    )
