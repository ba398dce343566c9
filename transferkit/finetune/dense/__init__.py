"""Fine-tuning for dense tasks: backbone, neck and head are trained together on pixels.

A `LiveRecipe` says how; a `transferkit.finetune.dense.run.SegmentationTuning` does it with the
loop of `transferkit.training`. Users call it through `transferkit.FineTuneSegmenter`.
"""

from transferkit.finetune.dense.recipe import LiveRecipe, choose_live_recipe, dense_strategy

__all__ = ["LiveRecipe", "choose_live_recipe", "dense_strategy"]
