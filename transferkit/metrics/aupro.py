"""AUPRO: area under the per-region overlap, up to a false-positive rate of 0.3.

At every threshold the overlap is the mean, over all connected regions of strange pixels, of the
share of a region that is above it, so that small defects weigh as much as large ones. The area
is divided by 0.3, so that 1 is the best.

References
----------
Bergmann et al. (2021), "The MVTec anomaly detection dataset", section 5.1.3.
"""

import numpy as np

from transferkit.metrics._anomalies import AnomalyScores, area
from transferkit.metrics._metric import Metric, thousandths

__all__ = ["METRIC"]

_LIMIT = 0.3


def _compute(scores: AnomalyScores) -> float | None:
    if not scores.good.any() or not scores.n_regions:
        return None
    good, _, regions = scores.pixel_curve
    last = int(np.searchsorted(good, _LIMIT, side="right"))
    # The curve is cut off at the limit, between its points.
    at_limit = np.interp(_LIMIT, good, regions)
    good, regions = np.append(good[:last], _LIMIT), np.append(regions[:last], at_limit)
    return area(regions, good) / _LIMIT


METRIC = Metric("aupro", "AUPRO", ("anomaly",), _compute, format=thousandths, place=30)
