"""Certificates of shards: read from any text, and kept when shards are merged."""

import pytest

from transferkit.store import FeatureStore
from transferkit.store.certificates import Certificate, best

pytestmark = pytest.mark.parametrize(
    ("place", "stored_as"), [("local", "int8"), ("local", "float16")]
)


@pytest.mark.parametrize("text", ["", "much", "0x1", "1e", "\0"])
@pytest.mark.parametrize("name", ["storage_mean_cosine", "storage_sample", "storage_accuracy"])
def test_texts_of_strangers(stored_as, place, name, text):
    provenance = Certificate(100, 0.9, 0.8, 20, 0.5, 0.6).to_provenance()
    assert Certificate.of(provenance) == Certificate(100, 0.9, 0.8, 20, 0.5, 0.6)
    assert Certificate.of(provenance | {name: text}) is None


def test_that_of_earlier_versions(stored_as, place):
    old = {"storage_mean_cosine": "0.999964", "storage_smallest_cosine": "0.999904"}
    assert Certificate.of(old) == Certificate(0, 0.999964, 0.999904)
    assert "of the first rows" in Certificate.of(old).text()
    assert Certificate.of({}) is None


def test_the_largest_sample_is_told_and_kept(store, spec, make_ids, rows_of):
    ids = make_ids(30)
    few, many = Certificate(50, 0.99, 0.98), Certificate(900, 0.97, 0.9, 200, 0.5, 0.75)
    for i, one in enumerate([few, many, None]):
        told = {"run": "1"} | ({} if one is None else one.to_provenance())
        part = ids[10 * i : 10 * i + 10]
        store.write(spec, part, rows_of(part), provenance=told)
    assert store.info(spec.key).certificate == many
    [merged] = store.compact()  # runs that differ in their certificates alone are merged
    assert len(merged.sources) == 3
    [info] = FeatureStore(store.path).list_keys()
    assert (info.n_rows, info.n_shards, info.certificate) == (30, 1, many)
    assert info.provenance == {"run": "1", **many.to_provenance()}


def test_best(stored_as, place):
    assert best([]) is None
    assert best([{"device": "cpu"}]) is None
