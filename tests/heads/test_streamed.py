"""One suite for every head that streams: the same from rows in a store as from an array."""

import numpy as np
import pytest

from tests.heads.test_common import QUICK, blobs, numbers, several
from transferkit.datasets import UnreadRows, is_unread
from transferkit.heads import create_head, describe, head_names
from transferkit.solvers import discriminant, perceptron
from transferkit.spec import FeatureSpec, Preprocess
from transferkit.store import FeatureStore, StoredRows

pytestmark = pytest.mark.suites

STREAMED = [name for name in head_names() if describe(name).streams]
SUBJECTS = [(name, task) for name in STREAMED for task in describe(name).tasks]
PREPROCESS = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
# Solved until nothing is left of where a solver stops.
EXACT = {"linear": {"tol": 1e-9}}
# Numbers of a block: less than the least of 16 rows; 37 rows of 8 features, of which the last
# block of 601 rows has 9; more than all rows.
SIZES = [100, 300, 10**6]
# Of probabilities, scores and standardised numbers.
NEAR = {"float32": 1e-5, "float16": 2e-5}

every_head = pytest.mark.parametrize(("name", "task"), SUBJECTS)


def test_the_suite_has_found_every_head():
    assert STREAMED == ["centroid", "knn", "lda", "linear", "mlp", "ridge"]
    assert len(SUBJECTS) == 10


class Watched:
    """Rows in a store that count what is read at a time."""

    def __init__(self, stored):
        self.stored, self.most = stored, 0
        self.shape, self.dtype, self.ndim = stored.shape, stored.dtype, stored.ndim
        self.nbytes = stored.nbytes

    def __len__(self):
        return len(self.stored)

    def __getitem__(self, key):
        found = self.stored[key]
        self.most = max(self.most, len(found) if found.ndim > 1 else 1)
        return found

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("all rows were gathered")


@pytest.fixture
def stored(tmp_path):
    """Puts an array into a store, in shards of odd sizes; returns rows that aren't read."""

    def stored(X, kind=None):
        kind = kind or X.dtype.name
        key = f"random:{len(list(tmp_path.iterdir()))}"
        spec = FeatureSpec("timm:resnet18", "{}", key, PREPROCESS, "pre_logits", storage=kind)
        ids = [i.to_bytes(16, "big") for i in range(len(X))]
        store = FeatureStore(tmp_path / key.replace(":", "-"))
        for first in range(0, len(X), 31):
            part = slice(first, first + 31)
            store.write(spec, ids[part], X[part])
        return store.open(spec, ids)

    return stored


def blocks_of(monkeypatch, size):
    """Let all blocks hold so many numbers, and keep nothing in memory."""
    for place in ("datasets.unread.BLOCK", "datasets.unread.PREDICTED", "solvers.rows.BLOCK"):
        monkeypatch.setattr(f"transferkit.{place}", size)
    rows = max(1, size // 8)
    for place in ("solvers.statistics.BLOCK", "solvers.ridge.BLOCK"):
        monkeypatch.setattr(f"transferkit.{place}", rows)
    for place in ("solvers.neighbors.BLOCK", "heads.knn.BLOCK", "solvers.perceptron.BLOCK"):
        monkeypatch.setattr(f"transferkit.{place}", size)
    monkeypatch.setattr("transferkit.solvers.discriminant.HELD", size)
    monkeypatch.setattr("transferkit.heads.knn.ROWS_FOR_ORIGIN", 50)


def made(name, task="classification"):
    # The linear head's regressor is the ridge head's, and has no tolerance.
    exact = EXACT.get(name, {}) if task == "classification" else {}
    return create_head(name, task, **QUICK.get(name, {}), **exact)


def outputs(head, X):
    for method in ("predict_proba", "decision_function", "predict"):
        if hasattr(head, method):
            return getattr(head, method)(X)
    raise AssertionError("not reached")


def data_for(task, dtype, n=90):
    if task == "regression":
        X, y = numbers(n)
        X, y = X.astype(dtype), y - y.mean()
        return X, y / y.std()
    X, y = blobs(n, spread=3)
    return X.astype(dtype), np.array(["a", "b", "c"])[y]


@every_head
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_equal_to_the_head_on_the_array(name, task, size, dtype, stored, monkeypatch):
    X, y = data_for(task, dtype, n=601)
    expected = made(name, task).fit(X, y)
    blocks_of(monkeypatch, size)
    rows = Watched(stored(X))
    assert is_unread(rows)
    head = made(name, task).fit(rows, y)
    np.testing.assert_allclose(outputs(head, rows), outputs(expected, X), atol=NEAR[dtype])
    assert head.n_features_in_ == 8
    for chosen in ("C_", "alpha_", "n_epochs_", "C_on_edge_"):
        assert getattr(head, chosen, None) == getattr(expected, chosen, None)
    if size < len(X):
        assert rows.most <= 256  # the least that the linear solver reads at once


@every_head
def test_int8_rows_are_those_that_are_read(name, task, stored, monkeypatch):
    X, y = data_for(task, "float32", n=200)
    rows = stored(np.tile(X, 9), "int8")  # a block of 64, and one of 8
    exact = rows[:]
    assert 0 < np.abs(exact - np.tile(X, 9)).max() < 0.1
    expected = made(name, task).fit(exact, y)
    blocks_of(monkeypatch, 72 * 37)
    head = made(name, task).fit(Watched(rows), y)
    np.testing.assert_allclose(outputs(head, rows), outputs(expected, exact), atol=1e-4)


@pytest.mark.parametrize("name", [n for n in STREAMED if describe(n).multilabel])
def test_several_labels(name, stored, monkeypatch):
    X, Y = several()
    expected = made(name).fit(X, Y)
    blocks_of(monkeypatch, 300)
    head = made(name).fit(Watched(stored(X)), Y)
    np.testing.assert_allclose(outputs(head, X), outputs(expected, X), atol=1e-5)
    assert np.array_equal(getattr(head, "C_", 0), getattr(expected, "C_", 0))


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_a_validation_part_in_the_store_chooses_the_same(name, stored, monkeypatch):
    X, y = blobs(n=150, spread=3)
    train, held = slice(0, 100), slice(100, 150)
    expected = made(name).fit(X[train], y[train], validation=(X[held], y[held]))
    blocks_of(monkeypatch, 300)
    rows, others = Watched(stored(X[train])), Watched(stored(X[held]))
    head = made(name).fit(rows, y[train], validation=(others, y[held]))
    np.testing.assert_allclose(outputs(head, X), outputs(expected, X), atol=1e-5)
    assert getattr(head, "C_", None) == getattr(expected, "C_", None)
    losses = getattr(expected, "validation_losses_", [])
    np.testing.assert_allclose(getattr(head, "validation_losses_", []), losses, rtol=1e-5)


@pytest.mark.parametrize("name", [n for n in STREAMED if describe(n).sample_weight])
def test_weights(name, stored, monkeypatch):
    X, y = blobs(spread=3)
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) * (np.arange(len(y)) % 4 > 0)
    expected = made(name).fit(X, y, sample_weight=weight)
    blocks_of(monkeypatch, 300)
    head = made(name).fit(Watched(stored(X)), y, sample_weight=weight)
    np.testing.assert_allclose(outputs(head, X), outputs(expected, X), atol=1e-5)


@every_head
def test_rows_that_no_head_can_compute_with_are_named(name, task, stored, monkeypatch):
    X, y = data_for(task, "float32")
    bad = UnreadRows([(stored(X[:50]), None), (np.where(X[50:] > 9, X[50:], np.nan), None)])
    blocks_of(monkeypatch, 300)
    with pytest.raises(ValueError, match=r"X holds NaN in 40 of 90 rows, the first being row 50"):
        made(name, task).fit(bad, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        made(name, task).fit(stored(X), y[:-1])
    head = made(name, task).fit(stored(X), y)
    with pytest.raises(ValueError, match="features"):
        head.predict(stored(X[:, :5]))


@pytest.mark.parametrize("name", sorted(set(head_names()) - set(STREAMED)))
def test_other_heads_read_all_rows(name, stored):
    X, y = blobs()
    head = create_head(name, **QUICK.get(name, {}))
    found = outputs(head.fit(stored(X), y), stored(X))
    np.testing.assert_array_equal(found, outputs(head.fit(X, y), X))


@pytest.mark.parametrize("shrinkage", ["auto", 0.3, None])
def test_more_classes_than_matrices_that_are_held(shrinkage, stored, monkeypatch):
    X, y = blobs(n=200, n_classes=7, spread=2)
    expected = create_head("lda", shrinkage=shrinkage).fit(X, y).predict_proba(X)
    blocks_of(monkeypatch, 300)
    monkeypatch.setattr(discriminant, "HELD", 2 * 8 * 8)
    head = create_head("lda", shrinkage=shrinkage).fit(Watched(stored(X)), y)
    np.testing.assert_allclose(head.predict_proba(X), expected, atol=1e-6)


def test_the_network_learns_from_buffers_as_it_does_from_all_rows(stored, monkeypatch):
    X, y = blobs(n=300, spread=3)
    order = np.argsort(y, kind="stable")  # the hardest order for buffers of neighbours
    X, y = X[order], y[order]
    whole = made("mlp").fit(X, y)
    monkeypatch.setattr(perceptron, "BUFFER", 100 * 8)
    monkeypatch.setattr(perceptron, "RUN", 7)
    from_array, from_store = made("mlp").fit(X, y), made("mlp").fit(Watched(stored(X)), y)
    np.testing.assert_array_equal(from_store.predict_proba(X), from_array.predict_proba(X))
    assert (from_store.predict_proba(X) != whole.predict_proba(X)).any()
    assert abs(min(from_store.validation_losses_) - min(whole.validation_losses_)) < 0.05
    assert abs(from_store.score(X, y) - whole.score(X, y)) < 0.03


def test_every_row_is_in_one_buffer_of_an_epoch(monkeypatch):
    X = np.arange(50.0)[:, None]
    monkeypatch.setattr(perceptron, "BUFFER", 11)
    monkeypatch.setattr(perceptron, "RUN", 3)
    torch = pytest.importorskip("torch")
    options = perceptron.TrainingOptions("squared", (), 0.0, 0.1, 0.0, 0.0, 8, 1, 1, 0, "cpu")
    generator = torch.Generator().manual_seed(0)
    net = perceptron.Perceptron([1, 1], options, generator)
    rows = np.arange(3, 50)
    buffers = perceptron._Buffers(X, X, None, rows, net)
    filled = [buffer[1][:, 0].tolist() for buffer in buffers.filled(generator)]
    assert [len(part) for part in filled] == buffers.sizes == [10, 10, 9, 9, 9]
    together = np.concatenate(filled)
    assert sorted(together.tolist()) == rows.tolist() != together.tolist()
    assert [part for part in filled if part != sorted(part)] == []  # they are read in order


def test_neighbours_are_found_by_faiss_too(stored, monkeypatch):
    pytest.importorskip("faiss")
    X, y = blobs(spread=3)
    expected = create_head("knn", search="faiss").fit(X, y).predict_proba(X)
    blocks_of(monkeypatch, 300)
    head = create_head("knn", search="faiss").fit(Watched(stored(X)), y)
    np.testing.assert_allclose(head.predict_proba(X), expected, atol=1e-5)


def test_rows_stay_where_they_are(stored):
    X, y = blobs()
    head = create_head("knn").fit(stored(X), y)
    assert isinstance(head.X_, StoredRows)
