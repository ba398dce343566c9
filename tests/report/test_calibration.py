import numpy as np
import pytest

from transferkit.metrics import calibration_error
from transferkit.report.calibration import reliability, reliability_chart


def test_bins_add_up_to_the_calibration_error():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([1, 1, 1], 300)
    right = rng.random(300) < 0.6
    found = reliability(right, proba.max(axis=1))
    gaps = np.abs(found.confidence - found.right)
    mean = np.nansum(gaps * found.counts) / found.counts.sum()
    assert found.counts.sum() == 300
    assert mean == pytest.approx(calibration_error(right, proba))
    assert found.error == pytest.approx(mean)


def test_a_bin_holds_what_is_said_in_it():
    said = np.array([0.05, 0.95, 0.93, 0.5])
    found = reliability([False, True, False, True], said, n_bins=10)
    assert found.counts.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0, 2]
    assert found.right[-1] == 0.5
    assert found.confidence[-1] == pytest.approx(0.94)
    assert np.isnan(found.right[5])
    bars, _, counts = reliability_chart(found, "said", "true", "images").figure["data"]
    assert bars["y"][-1] == 0.5
    assert counts["y"].sum() == 4
