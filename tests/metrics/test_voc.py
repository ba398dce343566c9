import numpy as np

from transferkit.metrics import mean_average_precision_11


def test_mean_average_precision_leaves_out_labels_that_do_not_occur():
    y = np.array([[1, 0], [0, 0]])
    assert mean_average_precision_11(y, np.array([[1.0, 0], [0, 1]])) == 1
