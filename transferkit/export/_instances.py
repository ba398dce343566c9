"""`DeployedInstances`, an instance segmenter as one torch module."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from transferkit.dense.network import InstanceNetwork, ObjectNetwork
from transferkit.export._deployed import Outputs
from transferkit.export._detector import UPRIGHT_OUTPUTS, edges_apart
from transferkit.export._objects import DeployedObjects

__all__ = ["DeployedInstances"]


class DeployedInstances(DeployedObjects):
    """An instance segmenter; see `DeployedObjects`.

    Its outputs are those of a detector, and the masks within the boxes ``(B, limit, 28, 28)``.
    Who runs it paints them: how many pixels a box has follows from the image alone.
    """

    kind: ClassVar[str] = "masks"
    network_kind: ClassVar[type[ObjectNetwork]] = InstanceNetwork
    outputs: ClassVar[dict[str, str]] = {
        **UPRIGHT_OUTPUTS,
        "masks": "float32 (n, limit, rows, columns), probability from 0 to 1 that an equal part of "
        "the box belongs to the object; a pixel belongs to it if the probability at its centre is "
        "0.5 or more, interpolated linearly between the middles of the parts, and beyond the outer "
        "ones as it is there",
    }

    def apart(self, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Of the edges the farthest; see `DeployedObjects.apart`."""
        return edges_apart(boxes, others)

    def apart_within(self, own: Outputs, other: Outputs, partners: np.ndarray) -> np.ndarray:
        """Largest difference of a mask's probabilities."""
        apart: np.ndarray = np.abs(own["masks"] - other["masks"][partners]).max((1, 2))
        return apart
