"""Every test has caches and a store of its own, no network, and one thread per process."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch is imported, here and in the processes that tests start: workers that each
# take all cores spend their time waiting for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _own_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = tmp_path_factory.mktemp("places")
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(folder / "cache"))
    monkeypatch.setenv("TRANSFERKIT_STORE", str(folder / "store"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # What the process remembers of images in memory; not imported for those who don't use it.
    if memory := sys.modules.get("transferkit.estimators._memory"):
        monkeypatch.setattr(memory, "_STORES", {})


@pytest.fixture
def n_jobs() -> Iterator[int]:
    """Two worker processes of joblib's, which end with the test.

    joblib keeps its workers for the next call, and replaces one that has grown by 300 MB since
    its first: one that imports torch in between does, and the replacement can wait for ever.
    """
    from joblib.externals.loky import get_reusable_executor

    yield 2
    get_reusable_executor().shutdown(wait=True, kill_workers=True)
