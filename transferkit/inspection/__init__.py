"""Find what is likely wrong with a data set, by the features that the store has of it."""

from transferkit.inspection.findings import Finding, Inspection
from transferkit.inspection.inspector import inspect_dataset, with_excluded

__all__ = ["Finding", "Inspection", "inspect_dataset", "with_excluded"]
