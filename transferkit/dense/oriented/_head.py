"""`OrientedHead`, the base class of the heads that find oriented boxes, and its target."""

from __future__ import annotations

from torch import Tensor

from transferkit.dense.detection import Suppression
from transferkit.dense.objects import ObjectHead, Target
from transferkit.dense.oriented._suppression import OrientedDetections, suppressed_oriented
from transferkit.maps import FeatureMaps

__all__ = ["OrientedHead", "OrientedTarget"]


class OrientedTarget(Target):
    """The true objects of one image; see `Target`.

    ``oriented`` are float32 ``(m, 5)``: see `transferkit.images.oriented`, px of the network's
    input. They may leave it; ``boxes`` are the upright ones around, cut off at its edges.
    """

    oriented: Tensor


class OrientedHead(ObjectHead):
    """A head that finds oriented boxes; see `ObjectHead`.

    Its candidates' boxes are ``(B, n, 5)``, as `transferkit.images.oriented` has them.
    """

    def detected(
        self, maps: FeatureMaps, size: tuple[int, int], rule: Suppression
    ) -> OrientedDetections:
        """What stays after suppression; see `ObjectHead.detected`."""
        return suppressed_oriented(self.candidates(maps, size), rule)
