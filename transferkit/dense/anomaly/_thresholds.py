"""From which score on something is said to be strange."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["f1_threshold", "false_alarm_threshold"]


def false_alarm_threshold(scores: ArrayLike, rate: float) -> tuple[float, float]:
    """Threshold that a good image exceeds at most at a given rate.

    If the scores are of n good images that the detector hasn't learnt from, another good image
    exceeds the k-th smallest of them with a probability of 1 - k / (n + 1) at most, whatever
    their distribution.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Of good images that were held out.
    rate : float
        False alarms among good images that are allowed, above 0 and below 1.

    Returns
    -------
    (float, float)
        The threshold, and the rate that it promises: the one asked for or less. With fewer
        than 1 / rate - 1 images it is more, and the threshold is the largest score.

    References
    ----------
    Laxhammar & Falkman (2010), "Conformal prediction for distribution-independent anomaly
    detection in streaming vessel data", section 3.

    Examples
    --------
    >>> false_alarm_threshold(range(1, 20), 0.1)
    (18.0, 0.1)
    >>> false_alarm_threshold([1, 2, 3], 0.1)
    (3.0, 0.25)
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    n = len(ordered)
    # A product such as 20 · (1 - 0.1) may come out just above the whole number it should be.
    k = min(n, math.ceil((n + 1) * (1 - rate) - 1e-9))
    return float(ordered[k - 1]), round(1 - k / (n + 1), 12)


def f1_threshold(scores: ArrayLike, is_anomalous: ArrayLike) -> float:
    """Threshold at which the F1 of strange images is the highest.

    Parameters
    ----------
    scores : array-like of shape (n,)
        Of images that the detector hasn't learnt from.
    is_anomalous : array-like of bool, shape (n,)
        Which are strange; one at least.

    Returns
    -------
    float
        Halfway between two scores. Of equally good ones the largest, which gives the fewest
        false alarms.

    Examples
    --------
    >>> f1_threshold([1, 2, 3, 4], [False, False, True, True])
    2.5
    """
    values = np.asarray(scores, dtype=np.float64)
    order = np.argsort(-values, kind="stable")
    ordered, hits = values[order], np.cumsum(np.asarray(is_anomalous, bool)[order])
    f1: NDArray[np.float64] = 2 * hits / (np.arange(1, len(values) + 1) + hits[-1])
    # The cut must be between two different scores, or below all.
    is_cut = np.append(ordered[1:] != ordered[:-1], True)
    best = int(np.argmax(np.where(is_cut, f1, -1)))
    below = ordered[best + 1] if best + 1 < len(ordered) else ordered[best] - 1
    return float((ordered[best] + below) / 2)
