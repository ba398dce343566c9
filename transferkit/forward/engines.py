"""Caches of networks and engines for the next call, and their release.

Building a network, converting and compiling it take seconds. The last ones are kept, so that
the next call with the same backbone and features has them ready.
"""

from __future__ import annotations

import functools
import gc

import torch

from transferkit.backbones import Backbone, build_backbone
from transferkit.forward.compiled_engine import CompiledEngine
from transferkit.forward.openvino_engine import OpenVinoEngine
from transferkit.forward.torch_engine import TorchEngine
from transferkit.pooling import FeatureName
from transferkit.spec import BackboneSpec

__all__ = ["built_backbone", "clear", "compiled_engine", "openvino_engine", "torch_engine"]


@functools.lru_cache(maxsize=1)
def built_backbone(spec: str, layers: tuple[str, ...]) -> Backbone:
    """Build a backbone from its spec's JSON, for some layers."""
    return build_backbone(BackboneSpec.from_json(spec), layers=layers)


# Two are kept: the one that computes, and the one in float32 that it is compared with.
@functools.lru_cache(maxsize=2)
def torch_engine(
    backbone: Backbone, layers: tuple[str, ...], device: torch.device, precision: str
) -> TorchEngine:
    """Make PyTorch's engine."""
    return TorchEngine(backbone, layers, device, precision)


@functools.lru_cache(maxsize=1)
def compiled_engine(
    backbone: Backbone,
    layers: tuple[str, ...],
    features: tuple[FeatureName, ...],
    device: torch.device,
    precision: str,
) -> CompiledEngine:
    """Make the engine of ``torch.compile``."""
    plain = TorchEngine(backbone, layers, device, precision, is_traced=True)
    return CompiledEngine(plain, features)


@functools.lru_cache(maxsize=1)
def openvino_engine(
    backbone: Backbone,
    layers: tuple[str, ...],
    features: tuple[FeatureName, ...],
    precision: str,
    threads: tuple[int, int],
) -> OpenVinoEngine:
    """Make OpenVINO's engine."""
    # The network is traced in float32; bf16 is an option of OpenVINO's.
    exact = TorchEngine(backbone, layers, torch.device("cpu"), "float32", is_traced=True)
    return OpenVinoEngine(exact, features, precision, *threads)


def clear() -> None:
    """Release the networks and engines that are kept, with a GPU's memory.

    The next call builds what it needs again. What is in use elsewhere stays. Functions that
    ``torch.compile`` has compiled are compiled again when they are called, if one was kept.

    Examples
    --------
    >>> from transferkit import forward
    >>> forward.clear()
    """
    has_compiled = compiled_engine.cache_info().currsize > 0
    for kept in (built_backbone, torch_engine, compiled_engine, openvino_engine):
        kept.cache_clear()
    if has_compiled:
        torch.compiler.reset()
    gc.collect()  # networks refer to themselves, through their hooks
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
