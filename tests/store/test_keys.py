"""Keys: a folder and a readable spec each, and never one spec's rows for another's."""

import dataclasses
import json

import numpy as np
import pytest

from transferkit.store import FeatureStore


def test_spec_file_is_readable_and_whole(store, spec, make_ids, rows_of):
    store.write(spec, make_ids(1), rows_of(make_ids(1)))
    text = (store.path / spec.key / "spec.json").read_text()
    assert json.loads(text) == json.loads(spec.to_json())
    assert type(spec).from_json(text) == spec
    assert sorted(p.name for p in (store.path / spec.key).iterdir()) == ["shards", "spec.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "holds another spec"),
        ("", "isn't a spec"),
        ("[]", "isn't a spec"),
        ('{"preprocess": "x"}', "isn't a spec"),
        ("[" * 100_000, "isn't a spec"),
        ("\x00\x01", "isn't a spec"),
    ],
)
def test_another_spec_under_the_key(store, spec, make_ids, rows_of, caplog, text, message):
    ids = make_ids(2)
    store.write(spec, ids, rows_of(ids))
    path = store.path / spec.key / "spec.json"
    path.write_text(dataclasses.replace(spec, view=1).to_json() if text is None else text)
    for ask in (store.missing, store.read, FeatureStore(store.path).read):
        with pytest.raises(ValueError, match=message):
            ask(spec, ids)
    with pytest.raises(ValueError, match=message):
        store.write(spec, ids, rows_of(ids))
    assert store.specs() == store.list_keys() == store.gc() == store.compact() == []
    assert message in caplog.text
    assert [f.path for f in store.verify()] == [path]
    # As the message says.
    path.unlink()
    np.testing.assert_array_equal(store.read(spec, ids), rows_of(ids))
    store.write(spec, make_ids(1, 5), rows_of(make_ids(1, 5)))
    assert store.specs() == [spec]


def test_a_colliding_key(store, spec, make_ids, rows_of, monkeypatch):
    store.write(spec, make_ids(1), rows_of(make_ids(1)))
    monkeypatch.setattr(type(spec), "key", spec.key)
    other = dataclasses.replace(spec, view=1)
    with pytest.raises(ValueError, match="another spec than the one asked for"):
        store.missing(other, make_ids(1))


def test_info(store, spec, other_spec, make_ids, rows_of, map_shape):
    ids = make_ids(9)
    first = store.write(spec, ids[:6], rows_of(ids[:6]), provenance={"device": "cpu"})
    second = store.write(spec, ids[3:], rows_of(ids[3:]), provenance={"device": "cpu"})
    store.write(other_spec, ids[:1], rows_of(ids[:1], (2, 3)))
    assert {i.key for i in store.list_keys()} == {spec.key, other_spec.key}
    info = store.info(spec.key[:8])
    assert info in store.list_keys()
    assert (info.key, info.spec, info.n_rows, info.n_shards) == (spec.key, spec, 9, 2)
    assert info.n_bytes == first.stat().st_size + second.stat().st_size
    assert (info.row_shape, info.dtype) == (map_shape(4), spec.storage)
    assert info.provenance == {"device": "cpu"}
    info = store.info(other_spec.key)
    assert (info.n_rows, info.row_shape) == (1, map_shape(2, 3))


def test_keys_by_their_beginning(store, spec, make_ids, rows_of):
    specs = [dataclasses.replace(spec, view=view) for view in range(17)]
    for one in specs:
        store.write(one, make_ids(1), rows_of(make_ids(1)))
    keys = [one.key for one in specs]
    digit = next(d for d in "0123456789abcdef" if sum(k.startswith(d) for k in keys) > 1)
    with pytest.raises(ValueError, match=r"stands for several: .* give more"):
        store.info(digit)
    for unknown in ("", "..", "../..", "g" * 16, spec.key + "0", "*"):
        with pytest.raises(ValueError, match="unknown key"):
            store.info(unknown)
        with pytest.raises(ValueError, match="unknown key"):
            store.gc([unknown])
