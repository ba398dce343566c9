import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import transferkit

ROOT = Path(__file__).parents[1]

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(transferkit.__path__, "transferkit.")
    if not any(part.startswith("_") for part in info.name.split("."))
)

IMPORTED = """
import json, socket, sys, threading

def forbidden(*args, **options):
    raise AssertionError("importing transferkit opens a connection")

socket.socket.connect = socket.create_connection = forbidden
import transferkit
dir(transferkit)
print(json.dumps([sorted(sys.modules), threading.active_count(), transferkit.__version__]))
"""


def test_importing_it_costs_nothing():
    printed = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, check=True, cwd=ROOT
    ).stdout
    modules, n_threads, version = json.loads(printed)
    heavy = {"torch", "timm", "sklearn", "numpy", "PIL", "torchvision", "skops", "click"}
    assert not heavy & set(modules)
    assert [m for m in modules if m.startswith("transferkit")] == ["transferkit"]
    assert n_threads == 1
    assert version == transferkit.__version__


def test_every_public_name_loads():
    assert set(transferkit.__all__) <= set(dir(transferkit))
    assert len(transferkit.__all__) == len(set(transferkit.__all__)) >= 12
    for name in transferkit.__all__:
        assert getattr(transferkit, name).__doc__
    for name in dir(transferkit):
        assert getattr(transferkit, name, None) is not None or name in vars(transferkit)


def test_a_public_name_is_the_object_of_its_module():
    from transferkit.estimators import TransferClassifier
    from transferkit.store import FeatureStore

    assert transferkit.TransferClassifier is TransferClassifier
    assert transferkit.FeatureStore is FeatureStore


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'transferkit' has no attribute 'TransferKit'"):
        _ = transferkit.TransferKit
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from transferkit import nothing  # noqa: F401


def test_the_version_is_that_of_the_metadata():
    lines = (ROOT / "setup.cfg").read_text().splitlines()
    assert f"version = {transferkit.__version__}" in lines


def test_every_module_is_a_subject():
    files = [
        path.relative_to(ROOT).with_suffix("")
        for path in (ROOT / "transferkit").rglob("*.py")
        if not any(part.startswith("_") for part in path.relative_to(ROOT).with_suffix("").parts)
    ]
    packages = [
        path.parent.relative_to(ROOT) for path in (ROOT / "transferkit").rglob("__init__.py")
    ]
    expected = {".".join(path.parts) for path in [*files, *packages]} - {"transferkit"}
    assert set(MODULES) == expected
    assert len(MODULES) >= 30


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_offer(name):
    module = importlib.import_module(name)
    assert module.__doc__
    if name.startswith("transferkit.cli."):  # such a file is read for one thing
        assert module.command.help
        return
    offered = module.__all__
    assert len(offered) == len(set(offered))
    for attribute in offered:
        value = getattr(module, attribute)
        # A constant has the docstring of its type; it is explained where it stands.
        if callable(value):
            assert value.__doc__, f"{name}.{attribute} has no docstring"
            assert not value.__doc__.startswith(f"{attribute}("), f"{name}.{attribute}"
