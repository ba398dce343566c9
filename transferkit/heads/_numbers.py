"""Mixin of the regressors, for several numbers per sample and for standardised targets."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import Tags

from transferkit.heads._validation import Array

__all__ = ["NumbersMixin"]


class NumbersMixin(RegressorMixin):
    """Mixin for a regressor of one number per sample, or of several.

    A regressor that learns standardised numbers sets `target_mean_` and `target_scale_` in `fit`.
    Each is a number or, for several numbers per sample, an array.
    """

    target_mean_: Any
    target_scale_: Any

    def _in_target_units(self, scaled: Array) -> Array:
        """Bring standardised predictions, (n_samples, n_outputs), to the shape and scale of `y`."""
        flat = scaled[:, 0] if np.ndim(self.target_mean_) == 0 else scaled
        return np.asarray(flat.astype(np.float64) * self.target_scale_ + self.target_mean_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
