"""Images → features: the only place where images, backbone, pooling and store meet."""

from transferkit.extract.loop import BATCH_SIZE, Extraction, extract
from transferkit.extract.planning import Plan, plan

__all__ = ["BATCH_SIZE", "Extraction", "Plan", "extract", "plan"]
