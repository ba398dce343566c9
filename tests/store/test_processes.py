"""Several processes, killed or not: what can be read is exact, and nothing good goes."""

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import transferkit
from transferkit.store import FeatureStore

# Rows are maps in every class.
pytestmark = [
    pytest.mark.kills,
    pytest.mark.parametrize("place", ["local"]),
    pytest.mark.parametrize("stored_as", ["float32", "float16", "int8-maps"]),
]

ROOT = Path(transferkit.__file__).parents[1]

# A row follows from its id: a map of the halves of its 16 bytes, 30 times over. Every storage
# holds it exactly, int8 because 127 is the largest of its one channel.
PRELUDE = """
import random, sys
import numpy as np
from transferkit.spec import FeatureSpec
from transferkit.store import FeatureStore
store, spec = FeatureStore(sys.argv[1]), FeatureSpec.from_json(sys.argv[2])
rng = random.Random(int(sys.argv[3]))
def ids(numbers): return [n.to_bytes(16, "big") for n in numbers]
def rows(ids):
    whole = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 1, 1, 16)
    last = np.full((len(ids), 1, 1, 1), 127, np.uint8)
    return np.tile(np.concatenate([whole >> 4, whole & 15, last], axis=3), (1, 1, 30, 1))
def write(numbers):
    whole = ids(numbers)
    store.write(spec, whole, rows(whole), provenance={"writer": sys.argv[3]})
print("ready", flush=True)
sys.stdin.readline()
"""
WRITE_FOR_EVER = """
n = int(sys.argv[3]) * 10**6
while True:
    write(range(n, n + 50))
    n += 50
"""
WRITE_SOME = """
for n in range(0, 400, 20):
    write(range(n, n + 20))
"""
STIR = """
for _ in range(12):
    for _ in range(3):
        write(sorted(rng.sample(range(100), rng.randrange(1, 60))))
    store = FeatureStore(store.path)
    rng.choice([store.gc, store.compact])()
"""


def start(code: str, store: FeatureStore, spec, seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(store.path), spec.to_json(), str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def go(children: list[subprocess.Popen[str]]) -> None:
    for child in children:
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()


def end(children: list[subprocess.Popen[str]]) -> list[int]:
    codes = [child.wait(60) for child in children]
    for child in children:
        child.stdin.close()
        child.stdout.close()
    return codes


def row_ids(numbers) -> list[bytes]:
    return [n.to_bytes(16, "big") for n in numbers]


def expected(ids: list[bytes]) -> np.ndarray:
    lines = [[*(b // 16 for b in i), *(b % 16 for b in i), 127] for i in ids]
    return np.array([[[line] * 30] for line in lines], np.float32)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_writer_leaves_only_whole_shards(store, spec):
    rng = random.Random(0)
    children = [start(WRITE_FOR_EVER, store, spec, seed) for seed in range(4)]
    go(children)
    for child in children:
        time.sleep(rng.uniform(0.02, 0.12))
        child.kill()
    assert set(end(children)) == {-9}
    fresh = FeatureStore(store.path)
    assert fresh.verify() == []
    held = []
    for seed in range(4):
        asked = row_ids(range(seed * 10**6, seed * 10**6 + 10_000))
        absent = set(fresh.missing(spec, asked))
        present = [i for i in asked if i not in absent]
        # Shards were written in order, 50 rows each: what is there has no gap.
        assert present == asked[: len(present)]
        assert len(present) % 50 == 0
        held += present
    assert held
    np.testing.assert_array_equal(fresh.read(spec, held), expected(held))
    # Whoever comes next isn't hindered by what was left.
    asked = row_ids(range(10**9, 10**9 + 3))
    fresh.write(spec, asked, expected(asked))
    np.testing.assert_array_equal(fresh.read(spec, asked), expected(asked))


def test_two_processes_write_the_same_key(store, spec):
    children = [start(WRITE_SOME, store, spec, seed) for seed in range(2)]
    go(children)
    assert end(children) == [0, 0]
    ids = row_ids(range(400))
    assert store.verify() == []
    info = store.info(spec.key)
    assert (info.n_rows, info.n_shards) == (400, 40)
    np.testing.assert_array_equal(store.read(spec, ids), expected(ids))
    assert len(store.gc()) == 20
    np.testing.assert_array_equal(FeatureStore(store.path).read(spec, ids), expected(ids))


def test_reading_while_others_write_remove_and_merge(store, spec):
    ids = row_ids(range(100))
    for i in range(0, 100, 10):
        store.write(spec, ids[i : i + 10], expected(ids[i : i + 10]))
    children = [start(STIR, store, spec, seed) for seed in range(3)]
    go(children)
    n_reads = 0
    while any(child.poll() is None for child in children):
        np.testing.assert_array_equal(store.read(spec, ids), expected(ids))
        assert store.missing(spec, ids) == []
        n_reads += 1
    assert end(children) == [0, 0, 0]
    assert n_reads > 1
    np.testing.assert_array_equal(FeatureStore(store.path).read(spec, ids), expected(ids))
    assert FeatureStore(store.path).verify() == []


def test_threads_share_a_store(store, spec):
    ids = row_ids(range(400))
    failures = []

    def work(seed: int) -> None:
        try:
            for n in range(0, 400, 40):
                part = ids[n : n + 40]
                store.write(spec, part, expected(part), provenance={"thread": str(seed)})
                assert store.missing(spec, part) == []
                np.testing.assert_array_equal(store.read(spec, part), expected(part))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    np.testing.assert_array_equal(store.read(spec, ids), expected(ids))


CHANGE_FOR_EVER = """
n = 0
while True:
    write(range(n, n + 20))
    n += 20
    if n % 100 == 0:
        FeatureStore(store.path).compact()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_store_in_use_is_merged_and_verified(store, spec, tmp_path):
    """Whoever merges gets all rows that were there at the start, and no fault of the moment."""
    [child] = [start(CHANGE_FOR_EVER, store, spec, 0)]
    go([child])
    here = FeatureStore(tmp_path / "here")
    n_merges = 0
    until = time.monotonic() + 8
    try:
        while n_merges < 12 and time.monotonic() < until:
            assert FeatureStore(store.path).verify() == []
            there = FeatureStore(store.path)
            [known] = there.list_keys() or [None]
            if known is None:
                continue
            ids = there.ids(spec)
            [merged] = here.merge(there)
            assert merged.faults == ()
            assert here.missing(spec, ids) == []
            n_merges += merged.n_rows > 0
    finally:
        child.kill()
        end([child])
    assert n_merges > 1
    held = here.ids(spec)
    np.testing.assert_array_equal(here.read(spec, held), expected(held))


WRITE_FIRST = """
import dataclasses
for n in range(60):
    one = dataclasses.replace(spec, feature=f"stage{n}.avg")
    store.write(one, ids(range(3)), rows(ids(range(3))))
"""


def test_verifying_beside_first_writers(store, spec):
    children = [start(WRITE_FIRST, store, spec, seed) for seed in range(2)]
    go(children)
    n = 0
    while any(child.poll() is None for child in children):
        assert FeatureStore(store.path).verify() == []
        n += 1
    assert end(children) == [0, 0]
    assert n > 1
    assert FeatureStore(store.path).verify() == []
