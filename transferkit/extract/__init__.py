"""Images → features: the only place where images, backbone, pooling and store meet."""

from transferkit.extract.loop import BATCH_SIZE, extract
from transferkit.extract.planning import Plan, plan
from transferkit.extract.result import Extraction

__all__ = ["BATCH_SIZE", "Extraction", "Plan", "extract", "plan"]
