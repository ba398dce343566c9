"""What the modules of heads share, and how they are told what they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["TensorHead", "squared_distances", "two_columns", "unit"]


class TensorHead(nn.Module):
    """A head as a module; `kind` says what it gives.

    Parameters
    ----------
    kind : {"probabilities", "scores", "values"}
        What `forward` returns, ``(B, n_outputs)``. A classifier of two classes without
        probabilities gives 0 for the first and its score for the second.
    has_jumps : bool, default=False
        Whether a small change of the features can be a large one of the output.
    """

    def __init__(self, kind: str, *, has_jumps: bool = False) -> None:
        super().__init__()
        self.kind = kind
        self.has_jumps = has_jumps

    def keep(self, name: str, value: Any) -> None:
        """Register an array of the head as a float32 constant."""
        self.register_buffer(name, torch.tensor(np.asarray(value, np.float32)))


def two_columns(scores: Tensor) -> Tensor:
    """The second class's score against 0, as a score for each."""
    return torch.cat((torch.zeros_like(scores), scores), dim=1)


def unit(rows: Tensor) -> Tensor:
    """Rows scaled to length 1; a row of zeros stays."""
    largest = rows.abs().amax(dim=1, keepdim=True)
    scaled = rows / torch.where(largest > 0, largest, 1.0)
    length = scaled.square().sum(dim=1, keepdim=True).sqrt()
    return scaled / torch.where(length > 0, length, 1.0)


def squared_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Squared distance of every row to every other one, ``(B, n_others)``."""
    # |a - b|² = |a|² - 2ab + |b|²
    products = rows @ others.T
    lengths = rows.square().sum(dim=1, keepdim=True)
    return (lengths - 2 * products + others.square().sum(dim=1)).clamp(min=0)
