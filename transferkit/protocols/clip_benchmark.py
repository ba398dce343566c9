"""The linear layer of LAION's CLIP benchmark, trained by AdamW with a validated weight decay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transferkit.protocols import Array, Geometry, Parts, Probe

__all__ = ["Protocol", "fit"]


@dataclass(frozen=True)
class ClipBenchmark:
    """Rows of length 1 after CLIP's projection (``logits`` in timm); float32, not float16.

    The weight decay is searched only where the dataset has a validation part, else 0.

    References
    ----------
    LAION-AI/CLIP_benchmark, ``metrics/linear_probe.py``.
    """

    geometry: Geometry = Geometry(224, 1.0, "center", "bicubic")
    feature: str = "logits"
    shots: tuple[int, ...] = ()
    lr: float = 0.1
    epochs: int = 10
    batch_size: int = 64
    decades: tuple[int, int] = (-6, 2)
    n_decays: int = 97
    first_step: int = 16
    shortest: float = 1e-12
    draws: bool = True


Protocol = ClipBenchmark


def fit(protocol: ClipBenchmark, parts: Parts, seed: int = 0) -> Probe:
    """Train with the weight decay that is best on the validation part, if there is one."""
    if parts.y.ndim == 2:
        raise ValueError("clip-benchmark is for one label per image; use dinov2-logreg for several")
    if parts.validation is None:
        W, b = _trained(protocol, parts.X, parts.y, 0.0, seed)
        return Probe(lambda rows: _unit(protocol, rows) @ W.T + b, {"weight_decay": 0.0})
    X, y = parts.validation
    decays = np.logspace(*protocol.decades, protocol.n_decays)
    scores: dict[int, float] = {}
    held: dict[int, Array] = {}

    def tried(indices: range | tuple[int, ...]) -> int:
        for i in indices:
            if 0 <= i < len(decays) and i not in scores:
                W, b = _trained(protocol, parts.X, parts.y, float(decays[i]), seed)
                held[i] = _unit(protocol, X) @ W.T + b
                scores[i] = float((held[i].argmax(axis=1) == y).mean())
        return max(sorted(scores), key=lambda i: scores[i])

    step = protocol.first_step
    best = tried(range(0, len(decays), step))
    while step > 1:
        step //= 2
        best = tried((best - step, best + step))
    W, b = _trained(protocol, *parts.merged(), float(decays[best]), seed)
    return Probe(
        lambda rows: _unit(protocol, rows) @ W.T + b,
        {"weight_decay": float(decays[best]), "validation_score": scores[best]},
        on_edge=best in (0, len(decays) - 1),
        held=(held[best], y),
    )


def _unit(protocol: ClipBenchmark, X: Array) -> Array:
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return np.asarray(X / np.maximum(length, protocol.shortest))


def _trained(
    protocol: ClipBenchmark, X: Array, y: Array, decay: float, seed: int
) -> tuple[Array, Array]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    rows, codes = torch.tensor(_unit(protocol, X)), torch.tensor(y)
    n_classes, d = int(codes.max()) + 1, rows.shape[1]
    bound = d**-0.5  # as nn.Linear draws its start
    weight, bias = (
        (2 * torch.rand(shape, generator=generator, dtype=rows.dtype) - 1) * bound
        for shape in ((n_classes, d), (n_classes,))
    )
    weight.requires_grad_()
    bias.requires_grad_()
    solver = torch.optim.AdamW([weight, bias], lr=protocol.lr, weight_decay=decay)
    n_batches = -(-len(rows) // protocol.batch_size)
    steps = protocol.epochs * n_batches
    for step in range(steps):
        if step % n_batches == 0:
            order = torch.split(torch.randperm(len(rows), generator=generator), protocol.batch_size)
        batch = order[step % n_batches]
        for group in solver.param_groups:
            group["lr"] = 0.5 * (1 + np.cos(np.pi * step / steps)) * protocol.lr
        solver.zero_grad()
        loss = torch.nn.functional.cross_entropy(rows[batch] @ weight.T + bias, codes[batch])
        torch.autograd.backward(loss)
        solver.step()
    return weight.detach().numpy(), bias.detach().numpy()
