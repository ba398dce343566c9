"""The network's outputs for images that it isn't trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.finetune.objective import Objective
from transferkit.finetune.processes import Processes
from transferkit.finetune.samples import Samples, batches

__all__ = ["outputs_of"]

BATCH = 64


@torch.no_grad()
def outputs_of(
    network: nn.Module,
    samples: Samples,
    objective: Objective,
    processes: Processes,
    precision: str = "float32",
) -> Tensor:
    """Outputs for every sample, plain, in order; each process computes its share.

    Parameters
    ----------
    network : nn.Module
        Put in eval mode for it, and back after.
    samples : Samples
        Where the inputs come from.
    objective : Objective
        How many outputs there are.
    processes : Processes
        All get all outputs.
    precision : str, default="float32"
        Numeric class of the forward pass.

    Returns
    -------
    Tensor of shape (n, n_outputs)
        float32, on the CPU.
    """
    was_training = network.training
    network.eval()
    shares = [np.arange(len(samples))[rank :: processes.count] for rank in range(processes.count)]
    own = shares[processes.rank]
    rows = [own[first : first + BATCH] for first in range(0, len(own), BATCH)]
    found = [torch.zeros((0, objective.n_outputs))]
    for inputs in batches(samples, rows, None, processes.n_workers):
        with processes.numeric_class(precision):
            found.append(network(inputs.to(processes.device)).float().cpu())
    network.train(was_training)
    gathered = processes.gather(torch.cat(found))
    ordered = torch.empty_like(gathered)
    ordered[torch.from_numpy(np.concatenate(shares))] = gathered
    return ordered
