"""A decoder that ends the process: what was being decoded is found, named and set aside."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bad_pictures import FRAGILE
from tests.pictures import write_pictures
from transferkit.backbones import resolve_backbone
from transferkit.extract import extract, suspects
from transferkit.extract.suspects import InFlight, ending
from transferkit.images import list_images
from transferkit.spec import Preprocess
from transferkit.store import FeatureStore

ROOT = Path(__file__).parents[2]
PREPROCESS = Preprocess((64, 64), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
REASON = "decoding it ends the process (SIGSEGV); save it anew with another program"

pytestmark = [
    pytest.mark.kills,
    pytest.mark.skipif(sys.platform == "win32", reason="needs locks of files"),
]


@pytest.fixture
def fragile(tmp_path):
    """A folder of code for PYTHONPATH."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sitecustomize.py").write_text(FRAGILE)
    return str(tmp_path / "code")


@pytest.fixture
def files(tmp_path):
    """Twenty pictures; two of them are the end of a process, and alike."""
    paths = write_pictures(tmp_path / "files", range(20), ".jpg")
    data = paths[7].read_bytes() + b"end of the process"
    for i in (7, 16):
        paths[i].write_bytes(data)
    return paths


def leftovers():
    return [path for path in suspects._folder().glob("*") if path.is_file()]


def test_the_next_run_names_it(files, tmp_path, fragile):
    command = [sys.executable, "-m", "transferkit", "extract", files[0].parent, "--json"]
    command += ["--backbone", "test_resnet", "--random", "--image-size", "64", "--quiet"]
    command += ["--store", tmp_path / "store", "--batch-size", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([fragile, str(ROOT)])}
    first, second = (
        subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        for _ in range(2)
    )
    assert first.returncode == -signal.SIGSEGV
    assert second.returncode == 3, second.stderr
    result = json.loads(second.stdout)
    assert result["rows"] == 18
    assert result["failures"] == [{"name": n, "reason": REASON} for n in ("007.jpg", "016.jpg")]
    assert len(leftovers()) == 1  # so that it is tried beside each time
    # With a better decoder it is an image like any other.
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
    images = list_images(files[0].parent)
    store = FeatureStore(tmp_path / "store")
    result = extract(images, spec, ["pre_logits"], store)
    assert len(result.kept) == 20
    assert result.n_computed == 1
    assert leftovers() == []


def test_several_processes_go_on(files, tmp_path, fragile, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", fragile)  # for all but this one
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
    images, store = list_images(files[0].parent), FeatureStore(tmp_path / "store")
    options = {"device": "cpu,cpu", "batch_size": 2, "on_error": "skip"}
    result = extract(images, spec, ["pre_logits"], store, **options)
    assert [(f.name, f.reason) for f in result.failures] == [
        ("007.jpg", REASON),
        ("016.jpg", REASON),
    ]
    good = images.select(result.kept)
    assert len(good) == 18
    expected = extract(good, spec, ["pre_logits"], None, batch_size=2)
    np.testing.assert_array_equal(result.rows["pre_logits"], expected.rows["pre_logits"])


def test_what_is_written_down(tmp_path):
    with InFlight() as in_flight:
        (path,) = leftovers()
        with in_flight.holding(b"a" * 16), in_flight.holding(b"b" * 16), in_flight.holding(None):
            data = path.read_bytes()
            assert data[:32] == b"a" * 16 + b"b" * 16
            assert not any(data[32:])
            assert suspects._left_behind() == {}  # its owner lives
        assert not any(path.read_bytes())
    assert leftovers() == []


def test_more_at_a_time_than_places():
    with InFlight() as in_flight:
        in_flight._free.clear()
        with in_flight.holding(b"a" * 16):
            assert not any(leftovers()[0].read_bytes())


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "file"))
    with InFlight() as in_flight, in_flight.holding(b"a" * 16):
        pass
    assert ending(list_images([b"x"]), {b"a" * 16: 0}, PREPROCESS) == {}


def test_innocent_ones_are_forgotten_and_unknown_ones_kept(files):
    folder = suspects._folder()
    folder.mkdir(parents=True)
    mine, other = b"m" * 16, b"o" * 16
    (folder / "x.ids").write_bytes(mine + bytes(16) + other)
    (folder / "y.ids").write_bytes(bytes(64))
    assert ending(list_images(files), {mine: 0}, PREPROCESS) == {}
    assert [path.read_bytes() for path in leftovers()] == [other]
    os.utime(folder / "x.ids", (0, 0))
    assert ending(list_images(files), {}, PREPROCESS) == {}
    assert leftovers() == []
