import numpy as np
import pytest

from transferkit.benchmark.temperature import temperature_of


def test_temperature_undoes_overconfidence():
    random = np.random.default_rng(0)
    scores = random.normal(size=(4000, 3))
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    y = (p.cumsum(axis=1) < random.random((4000, 1))).sum(axis=1)
    assert temperature_of(3 * scores, y) == pytest.approx(3, rel=0.1)
