"""DINOv2's linear segmentation in a tenth of the steps, for a first look on a laptop."""

from __future__ import annotations

from dataclasses import dataclass

from transferkit.protocols.segmentation.dinov2_linear_seg import DinoV2LinearSeg, fit

__all__ = ["DinoV2LinearSegShort", "Protocol", "fit"]


@dataclass(frozen=True)
class DinoV2LinearSegShort(DinoV2LinearSeg):
    """As `DinoV2LinearSeg`, with 4,000 steps and 150 of warm-up; it says that it deviates."""

    steps: int = 4_000
    warmup_steps: int = 150
    deviates: tuple[str, ...] = ("colours", "crops", "steps", "windows")


Protocol = DinoV2LinearSegShort
