"""Stores on a real server of S3, on this machine: whole, shared, and through a bad network."""

import logging
import os
import random
import re
import time

import numpy as np
import pytest

from tests.store import (
    test_compacting,
    test_directory,
    test_keys,
    test_processes,
    test_removing,
    test_rows,
    test_shards,
    test_stored_rows,
    test_verifying,
)
from tests.store.places.faulty_proxy import FAULTS, FaultyProxy
from transferkit.store import FeatureStore, PlaceError
from transferkit.store.places import fsspec as object_places

pytest.importorskip("s3fs")
server_of = pytest.importorskip("moto.server")

pytestmark = [
    pytest.mark.slow,
    # Of libraries under s3fs and moto.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.fixture
def place() -> str:
    return "s3"


@pytest.fixture
def stored_as() -> str:
    return "float32"


@pytest.fixture(scope="module")
def server():
    # It answers from threads of this process; each request would be two lines.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    yield running.get_host_and_port()[1]
    running.stop()


@pytest.fixture
def bucket(server, monkeypatch, tmp_path) -> str:
    import boto3

    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    name = f"b{random.getrandbits(60)}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/some/prefix"


COMMON = [
    test_compacting.test_compact_merges_small_shards,
    test_compacting.test_compact_leaves_damage_behind,
    test_directory.test_nothing_is_created_before_the_first_write,
    test_directory.test_nothing_asked_of_nothing,
    test_directory.test_missing_keeps_the_order_and_names_each_once,
    test_directory.test_specs_are_kept_apart,
    test_directory.test_other_writers_are_seen,
    test_directory.test_of_equal_ids_the_smallest_name_wins,
    test_directory.test_missing_rows_are_named,
    test_directory.test_copies_read_for_themselves,
    test_keys.test_info,
    test_keys.test_spec_file_is_readable_and_whole,
    test_removing.test_gc_removes_what_stands_elsewhere,
    test_removing.test_gc_and_damage,
    test_removing.test_gc_of_named_keys,
    test_rows.test_a_shard_replaced_by_its_own_content_is_good_again,
    test_rows.test_a_shard_that_shrinks_after_it_was_indexed,
    test_rows.test_a_shard_that_goes_between_index_and_read,
    test_rows.test_good_copies_win_whatever_their_names,
    test_shards.test_rows_are_read_in_blocks_of_any_size,
    test_shards.test_we_read_what_safetensors_writes,
    test_stored_rows.test_shards_that_are_compacted_meanwhile,
    test_stored_rows.test_a_damaged_row_is_named_and_the_others_are_read,
    test_stored_rows.test_copies_and_threads_read_for_themselves,
    test_verifying.test_verify_names_every_damage,
    test_verifying.test_a_spec_that_is_lost_is_a_fault,
    test_processes.test_threads_share_a_store,
]
fill = test_stored_rows.fill


@pytest.mark.parametrize("test", COMMON, ids=lambda test: test.__name__)
def test_it_is_a_store_as_any_other(request, test):
    """The common suite's tests, with their own fixtures."""
    names = test.__code__.co_varnames[: test.__code__.co_argcount]
    test(**{name: request.getfixturevalue(name) for name in names})


def test_how_many_of_the_common_suite_are_subjects():
    assert len(set(COMMON)) == 27


@pytest.mark.parametrize("n_bytes", [0, 1, 6, 130 * 10**6])
def test_one_put_of_any_size(store, n_bytes):
    content = np.random.default_rng(0).bytes(n_bytes)
    store.place.write_whole("key/a", [content[: n_bytes // 3], content[n_bytes // 3 :]])
    assert store.place.names("key") == ["a"]
    assert store.place.size_and_stamp("key/a")[0] == n_bytes
    for at in {0, n_bytes // 2, max(0, n_bytes - 3), n_bytes}:
        assert store.place.read("key/a", at, 5) == content[at : at + 5]


def through(server, store, monkeypatch, choose, seconds=2.0):
    """A store that is reached through a proxy, and patience of half a second."""
    import s3fs

    monkeypatch.setattr(object_places, "WAITS", (0, 0, 0, 0))
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 0.5)
    proxy = FaultyProxy(server, choose, seconds)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return proxy, FeatureStore(store.path)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_network_changes_no_row(store, spec, make_ids, rows_of, server, monkeypatch, fault):
    """A third of all requests fails, at every kind of request: what comes back is right."""
    rng = random.Random(0)
    ids = make_ids(60)
    last = {}

    def choose(method, path):
        # No request fails more than thrice in a row: a fourth attempt is left.
        asked = method, path
        last[asked] = last.get(asked, 0) + 1 if rng.random() < 1 / 3 else 0
        return fault if 0 < last[asked] <= 3 else None

    proxy, shaky = through(server, store, monkeypatch, choose, seconds=1.0)
    with proxy.running():
        for i in range(0, 60, 20):
            shaky.write(spec, ids[i : i + 20], rows_of(ids[i : i + 20]))
        np.testing.assert_array_equal(shaky.read(spec, ids[::-1]), rows_of(ids[::-1]))
        assert shaky.missing(spec, make_ids(61)) == make_ids(61)[60:]
        assert len(shaky.compact()) == 1
        assert shaky.verify() == shaky.gc() == []
    assert proxy.counts[fault] > 5
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server}")
    calm = FeatureStore(store.path)
    assert calm.info(spec.key).n_rows == 60
    assert calm.verify() == []
    np.testing.assert_array_equal(calm.read(spec, ids), rows_of(ids))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_that_stays_bad_ends_the_run(
    store, spec, make_ids, rows_of, server, monkeypatch, fault
):
    ids = make_ids(4)
    store.write(spec, ids, rows_of(ids))
    is_bad = []
    proxy, shaky = through(
        server, store, monkeypatch, lambda method, path: fault if is_bad else None, seconds=0.7
    )
    with proxy.running():
        rows = shaky.open(spec, ids)
        is_bad.append(True)
        asks = [lambda: rows[:], lambda: shaky.write(spec, ids[:1], rows_of(ids[:1]))]
        if fault != "cut":  # an answer without a body can't be cut
            asks += [lambda: FeatureStore(store.path).missing(spec, ids)]
        for ask in asks:
            with pytest.raises(
                PlaceError, match=rf"could not [\w ]+ {store.path}/\S+: .*; check that it can be"
            ) as caught:
                ask()
            assert KEY not in str(caught.value)
            assert SECRET not in str(caught.value)
        is_bad.clear()
        assert shaky.missing(spec, ids) == []
        np.testing.assert_array_equal(rows[:], rows_of(ids))
    assert proxy.counts[fault] >= 5 * len(asks)


def test_nobody_listens(store, spec, make_ids, monkeypatch):
    monkeypatch.setattr(object_places, "WAITS", (0, 0))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(PlaceError, match=r"could not look at s3://.*check that it can be reached"):
        FeatureStore(store.path).missing(spec, make_ids(1))


def test_no_credentials(store, spec, make_ids, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PlaceError, match="no credentials were found; check its credentials"):
        FeatureStore(store.path).missing(spec, make_ids(1))


def test_no_bucket(store, spec, make_ids, rows_of):
    nowhere = FeatureStore("s3://nobody-has-made-this/x")
    assert nowhere.missing(spec, make_ids(1)) == make_ids(1)
    with pytest.raises(PlaceError, match="there is no such bucket; make it first"):
        nowhere.write(spec, make_ids(1), rows_of(make_ids(1)))
    with pytest.raises(ValueError, match="can't be kept: there is no bucket 'nobody-has-made"):
        nowhere.place.check_writable("rows can't be kept")
    store.place.check_writable("rows can't be kept")
    assert store.place.free_bytes() is None
    assert store.place.leftovers("key") == []


def test_credentials_are_kept_nowhere(store, spec, make_ids, rows_of):
    path = store.write(spec, make_ids(2), rows_of(make_ids(2)), provenance={"device": "cpu"})
    for content in (path.read_bytes(), (store.path / spec.key / "spec.json").read_bytes()):
        assert KEY.encode() not in content
        assert SECRET.encode() not in content
    told = f"{store} {store.info(spec.key)} {store.__reduce__()} {store.place.__reduce__()}"
    assert not re.search(f"{KEY}|{SECRET}", told)


def test_a_killed_writer_leaves_only_whole_shards(store, spec):
    """Killed before, within or after a put: what a list shows is whole, and nothing is lost."""
    rng = random.Random(0)
    children = [
        test_processes.start(test_processes.WRITE_FOR_EVER, store, spec, seed) for seed in range(3)
    ]
    test_processes.go(children)
    until = time.monotonic() + 60
    while len(store.place.names(f"{spec.key}/shards")) < 6:
        assert time.monotonic() < until
        time.sleep(0.02)
    for child in children:
        time.sleep(rng.uniform(0, 0.05))
        child.kill()
    assert set(test_processes.end(children)) == {-9}
    fresh = FeatureStore(store.path)
    assert fresh.verify() == []
    held = []
    for seed in range(3):
        asked = test_processes.row_ids(range(seed * 10**6, seed * 10**6 + 5_000))
        absent = set(fresh.missing(spec, asked))
        present = [i for i in asked if i not in absent]
        assert present == asked[: len(present)]
        assert len(present) % 50 == 0
        held += present
    assert len(held) >= 300
    np.testing.assert_array_equal(fresh.read(spec, held), test_processes.expected(held))


def test_two_processes_write_the_same_key(store, spec):
    children = [
        test_processes.start(test_processes.WRITE_SOME, store, spec, seed) for seed in range(2)
    ]
    test_processes.go(children)
    ids = test_processes.row_ids(range(400))
    while any(child.poll() is None for child in children):
        time.sleep(1)
        absent = set(store.missing(spec, ids))
        if held := [i for i in ids if i not in absent]:
            np.testing.assert_array_equal(store.read(spec, held), test_processes.expected(held))
    assert test_processes.end(children) == [0, 0]
    info = store.info(spec.key)
    assert (info.n_rows, info.n_shards) == (400, 40)
    assert store.verify() == []
    assert len(store.gc()) == 20
    np.testing.assert_array_equal(
        FeatureStore(store.path).read(spec, ids), test_processes.expected(ids)
    )
