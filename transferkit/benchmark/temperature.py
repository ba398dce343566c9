"""Temperature scaling calibrates probabilities by one number."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

__all__ = ["temperature_of"]


def temperature_of(scores: NDArray[Any], y: NDArray[Any]) -> float:
    """Temperature with the smallest log loss of ``softmax(scores / temperature)``.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes)
        Of rows that the model wasn't trained on.
    y : ndarray of shape (n_samples,)
        Class numbers.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks", section 4.2.

    Examples
    --------
    >>> scores = np.array([[4.0, 0.0]] * 4)
    >>> round(temperature_of(scores, np.array([0, 0, 0, 1])), 2)  # 3 of 4: e^(4/t) = 3
    3.64
    """
    positions = np.arange(len(y))

    def loss(log_t: float) -> float:
        return float(-log_softmax(scores / np.exp(log_t), axis=1)[positions, y].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x))
