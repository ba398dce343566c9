"""The small runs of fine-tuning are the loop's tests too."""

from tests.finetune.conftest import pictures

__all__ = ["pictures"]
