"""The engine of OpenVINO, an extra, which is faster on CPUs than PyTorch for most networks."""

from __future__ import annotations

import importlib.util
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from transferkit.forward.torch_engine import Rows, TorchEngine
from transferkit.pooling import FeatureName

__all__ = ["OpenVinoEngine", "is_installed"]

_HINTS = {"float32": "f32", "bf16": "bf16"}


def is_installed() -> bool:
    """Whether OpenVINO is installed. Nothing is imported."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoEngine:
    """A network from pixels to rows, compiled by OpenVINO.

    Parameters
    ----------
    exact : TorchEngine
        On the CPU in float32; what is converted.
    features : sequence of FeatureName
        What to compute.
    precision : {"float32", "bf16"}
        Numeric class.
    n_callers, n_threads : int
        How many threads will call at once, and with how many each is computed.

    Raises
    ------
    ValueError
        If OpenVINO isn't installed, or can't convert the network.
    """

    name = "openvino"

    def __init__(
        self,
        exact: TorchEngine,
        features: Sequence[FeatureName],
        precision: str,
        n_callers: int,
        n_threads: int,
    ) -> None:
        if not is_installed():
            raise ValueError(
                "engine 'openvino' isn't installed; run pip install 'transferkit[openvino]', or "
                "choose engine 'torch'"
            )
        self.exact, self.features = exact, list(features)
        self.precision, self.n_callers, self.n_threads = precision, n_callers, n_threads
        self._models: dict[int, Any] = {}
        self._lock = threading.Lock()
        self._requests = threading.local()

    def _compiled(self, size: int) -> Any:
        """Model of one batch size: networks that reshape by it can't be traced for all."""
        import openvino

        with self._lock:
            if size not in self._models:
                example = self.exact.example(size)
                try:
                    with torch.no_grad(), warnings.catch_warnings():
                        # OpenVINO converts through torch's tracer, which is deprecated and warns
                        # that shapes become constants: here they are.
                        warnings.simplefilter("ignore")
                        model = openvino.convert_model(
                            Rows(self.exact, self.features), example_input=example
                        )
                    model.reshape(list(example.shape))
                    self._models[size] = openvino.Core().compile_model(
                        model,
                        "CPU",
                        {
                            "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
                            "NUM_STREAMS": self.n_callers,
                            "INFERENCE_NUM_THREADS": self.n_callers * self.n_threads,
                        },
                    )
                except Exception as error:  # its frontend raises whatever it meets
                    raise ValueError(
                        f"OpenVINO can't convert this network "
                        f"({' '.join(str(error).split())[:200]}); choose engine 'torch'"
                    ) from error
            return self._models[size]

    def __call__(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the rows of every feature.

        Parameters
        ----------
        pixels : ndarray
            ``(B, H, W, C)`` from 0 to 255, uint8 or float32; see `network_input`.
        """
        compiled = self._compiled(len(pixels))
        requests: dict[str, Any] = self._requests.__dict__  # this thread's own
        size = str(len(pixels))
        if size not in requests:
            requests[size] = compiled.create_infer_request()
        request = requests[size]
        request.infer([np.ascontiguousarray(pixels)])
        return {
            str(feature): request.get_output_tensor(i).data.astype(np.float32, copy=True)
            for i, feature in enumerate(self.features)
        }
