"""Coefficients of heads whose scores are linear in the features as given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.svm import LinearSVC, LinearSVR

__all__ = ["linear_map"]

# Estimators of scikit-learn's own whose scores are `coef_` times the features.
_OTHERS = (
    *(LinearDiscriminantAnalysis, LinearRegression, LinearSVC, LinearSVR, LogisticRegression),
    *(LogisticRegressionCV, Ridge, RidgeCV, RidgeClassifier, RidgeClassifierCV),
    *(SGDClassifier, SGDRegressor),
)


def linear_map(head: Any) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Coefficients and intercepts on the features as given, if the head's scores are linear.

    Parameters
    ----------
    head : estimator
        Fitted; one of ours, or a linear one of scikit-learn's own.

    Returns
    -------
    (ndarray of shape (n_outputs, n_features), ndarray of shape (n_outputs,)) or None
        In float64, with all standardisation folded in: ``X @ coef.T + intercept`` is what the
        head's ``decision_function`` gives, or a regressor's ``predict``. A classifier of two
        classes has one row, the second's against 0.

    Examples
    --------
    >>> from transferkit.heads import create_head
    >>> head = create_head("svm", kernel="linear", C=1.0).fit([[0.0], [1], [4], [5]], [0, 0, 1, 1])
    >>> coef, intercept = linear_map(head)
    >>> bool(np.isclose(coef @ [2.0] + intercept, head.decision_function([[2.0]])).all())
    True
    """
    is_ours = type(head).__module__.startswith(f"{__package__}.")
    if not hasattr(head, "coef_") or not (is_ours or isinstance(head, _OTHERS)):
        return None
    if is_ours and getattr(head, "solver_", "linear") != "linear":
        return None
    coef = np.atleast_2d(np.asarray(head.coef_, np.float64))
    intercept = np.zeros(len(coef)) + np.asarray(head.intercept_, np.float64)
    if is_ours and hasattr(head, "scale_"):
        # It standardises before, where others have folded that in.
        coef = coef / head.scale_
        intercept = intercept - coef @ head.mean_
    if is_ours and hasattr(head, "target_scale_"):
        scale = np.atleast_1d(head.target_scale_)
        coef, intercept = coef * scale[:, None], intercept * scale + head.target_mean_
    return coef, intercept
