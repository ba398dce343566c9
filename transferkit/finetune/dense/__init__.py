"""Fine-tuning for dense tasks: backbone, neck and head are trained together on pixels.

A `LiveRecipe`, `LiveDetectionRecipe` or `LiveOrientedRecipe` says how; a
`transferkit.finetune.dense.run.DenseTuning` does it with the loop of `transferkit.training`. Users
call it through `transferkit.FineTuneSegmenter`, `transferkit.FineTuneDetector` and the like.
"""

from transferkit.finetune.dense.recipe import (
    LiveDetectionRecipe,
    LiveOrientedRecipe,
    LiveRecipe,
    LiveSettings,
    choose_live_recipe,
    dense_strategy,
)

__all__ = [
    "LiveDetectionRecipe",
    "LiveOrientedRecipe",
    "LiveRecipe",
    "LiveSettings",
    "choose_live_recipe",
    "dense_strategy",
]
