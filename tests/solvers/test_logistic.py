import numpy as np
import pytest

from transferkit.solvers.logistic import accuracy_and_log_loss


def test_score_leaves_unknown_classes_out_of_the_log_loss():
    log_proba = np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    accuracy, loss = accuracy_and_log_loss(
        log_proba, np.array([0, 2]), np.array([0, 0, 1]), np.array([1, 2, 1])
    )
    assert accuracy == pytest.approx(1 / 4)
    assert loss == pytest.approx(-(np.log(0.9) + 2 * np.log(0.2)) / 3)
