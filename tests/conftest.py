"""Every test has caches and a store of its own, no network, and one thread per process."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported, here and in the processes that tests start: workers that each
# take all cores spend their time waiting for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


LONG = {"checks", "engines", "finetuning", "kills", "notebooks", "suites"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what any of the markers says takes long."""
    for item in items:
        if LONG & {marker.name for marker in item.iter_markers()}:
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = tmp_path_factory.mktemp("places")
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(folder / "cache"))
    monkeypatch.setenv("TRANSFERKIT_STORE", str(folder / "store"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # What the process remembers of images in memory; not imported for those who don't use it.
    if memory := sys.modules.get("transferkit.estimators._memory"):
        monkeypatch.setattr(memory, "_STORES", {})


TOY_METRIC = """
from transferkit.metrics import Metric

METRIC = Metric(
    "toy",
    "toy metric",
    (
        *("anomaly", "classification", "detection", "instances", "multilabel", "oriented"),
        *("regression", "segmentation"),
    ),
    lambda predictions: len(predictions) / 4,
    format="{:.1f} quarters".format,
)
"""


@pytest.fixture
def toy_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a metric that is a file of the metrics' folder for one test."""
    from transferkit import metrics

    folder = tmp_path / "more_metrics"
    folder.mkdir()
    (folder / "toy.py").write_text(TOY_METRIC)
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(folder)])
    yield "toy"
    sys.modules.pop("transferkit.metrics.toy", None)
    vars(metrics).pop("toy", None)


@pytest.fixture
def n_jobs() -> Iterator[int]:
    """Two worker processes of joblib's, which end with the test.

    joblib keeps its workers for the next call, and replaces one that has grown by 300 MB since
    its first: one that imports torch in between does, and the replacement can wait for ever.
    """
    from joblib.externals.loky import get_reusable_executor

    yield 2
    get_reusable_executor().shutdown(wait=True, kill_workers=True)
