"""The catalogue of many shards: whatever stands in it, the store gives what it gives without."""

import hashlib
import json

import numpy as np
import pytest

from transferkit.store import CorruptRows, FeatureStore, PlaceError, catalogue, index, shards

pytestmark = [
    pytest.mark.parametrize("stored_as", ["int8"]),
    pytest.mark.parametrize("place", ["local", "memory"]),
]


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch):
    monkeypatch.setattr(catalogue, "MANY", 4)
    monkeypatch.setattr(index, "MANY", 4)


@pytest.fixture
def loaded(monkeypatch):
    """Names of the shards that are opened for their header."""
    names, plain = [], shards.load

    def load(place, name, *rest, **options):
        names.append(name.rpartition("/")[2])
        return plain(place, name, *rest, **options)

    monkeypatch.setattr(shards, "load", load)
    return names


@pytest.fixture
def many(store, spec, make_ids, write, loaded):
    """Ten shards of five rows, eight of which are in a catalogue."""
    ids = make_ids(50)
    for i in range(9):
        write(spec, ids[5 * i : 5 * i + 5], date=str(i % 3))
        if i == 7:
            assert store.missing(spec, ids) == ids[40:]
    assert (store.path / spec.key / "shards.catalogue").exists()
    write(spec, ids[45:])
    loaded.clear()
    return ids


def path_of(store, spec):
    return store.path / spec.key / "shards.catalogue"


def signed(body):
    return hashlib.sha256(body).digest() + body


def parts_of(content):
    body = content[32:]
    end = 8 + int.from_bytes(body[:8], "little")
    return json.loads(body[8:end]), body[end:]


def joined(told, ids):
    text = json.dumps(told).encode()
    return signed(len(text).to_bytes(8, "little") + text + ids)


def test_only_what_it_lacks_is_opened(store, spec, many, rows_of, loaded):
    fresh = FeatureStore(store.path)
    assert fresh.missing(spec, many) == []
    assert len(loaded) == 2
    np.testing.assert_array_equal(fresh.read(spec, many[::-1]), rows_of(many[::-1]))
    assert fresh.missing(spec, many) == []
    assert len(loaded) == 2
    path_of(store, spec).unlink()
    plain = FeatureStore(store.path)
    assert plain.missing(spec, many) == []
    assert len(loaded) == 12
    assert plain.list_keys() == fresh.list_keys()
    assert plain.ids(spec) == fresh.ids(spec)


def test_those_who_must_read_everything_do(store, spec, many, loaded):
    fresh = FeatureStore(store.path)
    assert fresh.verify() == []
    assert len(loaded) == 10
    fresh.gc()
    assert len(loaded) == 20
    other = FeatureStore(store.path.with_name("other"))
    [merged] = other.merge(FeatureStore(store.path))
    assert merged.n_rows == 50
    assert fresh.compact()
    assert not path_of(store, spec).exists()


def test_shards_that_go_and_come(store, spec, many, write, names, loaded, make_ids):
    told, _ = parts_of(path_of(store, spec).read_bytes())
    gone = told["shards"][3][0]
    known = {shard.file_name: shard.ids for shard in store._index(spec).snapshot().shards}
    lost = shards.raw_ids(known[gone])
    (store.path / spec.key / "shards" / gone).unlink()
    new = make_ids(5, 50)
    write(spec, new)
    loaded.clear()
    fresh = FeatureStore(store.path)
    assert set(fresh.missing(spec, many)) == set(lost)
    assert fresh.missing(spec, new) == []
    assert len(loaded) == 3


def test_a_shard_of_another_stamp_is_opened(store, spec, many, loaded):
    told, _ = parts_of(path_of(store, spec).read_bytes())
    shard = store.path / spec.key / "shards" / told["shards"][2][0]
    content = bytearray(shard.read_bytes())
    length = int.from_bytes(content[:8], "little")
    content[8 + length] ^= 1  # an id
    shard.write_bytes(bytes(content[:-1]))
    fresh = FeatureStore(store.path)
    assert len(fresh.missing(spec, many)) == 5
    assert shard.name in loaded


def test_it_is_written_when_it_lacks_many_and_more_rarely_as_it_grows(
    store, spec, make_ids, write, monkeypatch
):
    saved, plain = [], type(store.place).write_whole

    def noted(self, name, parts):
        plain(self, name, parts)
        if name.endswith(".catalogue"):
            saved.append(len(parts_of(self.read(name, 0, 10**7))[0]["shards"]))

    monkeypatch.setattr(type(store.place), "write_whole", noted)
    ids = make_ids(100)
    for i in range(100):
        store.missing(spec, ids)
        write(spec, ids[i : i + 1])
    assert saved[:5] == [4, 8, 12, 16, 20]
    steps = np.diff(saved)
    assert steps[-1] == saved[-2] // 8 > 4
    # Nobody who only reads writes anything.
    FeatureStore(store.path).read(spec, ids)
    assert len(parts_of(path_of(store, spec).read_bytes())[0]["shards"]) == saved[-1]


def test_of_two_writers_one_writes_it(store, spec, make_ids, write, monkeypatch):
    ids = make_ids(30)
    others = [FeatureStore(store.path) for _ in range(3)]
    for i in range(9):
        store.write(spec, ids[i : i + 1], np.full((1, 3), 127))
        for other in others:
            other.missing(spec, ids)
    assert not path_of(store, spec).exists()
    saved, plain = [], type(store.place).write_whole

    def noted(self, name, parts):
        saved.append(name.rpartition(".")[2])
        plain(self, name, parts)

    monkeypatch.setattr(type(store.place), "write_whole", noted)
    for i, other in enumerate(others):
        other.write(spec, ids[20 + i : 21 + i], np.full((1, 3), 127))
    assert sorted(saved) == ["catalogue", *["safetensors"] * 3]


@pytest.mark.parametrize("error", [PermissionError("no"), PlaceError("no")])
def test_no_matter_if_it_can_not_be_written(store, spec, make_ids, rows_of, monkeypatch, error):
    plain, tried = type(store.place).write_whole, []

    def write_whole(self, name, parts):
        if name.endswith(".catalogue"):
            tried.append(name)
            raise error
        plain(self, name, parts)

    monkeypatch.setattr(type(store.place), "write_whole", write_whole)
    ids = make_ids(9)
    for i in range(9):
        store.missing(spec, ids)
        store.write(spec, ids[i : i + 1], rows_of(ids[i : i + 1]))
    np.testing.assert_array_equal(FeatureStore(store.path).read(spec, ids), rows_of(ids))
    assert len(tried) == 2


DAMAGE = {
    "empty": lambda c: b"",
    "cut": lambda c: c[:-16],
    "a bit of an id": lambda c: c[:-9] + bytes([c[-9] ^ 4]) + c[-8:],
    "a bit of the text": lambda c: c[:60] + bytes([c[60] ^ 1]) + c[61:],
    "a bit of the digest": lambda c: bytes([c[0] ^ 128]) + c[1:],
    "longer": lambda c: c + bytes(16),
    "no text": lambda c: signed(bytes(8)),
    "not JSON": lambda c: signed((3).to_bytes(8, "little") + b"{{{"),
    "deep": lambda c: signed((10**5).to_bytes(8, "little") + b"[" * 10**5),
    "a list": lambda c: signed((2).to_bytes(8, "little") + b"[]"),
    "a length beyond": lambda c: signed((2**63).to_bytes(8, "little") + b"[]"),
    "too large": lambda c: c + bytes(10**6),
}
LIES = {
    "another version": lambda t: t | {"format": 2},
    "headers of numbers": lambda t: t | {"headers": [5, 5, 5]},
    "no such header": lambda t: t | {"headers": []},
    "another key's": lambda t: (
        t | {"headers": [h.replace('"key":"', '"key":"0') for h in t["headers"]]}
    ),
    "sizes that are texts": lambda t: (
        t | {"shards": [[n, "1", s, h] for n, _, s, h in t["shards"]]}
    ),
    "too many shards": lambda t: t | {"shards": t["shards"] * 2},
    "entries of one": lambda t: t | {"shards": [[n] for n, *_ in t["shards"]]},
    "names that are lists": lambda t: t | {"shards": [[[n], *rest] for n, *rest in t["shards"]]},
    "other sizes": lambda t: t | {"shards": [[n, 10, s, h] for n, _, s, h in t["shards"]]},
    "stamps that are numbers": lambda t: (
        t | {"shards": [[n, b, 7, h] for n, b, _, h in t["shards"]]}
    ),
    "other stamps": lambda t: t | {"shards": [[n, b, [1], h] for n, b, _, h in t["shards"]]},
    "names elsewhere": lambda t: t | {"shards": [["../x", *rest] for _, *rest in t["shards"]]},
}


@pytest.mark.parametrize("name", [*DAMAGE, *LIES])
def test_one_that_is_damaged_or_lies_isnt_used(store, spec, many, rows_of, loaded, name):
    path = path_of(store, spec)
    content = path.read_bytes()
    if name in DAMAGE:
        path.write_bytes(DAMAGE[name](content))
    else:
        told, ids = parts_of(content)
        path.write_bytes(joined(LIES[name](told), ids))
    fresh = FeatureStore(store.path)
    assert fresh.missing(spec, many) == []
    assert len(loaded) == 10
    np.testing.assert_array_equal(fresh.read(spec, many), rows_of(many))
    # The next writer mends it.
    fresh.write(spec, many[:1], rows_of(many[:1]))
    loaded.clear()
    assert FeatureStore(store.path).missing(spec, many) == []
    assert len(loaded) <= 1


def test_one_that_swaps_ids_swaps_no_rows(store, spec, many, rows_of):
    path = path_of(store, spec)
    told, ids = parts_of(path.read_bytes())
    path.write_bytes(joined(told, ids[16:32] + ids[:16] + ids[32:]))
    fresh = FeatureStore(store.path)
    swapped = {ids[:16], ids[16:32]}
    with pytest.raises(CorruptRows) as error:
        fresh.read(spec, many)
    assert set(error.value.ids) == swapped
    assert set(fresh.missing(spec, many)) == swapped
    again = sorted(swapped)
    fresh.write(spec, again, rows_of(again), provenance={"again": "1"})
    np.testing.assert_array_equal(fresh.read(spec, many), rows_of(many))
