"""`DeployedObjects`, what finds objects as one torch module, suppression and all."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from transferkit.dense.detection import Suppression
from transferkit.dense.network import ObjectNetwork
from transferkit.export._deployed import Agreement, Deployed, Outputs
from transferkit.export._saved import Saved

__all__ = ["DeployedObjects", "nearest_alike"]

# Of two engines one may find a score, or an overlap of two boxes, just above a limit and the other
# just below it. Then one has a box that the other hasn't, which says nothing about its edges.
_MOST_ALONE = 0.01
_TOLERANCE, _TOLERANCE_ROUNDED = 0.01, 0.1  # px
_SCORE_TOLERANCE, _SCORE_TOLERANCE_ROUNDED = 1e-3, 1e-2


class DeployedObjects(Deployed):
    """Backbone, neck, head and suppression as one module, in float32.

    Its outputs are those of the head's `detected`, by the same names: ``limit`` objects of each
    image, zeros where there is no further one.

    Parameters
    ----------
    saved : Saved
        A model of a task that finds objects.

    Raises
    ------
    ValueError
        If its suppression is soft.
    """

    kind: ClassVar[str] = "boxes"
    network_kind: ClassVar[type[ObjectNetwork]]

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
        self.network = self.network_kind.restored(arguments, saved.model.head.tensors)
        self.eval()

    def of_levels(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """What is detected; see the class."""
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
        """Find for each object of one side its partner on the other; see `nearest_alike`."""
        differences, same = [], []
        for i in range(len(expected["scores"])):
            sides = [{name: side[name][i] for name in self.outputs} for side in (found, expected)]
            both = [self._distances(*pair) for pair in (sides, sides[::-1])]
            differences += both
            same.append(max(each.max(initial=0.0) for each in both) <= self.tolerance)
        return Agreement(np.concatenate(differences), 1.0, np.array(same))

    def _distances(self, own: Outputs, other: Outputs) -> np.ndarray:
        margin = _SCORE_TOLERANCE if self.is_exact else _SCORE_TOLERANCE_ROUNDED
        apart = self.apart(own["boxes"], other["boxes"])
        partners, nearest = nearest_alike(own, other, apart, self.suppression.score, margin)
        is_object = np.isfinite(nearest)
        within = self.apart_within(own, other, partners)
        distances = np.maximum(nearest, np.where(partners < 0, 0, within))
        return np.asarray(distances[is_object])

    def largest(self, differences: np.ndarray) -> float:
        """The largest but for one object in a hundred, which may lack a partner."""
        kept = len(differences) - int(len(differences) * _MOST_ALONE)
        return float(np.sort(differences)[:kept].max(initial=0.0))

    @abstractmethod
    def apart(self, boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
        """How far each box is from each other one, px: of the edges or corners the farthest."""

    def apart_within(self, own: Outputs, other: Outputs, partners: np.ndarray) -> np.ndarray:
        """How far what a box has beside its edges is from that of its partner."""
        return np.zeros(len(partners))


def nearest_alike(
    own: Outputs, other: Outputs, apart: np.ndarray, least: float, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """For each of an image's own objects, its partner and how far this is.

    The partner is the nearest of the other side's objects of the same class and score.

    Parameters
    ----------
    own, other : mapping
        ``boxes``, ``scores`` and ``labels`` of both sides.
    apart : ndarray of shape (m, k)
        How far each box is from each other one.
    least : float
        Score below which objects are left out.
    margin : float
        Largest difference of two scores that are the same.

    Returns
    -------
    partners : ndarray of int, shape (m,)
        -1 for an object without a partner.
    distances : ndarray of shape (m,)
        Without a partner that to a box of no size; infinite for what is no object, or one of so
        low a score that the other side may have left it out.
    """
    scores = own["scores"]
    is_alike = own["labels"][:, None] == other["labels"]
    is_alike &= np.abs(scores[:, None] - other["scores"]) <= margin
    apart = np.where(is_alike, apart, np.inf)
    has_partner = np.isfinite(apart.min(1))
    floor = max(least, float(other["scores"].min())) + margin
    is_object = (scores > 0) & (has_partner | (scores > floor))
    far = own["boxes"][:, :4].max(1)
    distances = np.where(has_partner, apart.min(1), far)
    partners = np.where(has_partner, apart.argmin(1), -1)
    return partners, np.where(is_object, distances, np.inf)
