"""Export models of dense tasks to ONNX, from 8-bit pixels to scores at every pixel."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from transferkit.backbones import Backbone, build_backbone, layers_of
from transferkit.dense.network import SegmentationNetwork
from transferkit.estimators.anomaly import method_of
from transferkit.export import onnx
from transferkit.export._check import BATCH, TOLERANCE, TOLERANCE_WITH_JUMPS, Check
from transferkit.export._saved import Saved
from transferkit.forward import Forward
from transferkit.maps import FeatureMaps

__all__ = ["DeployedDetector", "DeployedSegmenter", "compare_dense", "deployed", "write_dense"]


class _Deployed(nn.Module):
    """Backbone and head of a dense task as one module, in float32.

    Parameters
    ----------
    saved : Saved
        The model.
    """

    outputs: ClassVar[dict[str, str]]
    backbone: Backbone

    def __init__(self, saved: Saved) -> None:
        super().__init__()
        self.layers = [feature.source for feature in saved.features]
        self.is_rounded = saved.model.storage == "float16"
        self.backbone = build_backbone(saved.model.backbone, layers=self.layers)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs.

        Parameters
        ----------
        pixels : Tensor
            uint8, ``(B, H, W, 3)``.
        """
        images = self.backbone.normalize(pixels.permute(0, 3, 1, 2))
        maps = self.backbone(images, self.layers)
        levels = [maps.maps[layer] for layer in self.layers]
        if self.is_rounded:  # as the maps that the head was trained on
            levels = [level.half().float() for level in levels]
        return self.of_levels(levels, (pixels.shape[1], pixels.shape[2]))

    @abstractmethod
    def of_levels(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Compute the outputs from the maps, for an input of a size; what is compared last."""

    @abstractmethod
    def decisions(self, values: np.ndarray) -> np.ndarray:
        """What each image is said to be, from the output that is compared."""


class DeployedSegmenter(_Deployed):
    """Backbone, neck and head as one module, in float32.

    Its outputs are the class of every pixel, int64 ``(B, H, W)``, and the scores of the classes,
    float32 ``(B, n_classes, H, W)``.

    Parameters
    ----------
    saved : Saved
        A model of segmentation.
    """

    outputs: ClassVar[dict[str, str]] = {
        "classes": "int64 (n, height, width), position in names, of every pixel of the input",
        "scores": "float32 (n, names, height, width), before softmax",
    }

    def __init__(self, saved: Saved) -> None:
        super().__init__(saved)
        self.network = SegmentationNetwork.restored(
            saved.model.head.arguments, saved.model.head.tensors
        )
        self.eval()

    def of_levels(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Classes and scores; see the class."""
        scores = interpolate(self.network(levels), size, mode="bilinear", align_corners=False)
        return scores.argmax(1), scores

    def decisions(self, values: np.ndarray) -> np.ndarray:
        """Class of every pixel."""
        classes: np.ndarray = values.argmax(1)
        return classes


class DeployedDetector(_Deployed):
    """Backbone and anomaly method as one module, in float32.

    Its outputs are the score of every patch, float32 ``(B, h, w)``, and that of the image,
    ``(B,)``.

    Parameters
    ----------
    saved : Saved
        A model of anomaly detection.
    """

    outputs: ClassVar[dict[str, str]] = {
        "score_map": "float32 (n, h, w), score of every patch: the larger, the stranger",
        "score": "float32 (n,), score of the image; threshold is in head.arguments",
    }

    def __init__(self, saved: Saved) -> None:
        super().__init__(saved)
        self.method = method_of(saved.model.head)
        self.threshold = float(saved.model.head.arguments["threshold"])
        known = layers_of(saved.model.backbone)
        self.strides = {layer: known[layer.removesuffix("_norm")].stride for layer in self.layers}
        self.eval()

    def of_levels(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Scores of patches and images; see the class."""
        named = dict(zip(self.layers, levels, strict=True))
        patches, images = self.method(FeatureMaps(named, self.strides))
        return patches, images

    def decisions(self, values: np.ndarray) -> np.ndarray:
        """Whether each image is strange."""
        strange: np.ndarray = (values > self.threshold)[:, None]
        return strange


def deployed(saved: Saved) -> DeployedSegmenter | DeployedDetector:
    """Make the module of a model's task."""
    return DeployedDetector(saved) if saved.model.task == "anomaly" else DeployedSegmenter(saved)


def write_dense(saved: Saved, path: Path) -> None:
    """Write the file; as `transferkit.export.onnx.write`."""
    library = onnx.needed()[0]
    network = deployed(saved)
    graph = onnx.exported(saved, network, list(network.outputs))
    onnx.strip(graph)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    del graph.graph.value_info[:]
    head = saved.model.head
    described = {"type": head.kind, "arguments": dict(head.arguments)}
    content = onnx.metadata(saved, network.outputs) | {"head": described}
    text = json.dumps(content, ensure_ascii=False)
    library.helper.set_model_props(graph, {"transferkit": text})
    graph.producer_name = "transferkit"
    library.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString())


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
    network = deployed(saved)
    name = list(network.outputs)[-1]
    # Batches of two sizes, which reveal a batch size that was frozen into the export.
    for start in range(0, len(pixels), BATCH):
        part = pixels[start : start + BATCH]
        found: Mapping[str, np.ndarray] = outputs(part)
        expected = _reference(saved, forward, network, part)
        difference = max(difference, float(np.abs(found[name] - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
        same = network.decisions(found[name]) == network.decisions(expected)
        n_same += int((same.reshape(len(part), -1).mean(1) > 1 - TOLERANCE).sum())
    if tolerance is None:
        tolerance = TOLERANCE if saved.model.storage == "float32" else TOLERANCE_WITH_JUMPS
    return Check(len(pixels), "scores", difference / largest, tolerance, n_same)


def _reference(
    saved: Saved,
    forward: Forward,
    network: DeployedSegmenter | DeployedDetector,
    pixels: np.ndarray,
) -> np.ndarray:
    """The model's own scores, by way of rows as they are stored."""
    rows = forward.rows(pixels)
    # Rows of int8 come back from the store as float16, and rounding to int8 isn't in the export.
    stored = "float32" if saved.model.storage == "float32" else "float16"
    levels = [torch.from_numpy(rows[str(f)].astype(stored)).float() for f in saved.features]
    with torch.inference_mode():
        values: np.ndarray = network.of_levels(levels, pixels.shape[1:3])[-1].numpy()
    return values
