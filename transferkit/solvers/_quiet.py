"""Silence a warning of scikit-learn's about our class numbers while its estimators fit."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["without_class_count_warning"]


@contextmanager
def without_class_count_warning(y: NDArray[Any]) -> Iterator[None]:
    """Keep scikit-learn from guessing that class numbers of few samples each are measurements.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Class numbers of ours. Filters of warnings are the whole process's, so they are touched
        only where it would warn.
    """
    if y.ndim > 1 or 2 * len(np.unique(y)) <= len(y):
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The number of unique classes is greater", UserWarning)
        yield
