"""`DeployedDetector`, a detector as one torch module."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from transferkit.dense.network import DetectionNetwork, ObjectNetwork
from transferkit.export._objects import DeployedObjects

__all__ = ["UPRIGHT_OUTPUTS", "DeployedDetector", "edges_apart"]

UPRIGHT_OUTPUTS = {
    "boxes": "float32 (n, limit, 4), left, top, right and bottom edge, px of the input, the "
    "highest score first; 0 where there is no further box",
    "scores": "float32 (n, limit), from 0 to 1; 0 where there is no further box",
    "labels": "int64 (n, limit), position in names; 0 where there is no further box",
}
"""Outputs of upright boxes."""


class DeployedDetector(DeployedObjects):
    """A detector; see `DeployedObjects`.

    Its outputs are boxes ``(B, limit, 4)``, and their scores and classes ``(B, limit)``.
    """

    network_kind: ClassVar[type[ObjectNetwork]] = DetectionNetwork
    outputs: ClassVar[dict[str, str]] = UPRIGHT_OUTPUTS

    def apart(self, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Of the edges the farthest; see `DeployedObjects.apart`."""
        return edges_apart(boxes, others)


def edges_apart(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far the edges of each upright box are from those of each other one at most, px."""
    apart: np.ndarray = np.abs(boxes[:, None] - others).max(-1)
    return apart
