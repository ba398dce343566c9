"""Mean AUROC: how often a sample with a label is ranked above one without, averaged over labels.

Labels that no sample or every sample has don't count.
"""

import numpy as np

from transferkit.metrics._metric import Metric, Predictions, share

__all__ = ["METRIC"]


def _compute(predictions: Predictions) -> float | None:
    aurocs = [auroc for _, auroc, _ in predictions.rankings.values()]
    return float(np.mean(aurocs)) if aurocs else None


METRIC = Metric(
    "mean_auroc",
    "mean AUROC",
    ("multilabel",),
    _compute,
    format=share,
    short="AUROC",
    card_title="AUROC",
    place=20,
)
