"""Run one batch through a backbone on a device, in a numeric class, with an engine."""

from __future__ import annotations

import functools
import logging
import platform
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from transferkit.backbones import Backbone
from transferkit.forward import engines
from transferkit.forward.compiled_engine import CompiledEngine
from transferkit.forward.devices import (
    DEVICES,
    choose_device,
    device_names,
    has_fast_bf16,
)
from transferkit.forward.engines import clear
from transferkit.forward.openvino_engine import OpenVinoEngine, is_installed
from transferkit.forward.torch_engine import TorchEngine
from transferkit.pooling import FeatureName, pool
from transferkit.spec import BackboneSpec

__all__ = [
    "DEVICES",
    "ENGINES",
    "Forward",
    "check_engine_name",
    "choose_device",
    "clear",
    "device_names",
    "has_fast_bf16",
]

ENGINES = ("auto", "torch", "compile", "openvino")
# Largest relative difference from torch in float32. Above it torch replaces another engine.
_TOLERANCE = 1e-4
# Converting a network takes as long as some hundred images. In float32 both engines are equally
# quick on most networks, so rows always come from the same one, for any number of images.
_WORTH_CONVERTING = 500

logger = logging.getLogger(__name__)


def check_engine_name(engine: str) -> None:
    """Raise a ValueError if there's no such engine."""
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; choose one of {', '.join(ENGINES)}")


class Forward:
    """A backbone on a device, in a numeric class, that computes the rows of some features.

    Any number of threads may call `rows` at once. Whatever isn't PyTorch in float32 is
    compared with it on the first batch: `agreement` tells the result.

    Parameters
    ----------
    backbone : Backbone or BackboneSpec
        A spec is built now; the last one built is kept for the next call, until `clear`.
    features : sequence of FeatureName
        What to compute, all from one pass.
    device : str, default="auto"
        See `choose_device`.
    precision : {"float32", "bf16", "fp16"}, default="float32"
        Numeric class; it is kept to, or an error is raised.
    engine : {"auto", "torch", "compile", "openvino"}, default="auto"
        What computes; ``"auto"`` is OpenVINO in bf16 on a CPU if it is installed and there are
        500 images or more, else PyTorch. ``"compile"`` is ``torch.compile``: it takes 10 s to 2
        minutes to begin, so it is of use for very many images, on a GPU above all.
    n_images : int, default=0
        How many images there are to be computed, by which ``"auto"`` decides.
    n_callers : int, default=1
        How many threads will call `rows` at once; each computes with as many threads as
        PyTorch has where this object is made.

    Raises
    ------
    ValueError
        If a feature doesn't exist, or the device doesn't have the class or the engine.
    """

    def __init__(
        self,
        backbone: Backbone | BackboneSpec,
        features: Sequence[FeatureName],
        *,
        device: str = "auto",
        precision: str = "float32",
        engine: str = "auto",
        n_images: int = 0,
        n_callers: int = 1,
    ) -> None:
        check_engine_name(engine)
        self.device = choose_device(device)
        is_cpu = self.device.type == "cpu"
        if precision == "fp16" and is_cpu:
            raise ValueError("precision 'fp16' needs a GPU; on the CPU choose 'float32' or 'bf16'")
        if engine == "openvino" and not is_cpu:
            raise ValueError("engine 'openvino' computes on the CPU; add device 'cpu' or leave it")
        if engine == "auto":
            is_worth = is_cpu and precision == "bf16" and n_images >= _WORTH_CONVERTING
            engine = "openvino" if is_worth and is_installed() else "torch"
        self.precision, self.n_callers = precision, n_callers
        self.n_threads = torch.get_num_threads()
        self.features = list(features)
        layers = tuple(sorted({feature.source for feature in self.features}))
        if isinstance(backbone, BackboneSpec):
            backbone = engines.built_backbone(backbone.to_json(), layers)
        for feature in self.features:
            backbone.check_layer(feature.source, class_token=feature.needs_class_token)
        self.backbone = backbone
        self.layers = layers
        self.agreement: dict[str, str] = {}
        self._engine: Any = self._make_engine(engine, precision)
        self._is_checked = precision == "float32" and engine == "torch"
        self._lock = threading.Lock()

    def _make_engine(
        self, engine: str, precision: str
    ) -> TorchEngine | CompiledEngine | OpenVinoEngine:
        if engine == "torch":
            return engines.torch_engine(self.backbone, self.layers, self.device, precision)
        if engine == "compile":
            return engines.compiled_engine(
                self.backbone, self.layers, tuple(self.features), self.device, precision
            )
        threads = (self.n_callers, self.n_threads)
        return engines.openvino_engine(
            self.backbone, self.layers, tuple(self.features), precision, threads
        )

    def rows(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the rows of every feature.

        Parameters
        ----------
        pixels : ndarray
            ``(B, H, W, C)`` from 0 to 255, uint8 or float32; see `network_input`.

        Returns
        -------
        dict of str to ndarray
            Feature name to float32 rows, ``(B, d)`` or ``(B, D, H, W)``.
        """
        if not self._is_checked:
            with self._lock:
                if not self._is_checked:
                    self._check(pixels)
                    self._is_checked = True
        return self._rows(self._engine, pixels)

    def _rows(self, engine: Any, pixels: np.ndarray) -> dict[str, np.ndarray]:
        try:
            with torch.inference_mode():
                if isinstance(engine, CompiledEngine | OpenVinoEngine):
                    return engine(pixels)
                maps = engine(pixels)
                return {str(f): pool(maps, f).float().cpu().numpy() for f in self.features}
        except torch.OutOfMemoryError as error:
            if len(pixels) == 1:
                raise self._explained(error, pixels.shape) from error
        except (RuntimeError, AssertionError) as error:  # networks assert that a size suits them
            raise self._explained(error, pixels.shape) from error
        logger.warning(
            "%s has not enough memory for %d images at once; taking half as many",
            self.device,
            len(pixels),
        )
        torch.cuda.empty_cache()
        half = (len(pixels) + 1) // 2
        parts = [self._rows(engine, part) for part in (pixels[:half], pixels[half:])]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _explained(self, error: Exception, shape: tuple[int, ...]) -> Exception:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, torch.OutOfMemoryError):
            return RuntimeError(
                f"{self.device} has not enough memory for one image of {shape[1]} × {shape[2]} px "
                f"with {self.backbone.name!r}; choose a smaller image_size (--image-size)"
            )
        return ValueError(
            f"backbone {self.backbone.name!r} failed on {shape[0]} images of {shape[1]} × "
            f"{shape[2]} px ({reason}); if the size doesn't suit it, choose another image_size "
            f"(--image-size), best with sides that are multiples of 32 px and not below 96"
        )

    def _check(self, pixels: np.ndarray) -> None:
        """Compare with PyTorch in float32, and switch to it if the difference is too large."""
        exact = engines.torch_engine(self.backbone, self.layers, self.device, "float32")
        expected = self._rows(exact, pixels)
        found = self._rows(self._engine, pixels)
        flat = [
            (found[name].reshape(len(pixels), -1), rows.reshape(len(pixels), -1))
            for name, rows in expected.items()
        ]
        norms = [np.linalg.norm(rows, axis=1).clip(1e-30) for _, rows in flat]
        error = max(
            float((np.linalg.norm(f - e, axis=1) / n).max())
            for (f, e), n in zip(flat, norms, strict=True)
        )
        if self.precision == "float32" and not error <= _TOLERANCE:
            logger.warning(
                "engine %r differs from torch by %.1e relative, more than %.0e; torch goes on",
                self._engine.name,
                error,
                _TOLERANCE,
            )
            self._engine = self._make_engine("torch", self.precision)
            return
        cosines = np.concatenate(
            [
                (f * e).sum(axis=1) / n / np.linalg.norm(f, axis=1).clip(1e-30)
                for (f, e), n in zip(flat, norms, strict=True)
            ]
        )
        self.agreement = {
            "difference": f"{error:.1e}",
            "mean_cosine": f"{cosines.mean():.6f}",
            "smallest_cosine": f"{cosines.min():.6f}",
        }

    def is_bf16_quicker(self) -> bool:
        """Whether this is float32 on a CPU that multiplies bf16 natively."""
        is_cpu = self.device.type == "cpu"
        return is_cpu and self.precision == "float32" and has_fast_bf16(self.device)

    def provenance(self) -> dict[str, str]:
        """Provenance of the numbers: everything that may change them within rounding."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = platform.processor() or platform.machine()
        return {
            "backbone": self.backbone.name,
            "device": f"{self.device.type} ({name})",
            "engine": self._engine.name,
            "threads": str(self.n_threads),
            "torch": torch.__version__,
            "timm": _timm_version(),
            **self.agreement,
        }


@functools.cache
def _timm_version() -> str:
    # It is read from a file, which takes as long as a small network does of an image.
    return version("timm")
