"""Search by product quantisation: exact scores, few neighbours missed, and no trust in files."""

import json
import re

import numpy as np
import pytest
import safetensors.numpy

from tests.inspection.plain_search import by_hand, extractor_in
from transferkit.inspection import product_index
from transferkit.inspection import search as searching
from transferkit.inspection.neighbors import nearest_rows
from transferkit.inspection.product_index import ProductIndex, open_index
from transferkit.inspection.search import search
from transferkit.store.inputs import id_array

pytest.importorskip("faiss")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Sixteen centroids of each part: little to learn."""
    monkeypatch.setattr(product_index, "_BITS", 4)
    monkeypatch.setattr(product_index, "_PARTS", 8)
    monkeypatch.setattr(searching, "MIN_ROWS", 13)


def bank(n=3000, width=30):
    """Rows around some centres, with ids that end in zero bytes here and there."""
    rng = np.random.default_rng(0)
    centres = 3 * rng.normal(size=(30, width))
    rows = (centres[rng.integers(0, 30, n)] + rng.normal(size=(n, width))).astype(np.float32)
    return rows, id_array([i.to_bytes(8, "little") + b"id" + bytes(6) for i in range(n)])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_few_neighbours_are_missed_and_scores_are_exact(tmp_path, metric):
    rows, ids = bank()
    sources = [rows[:, :11], rows[:, 11:]]
    index = open_index(tmp_path / "index", ["a", "b"], metric, sources, ids)
    assert index.codes.shape == (3000, 4)
    near, scores = index.search(rows[:40], sources, ids, 10)
    exact, _ = nearest_rows(rows[:40], [rows], 10, metric=metric)
    assert np.mean([np.isin(a, b).mean() for a, b in zip(exact, near, strict=True)]) > 0.95
    for query, at, own in zip(rows, near, scores, strict=False):
        expected, by_loop = by_hand(query, rows[at], 10, metric)
        assert expected == list(range(10))
        assert own.tolist() == pytest.approx(by_loop, abs=1e-5)
    left_out = [np.array([i, near[i][1]]) for i in range(40)]
    others, _ = index.search(rows[:40], sources, ids, 10, left_out=left_out)
    assert all(len(at) == 10 and not np.isin(at, left_out[i]).any() for i, at in enumerate(others))
    # What it says of itself, measured again in another way: a row is not its own neighbour.
    tried = np.linspace(0, 2999, 100).astype(int)
    exact, _ = nearest_rows(rows[tried], [rows], 21, metric=metric)
    found, _ = index.search(rows[tried], sources, ids, 21)
    pairs = zip(exact, found, tried.tolist(), strict=True)
    shares = [np.isin(np.setdiff1d(a, i), b).mean() for a, b, i in pairs]
    assert index.recall == pytest.approx(np.mean(shares), abs=0.01)
    assert f"finds {index.recall:.1%}".replace("%", " %") in index.told()


def test_it_is_kept_and_completed(tmp_path):
    rows, ids = bank()
    path = tmp_path / "index"
    first = open_index(path, ["a"], "cosine", [rows[:2000]], ids[:2000])
    content = path.read_bytes()
    again = open_index(path, ["a"], "cosine", [rows[500:1500]], ids[500:1500])
    assert path.read_bytes() == content
    np.testing.assert_array_equal(again.codes, first.codes)
    # In another order, with rows twice, and some that are new.
    order = np.random.default_rng(0).permutation(np.r_[0:3000, 0:100])
    more = open_index(path, ["a"], "cosine", [rows[order]], ids[order])
    assert len(more.ids) == len(np.unique(ids))
    assert path.read_bytes() != content
    kept = np.searchsorted(more.ids, first.ids)
    np.testing.assert_array_equal(more.codes[kept], first.codes)
    near, scores = more.search(rows[[5]], [rows[order]], ids[order], 2)
    assert {order[i] for i in near[0]} == {5}
    assert scores[0] == pytest.approx([1, 1])


def test_an_index_of_other_rows_is_refused(tmp_path):
    rows, ids = bank(300)
    open_index(tmp_path / "index", ["a"], "cosine", [rows], ids)
    for keys, metric in ((["b"], "cosine"), (["a"], "euclidean")):
        with pytest.raises(ValueError, match="of other features, or of another metric"):
            open_index(tmp_path / "index", keys, metric, [rows], ids)


def about(**values):
    def change(tensors, told):
        return tensors, told | values

    return change


def tensor(name, change):
    return lambda tensors, told: (tensors | {name: change(tensors[name])}, told)


LIES = {
    "no ids": lambda tensors, told: ({k: v for k, v in tensors.items() if k != "ids"}, told),
    "nothing told": lambda tensors, told: (tensors, {}),
    "a width that is text": about(n_features="many"),
    "wider than its centroids": about(n_features=33),
    "narrower": about(n_features=24),
    "fewer ids": tensor("ids", lambda t: t[:-1]),
    "ids in another order": tensor("ids", lambda t: t[::-1].copy()),
    "ids twice": tensor("ids", lambda t: t[[0, *range(len(t) - 1)]]),
    "shorter codes": tensor("codes", lambda t: t[:, :-1].copy()),
    "codes of another type": tensor("codes", lambda t: t.astype(np.int32)),
    "fewer centroids": tensor("centroids", lambda t: t[:, :5].copy()),
    "centroids that are no numbers": tensor("centroids", lambda t: t * np.nan),
    "centroids of one axis": tensor("centroids", lambda t: t.ravel()),
}


@pytest.mark.parametrize("name", [*LIES, "text", "cut", "empty"])
def test_files_of_strangers(tmp_path, name):
    rows, ids = bank(300)
    path = tmp_path / "index"
    index = open_index(path, ["a"], "cosine", [rows], ids)
    assert ProductIndex.load(path).told() == index.told()
    content = path.read_bytes()
    if name in LIES:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        told = json.loads(header["__metadata__"]["search_index"])
        tensors, told = LIES[name](safetensors.numpy.load(content), told)
        path.write_bytes(safetensors.numpy.save(tensors, {"search_index": json.dumps(told)}))
    else:
        path.write_bytes({"text": b"notes", "cut": content[:-9], "empty": b""}[name])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{path.name}' isn't a search index, or is damaged"):
        open_index(path, ["a"], "cosine", [rows], ids)
    assert path.read_bytes() == before


def test_search_by_it_finds_what_search_finds(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(product_index, "_BITS", 3)  # of thirteen images
    extractor, path = extractor_in(tmp_path / "store"), tmp_path / "index"
    queries = [folder / "dark/00.png", folder / "light/03.png"]
    for only_others in (False, True):
        options = {"k": 5, "only_others": only_others}
        plain = search(queries, folder, extractor, **options)
        found = search(queries, folder, extractor, index=path, **options)
        assert found.hits == plain.hits
        assert found.method == ProductIndex.load(path).told()
        assert plain.method == "exact"
    few = search(queries, folder / "dark", extractor, index=tmp_path / "none")
    assert few.method == "exact, because an index needs 13 images"
    assert not (tmp_path / "none").exists()


def test_without_the_library_it_says_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    message = re.escape("run pip install 'transferkit[faiss]'")
    with pytest.raises(ImportError, match=message):
        search(folder / "dark/00.png", folder, extractor_in(tmp_path / "store"), index="index")
