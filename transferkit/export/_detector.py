"""`DeployedDetector`, a detector as one torch module, suppression of boxes and all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from transferkit.dense.detection import Suppression
from transferkit.dense.network import DetectionNetwork
from transferkit.export._deployed import Agreement, Deployed, Outputs
from transferkit.export._saved import Saved

__all__ = ["DeployedDetector"]

# Of two engines one may find a score, or an overlap of two boxes, just above a limit and the other
# just below it. Then one has a box that the other hasn't, which says nothing about its edges.
_MOST_ALONE = 0.01
_TOLERANCE, _TOLERANCE_ROUNDED = 0.01, 0.1  # px
_SCORE_TOLERANCE, _SCORE_TOLERANCE_ROUNDED = 1e-3, 1e-2


class DeployedDetector(Deployed):
    """Backbone, neck, head and suppression as one module, in float32.

    Its outputs are those of `suppressed`: ``limit`` boxes of each image ``(B, limit, 4)``, their
    scores and their classes ``(B, limit)``, zeros where there is no further box.

    Parameters
    ----------
    saved : Saved
        A model of detection.

    Raises
    ------
    ValueError
        If its suppression is soft.
    """

    kind: ClassVar[str] = "boxes"
    outputs: ClassVar[dict[str, str]] = {
        "boxes": "float32 (n, limit, 4), left, top, right and bottom edge, px of the input, the "
        "highest score first; 0 where there is no further box",
        "scores": "float32 (n, limit), from 0 to 1; 0 where there is no further box",
        "labels": "int64 (n, limit), position in names; 0 where there is no further box",
    }

    def __init__(self, saved: Saved) -> None:
        arguments = dict(saved.model.head.arguments)
        rule = Suppression(**arguments.pop("suppression"))
        if rule.method != "classic":
            raise ValueError(
                f"suppression {rule.method!r} takes one box after another, which would become "
                "thousands of operators; load the model, set its suppression_ to "
                "dataclasses.replace(model.suppression_, method='classic'), save it without "
                "training it again, and export that"
            )
        super().__init__(saved)
        self.suppression, self.threshold = rule, arguments.pop("threshold")
        self.network = DetectionNetwork.restored(arguments, saved.model.head.tensors)
        self.eval()

    def of_levels(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Boxes, scores and labels; see the class."""
        return tuple(self.network(levels, size, None, self.suppression))

    @property
    def tolerance(self) -> float:
        """Largest difference of an edge that is allowed by default, px."""
        return _TOLERANCE if self.is_exact else _TOLERANCE_ROUNDED

    @property
    def facts(self) -> dict[str, Any]:
        """Which boxes are among its outputs, and the score from which on one is to be believed."""
        rule = dataclasses.asdict(self.suppression)
        told = {name: value for name, value in rule.items() if name != "sigma"}
        return {"suppression": told, "threshold": self.threshold}

    # ---- check ----

    def agreement(self, found: Outputs, expected: Outputs) -> Agreement:
        """Find for each box of one side its partner on the other; see `_distances`."""
        keys = ("boxes", "scores", "labels")
        differences, same = [], []
        margin = _SCORE_TOLERANCE if self.is_exact else _SCORE_TOLERANCE_ROUNDED
        for i in range(len(expected["scores"])):
            here, there = ([side[key][i] for key in keys] for side in (found, expected))
            distances = [
                _distances(*sides, self.suppression.score, margin)
                for sides in ((here, there), (there, here))
            ]
            differences += distances
            same.append(max(each.max(initial=0.0) for each in distances) <= self.tolerance)
        return Agreement(np.concatenate(differences), 1.0, np.array(same))

    def largest(self, differences: np.ndarray) -> float:
        """The largest but for one box in a hundred, which may lack a partner."""
        kept = len(differences) - int(len(differences) * _MOST_ALONE)
        return float(np.sort(differences)[:kept].max(initial=0.0))


def _distances(
    own: Sequence[np.ndarray], other: Sequence[np.ndarray], least: float, margin: float
) -> np.ndarray:
    """For each of an image's own boxes, how far the edges of its partner are, px.

    Its partner is the nearest of the other side's boxes of the same class and score. Without one
    the distance is that to a box of no size, unless its score is so low that the other side may
    have left it out.
    """
    boxes, scores, labels = own
    other_boxes, other_scores, other_labels = other
    apart = np.abs(boxes[:, None] - other_boxes[None]).max(-1)
    is_alike = labels[:, None] == other_labels[None]
    is_alike &= np.abs(scores[:, None] - other_scores[None]) <= margin
    nearest = np.where(is_alike, apart, np.inf).min(1)
    floor = max(least, float(other_scores.min())) + margin
    is_box = (scores > 0) & (np.isfinite(nearest) | (scores > floor))
    distances: np.ndarray = np.where(np.isfinite(nearest), nearest, boxes.max(-1))[is_box]
    return distances
