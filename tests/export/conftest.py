import pytest


@pytest.fixture
def pil_pixels(monkeypatch):
    """PIL's own pixels on both sides; how near ours are is tested in tests/extract."""
    monkeypatch.setattr("transferkit.extract.pixels._is_alike", lambda *given: False)
