"""Fine-tuning for dense tasks: backbone, neck and head are trained together on pixels.

A `LiveRecipe` or `LiveDetectionRecipe` says how; a `transferkit.finetune.dense.run.DenseTuning`
does it with the loop of `transferkit.training`. Users call it through
`transferkit.FineTuneSegmenter` and `transferkit.FineTuneDetector`.
"""

from transferkit.finetune.dense.recipe import (
    LiveDetectionRecipe,
    LiveRecipe,
    LiveSettings,
    choose_live_recipe,
    dense_strategy,
)

__all__ = [
    "LiveDetectionRecipe",
    "LiveRecipe",
    "LiveSettings",
    "choose_live_recipe",
    "dense_strategy",
]
