"""Probabilities for a head that has none, by Platt's sigmoid on scores from cross-validation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV

__all__ = ["calibrated"]

Array = NDArray[Any]


def calibrated(head: Any, X: Array, codes: Array, weight: Array | None) -> Any:
    """Fit the head with a sigmoid on top, at the C that it chose.

    Parameters
    ----------
    head : SVMClassifier
        Fitted, with `C_` and a parameter `probability`.
    X : ndarray of shape (n_samples, n_features)
        Features.
    codes : ndarray of shape (n_samples,)
        Class numbers.
    weight : ndarray of shape (n_samples,) or None
        Sample weights, the classes' weights included.

    Returns
    -------
    CalibratedClassifierCV
        Fitted.

    Raises
    ------
    ValueError
        If a class has a single sample.
    """
    folds = min(5, int(np.bincount(codes).min()))
    if folds < 2:
        raise ValueError(
            "probability is True, and a class has a single sample; give two samples or more "
            "of each class, or probability=False"
        )
    inner = clone(head).set_params(probability=False, C=head.C_, class_weight=None)
    model = CalibratedClassifierCV(inner, cv=folds, ensemble=False)
    return model.fit(X, codes, sample_weight=weight)
