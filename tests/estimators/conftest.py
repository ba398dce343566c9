"""What is built while a test runs."""

import pytest

import transferkit.backbones
from transferkit import forward


@pytest.fixture
def builds(monkeypatch):
    """Names of the networks that are built from now on."""
    names = []
    build = transferkit.backbones.build_backbone

    def counted(spec, **options):
        names.append(spec.name)
        return build(spec, **options)

    forward.clear()
    monkeypatch.setattr(forward.engines, "build_backbone", counted)
    monkeypatch.setattr(transferkit.backbones, "build_backbone", counted)
    return names
