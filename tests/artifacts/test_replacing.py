"""A saved model replaced while others read it, and by processes that are killed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.artifacts.models import assert_same, fitted
from transferkit import artifacts
from transferkit.artifacts import replacing, saving

pytestmark = pytest.mark.kills

ROOT = Path(__file__).parents[2]
OTHER = np.array(["five", "six", "seven"])
# One process imports everything, and its forks write and are killed: that takes seconds.
PRELUDE = """
import json, os, random, signal, sys, time
from pathlib import Path
from transferkit import artifacts
from transferkit.artifacts import replacing, saving

folder, place, way, n = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
if way == "renames":
    replacing.exchange = lambda one, other: False
models = [artifacts.load(folder / name) for name in ("a", "b")]

def of(model):
    return model.classes.tolist(), model.train_ids.tobytes(), model.head.coef_.tobytes()

def write_for_ever():
    signal.alarm(200)  # whatever becomes of its parent, it ends
    choice = random.Random(os.getpid())
    while True:
        artifacts.save(place, choice.choice(models), overwrite=True)

def start():
    process = os.fork()
    if not process:
        write_for_ever()
    return process

def end(process):
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)

known = [of(model) for model in models]
artifacts.save(place, models[0])
seen = [0, 0]
random.seed(0)
"""
READ = """
process = start()
until = time.monotonic() + 60
try:
    while sum(seen) < n or 0 in seen and time.monotonic() < until:
        artifacts.describe(place)
        seen[known.index(of(artifacts.load(place)))] += 1
finally:
    end(process)
print(json.dumps({"seen": seen}))
"""
KILL = """
n_left = n_away = 0
for _ in range(n):
    process = start()
    time.sleep(random.uniform(0, 0.2))
    end(process)
    n_away += not place.exists()
    seen[known.index(of(artifacts.load(place)))] += 1
    n_left = max(n_left, len(os.listdir(place.parent)) - 1)
artifacts.save(place, models[0], overwrite=True)
assert of(artifacts.load(place)) == known[0]
print(json.dumps({"seen": seen, "left": n_left, "away": n_away, "end": os.listdir(place.parent)}))
"""

posix = pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")
ways = pytest.mark.parametrize("way", ["exchange", "renames"])


@pytest.fixture
def run(tmp_path):
    fitted().save(tmp_path / "a")
    fitted(labels=OTHER).save(tmp_path / "b")
    (tmp_path / "place").mkdir()

    def run(code, way, n):
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + code, tmp_path, tmp_path / "place" / "m", way, str(n)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@posix
@ways
def test_readers_get_the_old_or_the_new_one(run, way):
    assert min(run(READ, way, 30)["seen"]) > 0


@posix
@ways
def test_killed_while_replacing(run, way):
    result = run(KILL, way, 24)
    assert min(result["seen"]) > 0
    assert result["left"] > 0  # there was something to sweep
    assert result["left"] < 4  # every save swept what the one before had left
    assert way == "renames" or result["away"] == 0
    assert result["end"] == ["m"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may have no exchange")
def test_two_folders_exchanged(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert replacing.exchange(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a" / "b").exists()
    assert (tmp_path / "b" / "a").exists()
    with pytest.raises(FileNotFoundError):
        replacing.exchange(tmp_path / "a", tmp_path / "c")


def dead_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_only_leftovers_of_the_dead_are_swept(model, tmp_path):
    host = replacing._host()
    dead, other = dead_process(), "0" * 8
    kept = [
        f".m.new-{host}-{os.getpid()}-01234567",  # still being written
        f".m.new-{other}-{dead}-01234567",  # by a process of another machine
        f".n.new-{host}-{dead}-01234567",  # another model's
        f".m.new-{host}-{dead}-0123456",  # none of our names
    ]
    gone = [
        f".m.new-{host}-{dead}-01234567",
        f".m.new-{other}-1-01234567",
        f".m.old-{host}-{dead}-01234567",
    ]
    for name in kept + gone:
        (tmp_path / name).mkdir()
        (tmp_path / name / "head.skops").write_bytes(b"x")
    yesterday = time.time() - 25 * 3600
    os.utime(tmp_path / gone[1], (yesterday, yesterday))
    model.save(tmp_path / "m")
    if os.name != "posix":  # there only the age tells
        return
    model.save(tmp_path / "m", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["m", *kept])


def test_the_old_one_stands_in_between_two_renames(model, tmp_path):
    """As a save leaves it that is killed where the system can't exchange folders."""
    path = model.save(tmp_path / "m")
    aside = tmp_path / f".m.old-{replacing._host()}-{dead_process()}-01234567"
    path.rename(aside)
    assert_same(path, model)
    assert artifacts.describe(path)["task"] == "classification"
    with pytest.raises(FileExistsError, match="holds a model already"):
        artifacts.check_writable(path, overwrite=False)
    with pytest.raises(FileExistsError, match="holds a model already"):
        fitted(labels=OTHER).save(path)
    assert_same(path, model)
    other = fitted(labels=OTHER)
    other.save(path, overwrite=True)
    assert_same(path, other)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@posix
def test_a_link_to_a_model_stays_a_link(model, tmp_path):
    real = model.save(tmp_path / "disk" / "m")
    link = tmp_path / "m"
    link.symlink_to(real)
    other = fitted(labels=OTHER)
    assert other.save(link, overwrite=True) == link
    assert link.is_symlink()
    assert_same(real, other)
    assert [p.name for p in real.parent.iterdir()] == ["m"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "m"]


def test_a_model_that_another_process_saved_meanwhile_stays(model, tmp_path, monkeypatch):
    path = tmp_path / "m"

    def meanwhile(folder, place, *, overwrite):
        monkeypatch.setattr(saving, "put", replacing.put)
        model.save(path)
        replacing.put(folder, place, overwrite=overwrite)

    monkeypatch.setattr(saving, "put", meanwhile)
    with pytest.raises(FileExistsError, match="was saved by another process meanwhile"):
        fitted(labels=OTHER).save(path)
    assert_same(path, model)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_long_name(model, tmp_path):
    path = model.save(tmp_path / ("ü" * 120))
    model.save(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
