import numpy as np
import pytest

from transferkit.solvers.holdout import hold_out


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_hold_out_takes_a_share_of_each_class(fraction):
    counts = np.array([1, 2, 10, 101, 1])
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(5), counts))
    held = hold_out(codes, fraction, 0)
    taken = np.bincount(codes[held], minlength=5)
    for n, k in zip(counts, taken, strict=True):
        assert k == (0 if n < 2 else min(max(1, round(fraction * n)), n - 1))
    assert (held == hold_out(codes, fraction, 0)).all()
    assert (held != hold_out(codes, fraction, 1)).any()
