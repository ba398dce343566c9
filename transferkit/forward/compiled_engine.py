"""The engine of PyTorch's compiler, which fuses kernels, for many images on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from transferkit.forward.torch_engine import Rows, TorchEngine
from transferkit.pooling import FeatureName

__all__ = ["CompiledEngine"]

BACKEND = "inductor"


class CompiledEngine:
    """A network from pixels to rows, compiled by ``torch.compile``.

    Compiling takes from 10 s to 2 minutes. What is compiled is the whole pass in one graph,
    which keeps no state: any number of threads may call it. Functions that were compiled in
    this process before are forgotten, and compiled again when they are called.

    Parameters
    ----------
    plain : TorchEngine
        What is compiled, in its numeric class.
    features : sequence of FeatureName
        What to compute.

    References
    ----------
    Ansel et al. (2024), "PyTorch 2: faster machine learning through dynamic Python bytecode
    transformation and graph compilation".
    """

    name = "compile"

    def __init__(self, plain: TorchEngine, features: Sequence[FeatureName]) -> None:
        self.plain, self.features = plain, list(features)
        # torch compiles at most eight versions of one function, so older ones are forgotten here.
        torch.compiler.reset()
        self._compiled = torch.compile(Rows(plain, self.features), fullgraph=True, backend=BACKEND)

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the rows of every feature. Call this in inference mode.

        Parameters
        ----------
        pixels : ndarray
            ``(B, H, W, C)`` from 0 to 255, uint8 or float32; see `network_input`.

        Raises
        ------
        ValueError
            If the network can't be compiled.
        """
        with self.plain.placed(pixels) as batch, self.plain.numeric_class():
            try:
                rows = self._compiled(batch)
            except torch._dynamo.exc.TorchDynamoException as error:
                raise ValueError(
                    f"torch.compile can't compile this network "
                    f"({' '.join(str(error).split())[:200]}); choose engine 'torch'"
                ) from error
            return {
                str(feature): row.cpu().numpy()
                for feature, row in zip(self.features, rows, strict=True)
            }
