"""No neck: the head takes the backbone's own maps."""

from __future__ import annotations

from transferkit.maps import FeatureMaps
from transferkit.necks._neck import Neck as _Neck

__all__ = ["Neck", "NoNeck"]


class NoNeck(_Neck):
    """Return the maps as they are."""

    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        """Return the maps as they are."""
        return maps


Neck = NoNeck
