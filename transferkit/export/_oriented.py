"""`DeployedOriented`, a detector of oriented boxes as one torch module."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from transferkit.dense.network import ObjectNetwork, OrientedNetwork
from transferkit.export._detector import UPRIGHT_OUTPUTS
from transferkit.export._objects import DeployedObjects
from transferkit.images import corners_of_oriented

__all__ = ["DeployedOriented", "corners_apart"]


class DeployedOriented(DeployedObjects):
    """A detector of oriented boxes; see `DeployedObjects`.

    Its outputs are boxes ``(B, limit, 5)``, and their scores and classes ``(B, limit)``.
    """

    kind: ClassVar[str] = "oriented boxes"
    network_kind: ClassVar[type[ObjectNetwork]] = OrientedNetwork
    outputs: ClassVar[dict[str, str]] = {
        **UPRIGHT_OUTPUTS,
        "boxes": "float32 (n, limit, 5), x and y of the centre, longer and shorter side, px of the "
        "input, and the angle from the x axis to the longer side, degrees, counter-clockwise on "
        "the screen, from -90 up to 90; the highest score first; 0 where there is no further box",
    }

    def apart(self, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Of the corners the farthest; see `DeployedObjects.apart`."""
        return corners_apart(boxes, others)


def corners_apart(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far a corner of each oriented box is from the nearest of each other one at most, px.

    So an angle may jump from 90 to -90 degrees, and that of a square by a quarter turn.
    """
    own, other = corners_of_oriented(boxes), corners_of_oriented(others)
    apart = np.linalg.norm(own[:, None, :, None] - other[None, :, None], axis=-1)
    farthest: np.ndarray = apart.min(3).max(2)
    return farthest
