"""Object stores: which URLs are taken, and what becomes of requests that fail."""

import errno
import importlib.util
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest

from transferkit.store import FeatureStore, PlaceError
from transferkit.store.places import ObjectPlace, open_place
from transferkit.store.places import fsspec as object_places


@pytest.fixture
def place() -> str:
    return "memory"


@pytest.fixture
def stored_as() -> str:
    return "float32"


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch):
    monkeypatch.setattr(object_places, "WAITS", (0, 0, 0, 0))


@pytest.fixture
def faults(store, monkeypatch):
    """Give a verb of the file system a list of errors to raise before it works again."""
    system = store.place._system()

    def fault(verb, *errors):
        plain, left = getattr(system, verb), list(errors)

        def faulty(*args, **options):
            error = left.pop(0) if left else None
            if isinstance(error, Exception):
                raise error
            content = plain(*args, **options)
            return content[: len(content) // 2] if error == "cut" else content

        monkeypatch.setattr(system, verb, faulty)
        return left

    return fault


def down(n=10**6):
    return [OSError(errno.EIO, "Internal Error")] * n


@pytest.mark.parametrize("verb", ["ls", "info", "cat_file", "pipe_file", "rm_file"])
@pytest.mark.parametrize(
    "error", [OSError(5, "Internal Error"), TimeoutError(), RuntimeError("the body ended early")]
)
def test_a_request_that_fails_is_made_again(store, spec, make_ids, rows_of, faults, verb, error):
    ids = make_ids(6)
    left = faults(verb, *[error] * 4)
    for part in (ids[:4], ids[2:], ids):
        store.write(spec, part, rows_of(part), provenance={"run": str(len(part))})
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))
    assert len(store.gc()) == 2
    assert left == []
    np.testing.assert_array_equal(FeatureStore(store.path).read(spec, ids), rows_of(ids))


def test_what_comes_cut_is_asked_for_again(store, spec, make_ids, rows_of, faults):
    ids = make_ids(6)
    store.write(spec, ids, rows_of(ids))
    left = faults("cat_file", *["cut"] * 4)
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))
    assert left == []


@pytest.mark.parametrize("verb", ["ls", "info", "cat_file"])
def test_a_place_that_is_down_is_no_loss_of_rows(
    store, spec, make_ids, rows_of, faults, verb, monkeypatch
):
    """Rows that can't be asked for aren't missing: nobody computes them again."""
    ids = make_ids(6)
    store.write(spec, ids[:3], rows_of(ids[:3]))
    store.write(spec, ids[3:], rows_of(ids[3:]))
    faults(verb, *down())
    for ask in (
        lambda: store.read(spec, ids),
        lambda: store.missing(spec, ids),
        lambda: store.write(spec, ids[:1], rows_of(ids[:1])),
        store.verify,
        store.compact,
        store.gc,
        store.list_keys,
    ):
        store._indexes.clear()
        with pytest.raises(PlaceError, match=r"could not .* memory://.*Internal Error.*run it"):
            ask()
    monkeypatch.undo()
    assert store.missing(spec, ids) == []
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))
    assert store.verify() == []


def test_rows_that_were_found_and_then_cannot_be_read(store, spec, make_ids, rows_of, faults):
    ids = make_ids(6)
    store.write(spec, ids, rows_of(ids))
    rows = store.open(spec, ids)
    left = faults("cat_file", *down(5))
    with pytest.raises(PlaceError, match="could not read"):
        rows[:]
    assert left == []
    np.testing.assert_array_equal(rows[:], rows_of(ids))
    assert store.missing(spec, ids) == []


def test_a_failed_write_leaves_nothing(store, spec, make_ids, rows_of, faults):
    ids = make_ids(2)
    faults("pipe_file", *down(5))
    with pytest.raises(PlaceError, match=r"could not write memory://.* is kept"):
        store.write(spec, ids, rows_of(ids))
    assert not store.path.exists()
    store.write(spec, ids, rows_of(ids))
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))


def test_a_refusal_is_final_and_says_so(store, spec, make_ids, faults):
    left = faults("info", PermissionError(13, "Access Denied"), *down(1))
    with pytest.raises(PlaceError, match=r"Access Denied; check its credentials"):
        store.missing(spec, make_ids(1))
    assert len(left) == 1


def test_a_row_costs_few_requests(store, spec, make_ids, rows_of, monkeypatch):
    """Scattered rows are read in ranges, the header together with the ids."""
    ids = make_ids(2000)
    store.write(spec, ids, rows_of(ids))
    fresh = FeatureStore(store.path)
    system, asked = fresh.place._system(), []
    plain = system.cat_file
    monkeypatch.setattr(system, "cat_file", lambda *a, **o: asked.append(o) or plain(*a, **o))
    assert fresh.missing(spec, ids) == []
    assert len(asked) == 2  # the spec, and the shard
    asked.clear()
    chosen = ids[::100]
    rows = fresh.open(spec, chosen)
    asked.clear()
    np.testing.assert_array_equal(rows[:], rows_of(chosen))
    assert len(asked) == 1
    monkeypatch.setattr(ObjectPlace, "gap_bytes", 0)
    asked.clear()
    np.testing.assert_array_equal(rows[:], rows_of(chosen))
    assert len(asked) == 2 * len(chosen)
    assert max(one["end"] - one["start"] for one in asked) == 16


SECRETS = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI")


@pytest.mark.parametrize(
    "url",
    [
        f"s3://{SECRETS[0]}:{SECRETS[1]}@bucket/prefix",
        f"s3://{SECRETS[0]}@bucket",
        f"az://user:{SECRETS[1]}@account/x",
        f"s3://bucket/prefix?secret={SECRETS[1]}",
        f"gs://bucket/#{SECRETS[1]}",
        f"https://user:{SECRETS[1]}@host/x",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url):
    with pytest.raises(ValueError, match=r"hold|can't be at") as caught:
        FeatureStore(url)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_credentials_in_a_librarys_text_are_not_repeated(store, spec, faults, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very/own+value")
    text = (
        f"denied for {SECRETS[0]} with very/own+value at https://me:pw@host/x?X-Amz-Signature=ab12"
        "&sig=cd34&prefix=kept"
    )
    faults("info", PermissionError(13, text))
    with pytest.raises(PlaceError, match="denied") as caught:
        store.missing(spec, [bytes(16)])
    told = str(caught.value)
    assert "prefix=kept" in told
    assert not any(s in told for s in (SECRETS[0], "very/own", "me:pw", "ab12", "cd34"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "can't be at ftp://; give a folder, or a URL that begins with s3://"),
        ("simplecache::s3://bucket/x", "can't be at simplecache::s3://"),
        ("s3://", "names no bucket; give s3://BUCKET/PREFIX"),
        ("s3:///prefix", "names no bucket"),
        ("s3://bucket/../x", "isn't a plain URL"),
        (Path("s3://bucket/x"), "'s3:/bucket/x' looks like a URL that was made a path"),
    ],
)
def test_urls_that_are_no_place(url, message):
    with pytest.raises(ValueError, match=message):
        FeatureStore(url)


def test_slashes_at_the_end_are_no_part_of_a_place():
    assert open_place("Memory://a/b//").where("c") == "memory://a/b/c"


def test_a_missing_library_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("s3fs", "gcsfs") else find(name)
    )
    with pytest.raises(ValueError, match=r"needs s3fs, .* pip install 'transferkit\[s3\]'"):
        FeatureStore("s3://bucket/x")
    with pytest.raises(ValueError, match="needs gcsfs, which isn't installed; run pip install gcs"):
        FeatureStore("gs://bucket/x")


def test_the_default_store_may_be_a_url(monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_STORE", "memory://mine")
    assert FeatureStore().path == "memory://mine"


def test_nothing_is_imported_before_it_is_needed():
    code = (
        "import sys\nfrom transferkit.store import FeatureStore\nFeatureStore('memory://x')\n"
        "print('fsspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_others_file_systems_keep_their_settings(store):
    assert store.place._system() is store.place._system()
    assert store.place._system() is not fsspec.filesystem("memory")
