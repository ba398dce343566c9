"""Fine-tuning: from a cached probe to a tuned network.

`Recipe` says how and a `Strategy` what is trained; a `transferkit.finetune.run.FineTuneRun`
does it with the loop of `transferkit.training`. Users call it through the estimators
`transferkit.FineTuneClassifier` and `FineTuneRegressor`.
"""

from transferkit.finetune.recipe import Recipe, Strategy, choose_recipe, setting_names
from transferkit.finetune.strategies import parse_strategy, strategy_names

__all__ = [
    "Recipe",
    "Strategy",
    "choose_recipe",
    "parse_strategy",
    "setting_names",
    "strategy_names",
]
