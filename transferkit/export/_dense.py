"""Export models of dense tasks to ONNX, from 8-bit pixels to classes, scores or boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from transferkit.export import onnx
from transferkit.export._check import BATCH, Check, Predictor
from transferkit.export._deployed import Deployed, DeployedAnomaly, DeployedSegmenter, Outputs
from transferkit.export._detector import DeployedDetector
from transferkit.export._instances import DeployedInstances
from transferkit.export._operators import operators
from transferkit.export._oriented import DeployedOriented
from transferkit.export._saved import Saved
from transferkit.forward import Forward

__all__ = ["compare_dense", "deployed", "write_dense"]

_MODULES: dict[str, type[Deployed]] = {
    "segmentation": DeployedSegmenter,
    "anomaly": DeployedAnomaly,
    "detection": DeployedDetector,
    "instances": DeployedInstances,
    "oriented": DeployedOriented,
}


def deployed(saved: Saved) -> Deployed:
    """Make the module of a model's task.

    Raises
    ------
    ValueError
        If it can't be exported.
    """
    return _MODULES[saved.model.task](saved)


def write_dense(saved: Saved, path: Path) -> None:
    """Write the file; as `transferkit.export.onnx.write`."""
    library = onnx.needed()[0]
    network = deployed(saved)
    graph = onnx.exported(saved, network, list(network.outputs), operators())
    onnx.strip(graph)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    del graph.graph.value_info[:]
    head = saved.model.head
    described = {"type": head.kind, "arguments": dict(head.arguments)}
    content = onnx.metadata(saved, network.outputs) | {"head": described} | network.facts
    # Who runs the file has to cut images himself: it takes one tile.
    content |= {name: saved.model.facts[name] for name in ("tiles",) if name in saved.model.facts}
    text = json.dumps(content, ensure_ascii=False)
    library.helper.set_model_props(graph, {"transferkit": text})
    graph.producer_name = "transferkit"
    library.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString())


def compare_dense(
    saved: Saved, pixels: np.ndarray, outputs: Predictor, tolerance: float | None
) -> Check:
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
        Largest difference of scores, relative to the largest, or of boxes in px; None for the
        default.
    """
    forward = Forward(saved.model.backbone, saved.features, device="cpu")
    network = deployed(saved)
    # Batches of two sizes, which reveal a batch size that was frozen into the export.
    parts = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    found = [
        network.agreement(outputs(part), _reference(saved, forward, network, part))
        for part in parts
    ]
    unit = max(max(part.unit for part in found), 1e-12)
    difference = network.largest(np.concatenate([part.differences for part in found])) / unit
    n_same = sum(int(part.same.sum()) for part in found)
    allowed = network.tolerance if tolerance is None else tolerance
    return Check(len(pixels), network.kind, difference, allowed, n_same)


def _reference(saved: Saved, forward: Forward, network: Deployed, pixels: np.ndarray) -> Outputs:
    """The model's own outputs, by way of rows as they are stored."""
    rows = forward.rows(pixels)
    # Rows of int8 come back from the store as float16, and rounding to int8 isn't in the export.
    stored = "float32" if saved.model.storage == "float32" else "float16"
    levels = [torch.from_numpy(rows[str(f)].astype(stored)).float() for f in saved.features]
    with torch.inference_mode():
        values = network.of_levels(levels, (pixels.shape[1], pixels.shape[2]))
    return {name: value.numpy() for name, value in zip(network.outputs, values, strict=True)}
