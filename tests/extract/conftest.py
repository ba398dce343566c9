"""A store of the test's own."""

import pytest

from transferkit.store import FeatureStore


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "store")
