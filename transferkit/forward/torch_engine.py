"""The engine of PyTorch's own kernels, with which every other engine is compared."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transferkit.backbones import Backbone
from transferkit.forward import fusing
from transferkit.forward.folding import REFUSALS, folded, relative_error, shallow_copy
from transferkit.maps import FeatureMaps
from transferkit.pooling import FeatureName, pool

__all__ = ["Rows", "TorchEngine", "outputs_of"]

# Where activations are rounded, features move by some per cent in bf16; what is wrong, by more.
_BF16_TOLERANCE = 0.1
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
# Statistics and scales of these stay float32, which costs no time; rounding would move features.
_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


class TorchEngine:
    """A backbone's network made fast within its numeric class, for any number of threads.

    On a CPU batch norms are folded, and activations go into the layers before them;
    convolutions run in the channels-last layout; bf16 on a CPU is the network's weights in
    bf16, on a GPU autocast. The backbone stays as it is.

    Parameters
    ----------
    backbone : Backbone
        What is computed.
    layers : sequence of str
        Layers that are wanted.
    device : torch.device
        Where.
    precision : {"float32", "bf16", "fp16"}
        Numeric class.
    is_traced : bool, default=False
        Whether it is only to be converted: then it keeps to layers that others know.
    """

    name = "torch"

    def __init__(
        self,
        backbone: Backbone,
        layers: Sequence[str],
        device: torch.device,
        precision: str,
        *,
        is_traced: bool = False,
    ) -> None:
        self.layers = set(layers)
        self.device = device
        self.dtype = _DTYPES.get(precision)
        preprocess = backbone.preprocess
        self._is_rgb = preprocess.is_rgb
        self._image = torch.zeros(1, len(preprocess.mean), *preprocess.image_size)
        shape = (1, len(preprocess.mean), 1, 1)
        # (p / 255 - mean) / std with one pass less.
        self._shift = 255 * torch.tensor(preprocess.mean, device=device).view(shape)
        self._scale = 1 / (255 * torch.tensor(preprocess.std, device=device).view(shape))
        network = backbone.network
        self.is_folded = self.is_fused = self.is_pure = False
        fusions = None
        if next(network.parameters(), self._image).device.type == "cpu":
            with contextlib.suppress(RuntimeError, ValueError, AssertionError):
                # Of this size, say; it is explained at the first batch.
                network = self._folded(network)
                if device.type == "cpu" and not is_traced:
                    fusions = fusing.find_fusions(network, self._outputs)
        self._network = self._placed(network)
        if fusions is not None and (self.dtype is None or self.is_pure):
            self._fuse(fusions)
        # Networks may keep state while they run (hooks, caches), so no two threads share one.
        self._idle: queue.SimpleQueue[nn.Module] = queue.SimpleQueue()
        self._lock = threading.Lock()

    def _folded(self, network: nn.Module) -> nn.Module:
        changed = folded(network, self._outputs)
        self.is_folded = changed is not network
        return changed

    def _fuse(self, fusions: fusing.Fusions) -> None:
        """Fuse layers that are right in float32, if this processor has the class's kernels."""
        try:
            changed = fusing.fuse(self._network, fusions)
            if self.is_pure:
                pairs = zip(self._outputs(changed), self._outputs(self._network), strict=True)
                if not all(relative_error(f, e) <= _BF16_TOLERANCE for f, e in pairs):
                    return
        except REFUSALS:
            return
        self._network, self.is_fused = changed, True

    def _outputs(self, network: nn.Module) -> list[Tensor]:
        """Run a network on noise, in its own numeric class or without it."""
        noise = torch.randn(self._image.shape, generator=torch.Generator().manual_seed(0))
        dtype = self.dtype if self.is_pure else None
        with torch.no_grad():
            return outputs_of(network(noise.to(dtype or noise.dtype), self.layers))

    def _placed(self, network: nn.Module) -> nn.Module:
        if self.dtype is not None and self.device.type == "cpu":
            pure = _converted(network, self.device, self.dtype)
            try:
                with torch.inference_mode():
                    pure(self._image.to(self.dtype), self.layers)
            # It makes float32 tensors of its own: autocast. Or the size doesn't suit it: explained
            # at the first batch.
            except (RuntimeError, ValueError, AssertionError):
                pass
            else:
                self.is_pure = True
                return pure
        return _converted(network, self.device, None)

    def __call__(self, pixels: np.ndarray) -> FeatureMaps:
        """Compute all features in one pass. Call this in inference mode.

        Parameters
        ----------
        pixels : ndarray
            ``(B, H, W, C)`` from 0 to 255, uint8 or float32; see `network_input`.
        """
        with self.placed(pixels) as batch, self.numeric_class(), self._borrowed() as network:
            maps = network(self.normalised(batch), self.layers)
        assert isinstance(maps, FeatureMaps)
        return maps

    @contextlib.contextmanager
    def placed(self, pixels: np.ndarray) -> Iterator[Tensor]:
        """Move pixels to the device, which is the current device during the block."""
        batch = torch.from_numpy(pixels)
        if self.device.type != "cuda":
            yield batch.to(self.device)
            return
        # Without a current device, pinning memory on this thread would use the first GPU.
        with torch.cuda.device(self.device):
            yield batch.pin_memory().to(self.device, non_blocking=True)

    def normalised(self, pixels: Tensor) -> Tensor:
        """Turn pixels ``(B, H, W, C)``, 0 to 255, into the network's input ``(B, C, H, W)``."""
        # Permuted like this, they are in the channels-last layout already. Of float32 pixels it
        # is a copy too, which may be changed.
        images = pixels.permute(0, 3, 1, 2).to(torch.float32, copy=True)
        images = images.sub_(self._shift).mul_(self._scale)
        return images.to(self.dtype) if self.is_pure else images

    def example(self, n: int) -> Tensor:
        """Black pixels of a batch, of the shape and type that `network_input` gives."""
        _, n_channels, height, width = self._image.shape
        dtype = torch.uint8 if self._is_rgb else torch.float32
        return torch.zeros(n, height, width, n_channels, dtype=dtype)

    def copy_network(self) -> nn.Module:
        """Return a copy of the network for one thread's own use. It shares the weights."""
        with self._lock:
            return shallow_copy(self._network)

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[nn.Module]:
        try:
            network = self._idle.get_nowait()
        except queue.Empty:
            network = self.copy_network()
        try:
            yield network
        finally:
            self._idle.put(network)

    @contextlib.contextmanager
    def numeric_class(self) -> Iterator[None]:
        """Autocast, or none, and TF32 off."""
        if self.dtype is not None and not self.is_pure:
            with torch.autocast(self.device.type, dtype=self.dtype):
                yield
        elif self.device.type == "cuda":
            with _TF32_OFF:
                yield
        else:
            yield


class Rows(nn.Module):
    """A module from pixels to a tuple of rows, for tracing and compiling.

    Parameters
    ----------
    engine : TorchEngine
        What gives the maps.
    features : list of FeatureName
        What to compute.
    """

    def __init__(self, engine: TorchEngine, features: list[FeatureName]) -> None:
        super().__init__()
        self.engine, self.features = engine, features
        self.network = engine.copy_network()

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Rows of every feature, float32."""
        maps = self.network(self.engine.normalised(pixels), self.engine.layers)
        return tuple(pool(maps, feature).float() for feature in self.features)


class _Tf32Off:
    """cuDNN computes convolutions in TF32 unless told otherwise: ten bits of mantissa.

    That is far outside the float32 class. The switch is the process's: the first thread in
    turns it, the last one out puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[bool] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [backend.allow_tf32 for backend in _backends()]
                for backend in _backends():
                    backend.allow_tf32 = False
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for backend, allowed in zip(_backends(), self._before, strict=True):
                    backend.allow_tf32 = allowed


_TF32_OFF = _Tf32Off()


def _backends() -> tuple[Any, ...]:
    return torch.backends.cudnn, torch.backends.cuda.matmul


def _converted(network: nn.Module, device: torch.device, dtype: torch.dtype | None) -> nn.Module:
    """Copy a network to a device and type, its convolutions channels-last."""
    network = shallow_copy(network)
    done: dict[int, Tensor] = {}

    def convert(tensor: Tensor, *, is_norm: bool) -> Tensor:
        if id(tensor) not in done:
            wanted = dtype if dtype and tensor.is_floating_point() and not is_norm else tensor.dtype
            layout = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
            done[id(tensor)] = tensor.detach().to(device, wanted, memory_format=layout)
        return done[id(tensor)]

    for module in network.modules():
        is_norm = isinstance(module, _NORMS)
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                changed = convert(parameter, is_norm=is_norm)
                module._parameters[name] = nn.Parameter(changed, requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = convert(buffer, is_norm=is_norm)
    return network


def outputs_of(maps: FeatureMaps) -> list[Tensor]:
    """All tensors of a pass, in a fixed order."""
    heads = [head for head in (maps.pre_logits, maps.logits) if head is not None]
    return [*maps.maps.values(), *maps.prefix.values(), *heads]
