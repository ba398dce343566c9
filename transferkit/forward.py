"""One batch through a backbone: pixels → rows, on a device and in a numeric class."""

from __future__ import annotations

import contextlib
import functools
import platform
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from transferkit.backbones import Backbone, build_backbone
from transferkit.pooling import FeatureName, pool
from transferkit.spec import BackboneSpec

__all__ = ["DEVICES", "Forward", "check_device_name", "choose_device"]

DEVICES = ("auto", "cpu", "cuda", "mps")
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str = "auto") -> torch.device:
    """Device to compute on.

    Parameters
    ----------
    device : str, default="auto"
        ``"auto"`` takes a GPU when there is one, else the CPU; ``"cpu"``, ``"cuda"``,
        ``"cuda:1"``, ``"mps"``.

    Raises
    ------
    ValueError
        If there's no such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    check_device_name(device)
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {device!r} can't be used on this machine "
            f"({str(error).splitlines()[0]}); choose 'auto' or 'cpu'"
        ) from error
    return chosen


def check_device_name(device: str) -> None:
    """Raise a ValueError if there's no such kind of device anywhere."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise ValueError(f"device is {device!r}; choose one of {', '.join(DEVICES)}, cuda:N")


class Forward:
    """A backbone on a device, in a numeric class, giving the rows of some features.

    Parameters
    ----------
    backbone : Backbone or BackboneSpec
        A spec is built now; the last one built is kept for the next call.
    features : sequence of FeatureName
        What to compute, all from one pass.
    device : str, default="auto"
        See `choose_device`.
    precision : {"float32", "bf16", "fp16"}, default="float32"
        Numeric class; it is kept to, or an error is raised.

    Raises
    ------
    ValueError
        If a feature doesn't exist, or the device doesn't have the class.
    """

    def __init__(
        self,
        backbone: Backbone | BackboneSpec,
        features: Sequence[FeatureName],
        *,
        device: str = "auto",
        precision: str = "float32",
    ) -> None:
        self.device = choose_device(device)
        if precision == "fp16" and self.device.type == "cpu":
            raise ValueError("precision 'fp16' needs a GPU; on the CPU choose 'float32' or 'bf16'")
        self.precision = precision
        self.features = list(features)
        layers = tuple(sorted({feature.source for feature in self.features}))
        if isinstance(backbone, BackboneSpec):
            backbone = _built(backbone.to_json(), layers)
        for feature in self.features:
            backbone.check_layer(feature.source, class_token=feature.needs_class_token)
        self.backbone = backbone.to(self.device)
        self.layers = layers

    def rows(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Rows of every feature.

        Parameters
        ----------
        pixels : ndarray
            uint8, ``(B, H, W, 3)``.

        Returns
        -------
        dict of str to ndarray
            Feature name to float32 rows, ``(B, d)`` or ``(B, D, H, W)``.
        """
        batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).contiguous()
        try:
            with torch.inference_mode(), self._numeric_class():
                maps = self.backbone(self.backbone.normalize(batch), self.layers)
                return {str(f): pool(maps, f).float().cpu().numpy() for f in self.features}
        except RuntimeError as error:
            raise self._explained(error, pixels.shape) from error

    def _explained(self, error: RuntimeError, shape: tuple[int, ...]) -> Exception:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, torch.OutOfMemoryError):
            return RuntimeError(
                f"{self.device} has not enough memory for {shape[0]} images at once; give a "
                f"smaller batch size (--batch-size)"
            )
        return ValueError(
            f"backbone {self.backbone.name!r} failed on {shape[0]} images of {shape[1]} × "
            f"{shape[2]} px ({reason}); if the size doesn't suit it, choose another image_size "
            f"(--image-size)"
        )

    def provenance(self) -> dict[str, str]:
        """Where the numbers come from: what may move them within rounding."""
        import timm

        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = platform.processor() or platform.machine()
        return {
            "backbone": self.backbone.name,
            "device": f"{self.device.type} ({name})",
            "engine": "torch",
            "threads": str(torch.get_num_threads()),
            "torch": torch.__version__,
            "timm": timm.__version__,
        }

    @contextlib.contextmanager
    def _numeric_class(self) -> Iterator[None]:
        if self.precision != "float32":
            with torch.autocast(self.device.type, dtype=_AUTOCAST[self.precision]):
                yield
            return
        if self.device.type != "cuda":
            yield
            return
        # cuDNN computes convolutions in TF32 unless told otherwise: ten bits of mantissa,
        # far outside the float32 class.
        backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
        before = [backend.allow_tf32 for backend in backends]
        try:
            for backend in backends:
                backend.allow_tf32 = False
            yield
        finally:
            for backend, allowed in zip(backends, before, strict=True):
                backend.allow_tf32 = allowed


@functools.lru_cache(maxsize=1)
def _built(spec: str, layers: tuple[str, ...]) -> Backbone:
    return build_backbone(BackboneSpec.from_json(spec), layers=layers)
