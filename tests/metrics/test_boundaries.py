"""Boundaries that are hidden by void pixels."""

import numpy as np

from transferkit.annotations import VOID
from transferkit.metrics._boundaries import boundary_scores


def test_a_boundary_that_is_all_void_is_not_measured():
    true = np.zeros((20, 20), int)
    true[5:15, 5:15] = VOID
    true[7:13, 7:13] = 1
    predicted = np.zeros((20, 20), int)
    predicted[6:14, 6:14] = 1
    predicted[:3, :3] = 1  # known to be wrong, but nothing is known of the true boundary
    assert np.isnan(boundary_scores(true, predicted, 2)).all()


def test_a_boundary_that_is_partly_void_is_measured_where_it_is_known():
    true = np.zeros((20, 20), int)
    true[:, 10:] = 1
    true[:10] = VOID
    scores = boundary_scores(true, np.where(true == VOID, 0, true), 2)
    assert (scores == 1).all()
