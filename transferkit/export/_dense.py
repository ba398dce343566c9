"""Export models of dense tasks to ONNX, from 8-bit pixels to scores at every pixel."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from transferkit.backbones import build_backbone
from transferkit.dense.network import DenseNetwork
from transferkit.export import onnx
from transferkit.export._check import BATCH, TOLERANCE, TOLERANCE_WITH_JUMPS, Check
from transferkit.export._saved import Saved
from transferkit.forward import Forward

__all__ = ["DeployedSegmenter", "compare_dense", "write_dense"]


class DeployedSegmenter(nn.Module):
    """Backbone, neck and head as one module, in float32.

    Parameters
    ----------
    saved : Saved
        A model of segmentation.
    """

    def __init__(self, saved: Saved) -> None:
        super().__init__()
        self.layers = [feature.source for feature in saved.features]
        self.is_rounded = saved.model.storage == "float16"
        self.backbone = build_backbone(saved.model.backbone, layers=self.layers)
        self.network = DenseNetwork.restored(saved.model.head.arguments, saved.model.head.tensors)
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the class of every pixel of the input, and the scores.

        Parameters
        ----------
        pixels : Tensor
            uint8, ``(B, H, W, 3)``.

        Returns
        -------
        (Tensor, Tensor)
            int64 ``(B, H, W)`` and float32 ``(B, n_classes, H, W)``.
        """
        images = self.backbone.normalize(pixels.permute(0, 3, 1, 2))
        maps = self.backbone(images, self.layers)
        levels = [maps.maps[layer] for layer in self.layers]
        if self.is_rounded:  # as the maps that the head was trained on
            levels = [level.half().float() for level in levels]
        size = (pixels.shape[1], pixels.shape[2])
        scores = interpolate(self.network(levels), size, mode="bilinear", align_corners=False)
        return scores.argmax(1), scores


def write_dense(saved: Saved, path: Path) -> None:
    """Write the file; as `transferkit.export.onnx.write`."""
    library = onnx.needed()[0]
    network = DeployedSegmenter(saved)
    graph = onnx.exported(saved, network, ["classes", "scores"])
    onnx.strip(graph)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    del graph.graph.value_info[:]
    text = json.dumps(_metadata(saved), ensure_ascii=False)
    library.helper.set_model_props(graph, {"transferkit": text})
    graph.producer_name = "transferkit"
    library.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString())


def _metadata(saved: Saved) -> dict[str, Any]:
    outputs = {
        "classes": "int64 (n, height, width), position in names, of every pixel of the input",
        "scores": "float32 (n, names, height, width), before softmax",
    }
    head = saved.model.head
    described = {"type": head.kind, "arguments": dict(head.arguments)}
    return onnx.metadata(saved, outputs) | {"head": described}


def compare_dense(saved: Saved, pixels: np.ndarray, outputs: Any, tolerance: float | None) -> Check:
    """Run the export and the model on the same images.

    Parameters
    ----------
    saved : Saved
        The model.
    pixels : ndarray of shape (n, H, W, 3)
        The images, from `check_pixels`.
    outputs : callable
        From pixels to the export's outputs by name.
    tolerance : float, optional
        Largest difference of scores, relative to the largest; None for the default.
    """
    difference, largest, n_same = 0.0, 1e-12, 0
    forward = Forward(saved.model.backbone, saved.features, device="cpu")
    network = DenseNetwork.restored(saved.model.head.arguments, saved.model.head.tensors).eval()
    # Batches of two sizes, which reveal a batch size that was frozen into the export.
    for start in range(0, len(pixels), BATCH):
        part = pixels[start : start + BATCH]
        found: Mapping[str, np.ndarray] = outputs(part)
        expected = _reference(saved, forward, network, part)
        difference = max(difference, float(np.abs(found["scores"] - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
        same = found["classes"] == expected.argmax(1)
        n_same += int((same.mean((1, 2)) > 1 - TOLERANCE).sum())
    if tolerance is None:
        tolerance = TOLERANCE if saved.model.storage == "float32" else TOLERANCE_WITH_JUMPS
    return Check(len(pixels), "scores", difference / largest, tolerance, n_same)


def _reference(
    saved: Saved, forward: Forward, network: nn.Module, pixels: np.ndarray
) -> np.ndarray:
    """The model's own scores at the input's px, by way of rows as they are stored."""
    rows = forward.rows(pixels)
    stored = "float32" if saved.model.storage == "int8" else saved.model.storage
    levels = [torch.from_numpy(rows[str(f)].astype(stored)) for f in saved.features]
    with torch.inference_mode():
        scores = interpolate(
            network(levels), pixels.shape[1:3], mode="bilinear", align_corners=False
        )
    return scores.numpy()
