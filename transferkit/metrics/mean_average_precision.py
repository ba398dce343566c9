"""Mean average precision (mAP): the area below each label's precision over recall, averaged.

Labels that no sample or every sample has don't count.
"""

import numpy as np

from transferkit.metrics._metric import Metric, Predictions, share

__all__ = ["METRIC"]


def _compute(predictions: Predictions) -> float | None:
    precisions = [precision for precision, _, _ in predictions.rankings.values()]
    return float(np.mean(precisions)) if precisions else None


METRIC = Metric("mean_average_precision", "mAP", ("multilabel",), _compute, format=share, place=10)
