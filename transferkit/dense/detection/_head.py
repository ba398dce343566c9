"""`DetectionHead`, the base class of all detection heads."""

from __future__ import annotations

from typing import Any

from transferkit.dense.detection._suppression import Suppression, suppressed
from transferkit.dense.objects import Candidates, ObjectHead, Target
from transferkit.maps import FeatureMaps

__all__ = ["Candidates", "DetectionHead", "Target"]


class DetectionHead(ObjectHead):
    """A head that finds upright boxes; see `ObjectHead`."""

    def detected(self, maps: FeatureMaps, size: tuple[int, int], rule: Suppression) -> Any:
        """What stays after suppression, as `Detections`; see `ObjectHead.detected`."""
        return suppressed(self.candidates(maps, size), rule)
