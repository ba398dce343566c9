"""Fine-tuning: from a cached probe to a tuned network, in one readable training loop.

`Recipe` says how, a `Strategy` what is trained, `Tuning` does it; the estimators
`transferkit.FineTuneClassifier` and `FineTuneRegressor` are its doors.
"""

from transferkit.finetune.recipe import Recipe, choose_recipe, setting_names
from transferkit.finetune.strategies import Strategy, parse_strategy, strategy_names

__all__ = [
    "Recipe",
    "Strategy",
    "choose_recipe",
    "parse_strategy",
    "setting_names",
    "strategy_names",
]
