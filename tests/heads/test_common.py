"""One suite for every head of the folder; a new head's file earns it by its name."""

import importlib
import json
import pickle
import zipfile
from io import BytesIO
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from skops.io import dumps, get_untrusted_types, loads

from transferkit import heads
from transferkit.artifacts.head import allowed_types, load_head
from transferkit.heads import create_head, describe, head_names

CLASSIFIERS = [name for name in head_names() if "classification" in describe(name).tasks]
REGRESSORS = [name for name in head_names() if "regression" in describe(name).tasks]
MULTILABEL = [name for name in CLASSIFIERS if describe(name).multilabel]
SUBJECTS = [(name, "classification") for name in CLASSIFIERS]
SUBJECTS += [(name, "regression") for name in REGRESSORS]
RIDGE_AGAIN = ("linear", "regression")  # the linear head's regressor is the ridge head's
# Parameters that make a head quick on the small data of this file, and able to learn it.
QUICK = {
    "boosting": {"max_rounds": 20, "max_features": 1.0},
    "forest": {"n_trees": 20},
    "mlp": {"hidden": (32,), "max_epochs": 40, "learning_rate": 0.01, "device": "cpu"},
}
# Parameters under which a head has nothing left that depends on a row's position.
FIXED = {"linear": {"C": 1.0}, "ridge": {"alpha": 1.0}}
# A head that draws rows, thresholds or first weights sees others in another order.
DRAWS = {"boosting", "forest", "mlp"}
# A parameter to search over, with two values; other heads search over their own default.
GRID = {
    "boosting": {"learning_rate": [0.1, 0.3]},
    "centroid": {"center": [True, False]},
    "forest": {"n_trees": [5, 10]},
    "knn": {"k": [3, 5]},
    "lda": {"shrinkage": ["auto", 0.5]},
    "linear": {"C": [0.01, 1.0]},
    "mlp": {"dropout": [0.0, 0.2]},
    "ridge": {"alpha": [0.1, 10.0]},
    "svm": {"kernel": ["rbf", "linear"]},
}
# Failures of scikit-learn's own checks, with the reason.
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
PROBABILITIES = "check_classifiers_multilabel_output_format_predict_proba"
HOLD_OUT = "weights and repeated rows draw different hold-outs"
CLASS_WEIGHT = "check_class_weight_classifiers"
PURE = "leaves of one sample follow the sample, whatever its class weighs"
TOLERANCE = "libsvm stops within a tolerance, elsewhere when rows are repeated"
EXACT_ZERO = "the check wants more than 0, and where no leaf has a label it is exactly 0"
EXPECTED_FAILURES = {
    ("linear", "classification"): {WEIGHTS: HOLD_OUT},
    ("mlp", "classification"): {WEIGHTS: HOLD_OUT},
    ("mlp", "regression"): {WEIGHTS: HOLD_OUT},
    ("boosting", "classification"): {WEIGHTS: HOLD_OUT},
    ("boosting", "regression"): {WEIGHTS: HOLD_OUT},
    ("forest", "classification"): {PROBABILITIES: EXACT_ZERO, CLASS_WEIGHT: PURE},
    ("svm", "classification"): {WEIGHTS: TOLERANCE},
    ("svm", "regression"): {WEIGHTS: TOLERANCE},
    ("ridge", "classification"): {WEIGHTS: "leaving out a repeated row leaves its twin in"},
    ("ridge", "regression"): {WEIGHTS: "leaving out a repeated row leaves its twin in"},
}
CONVERGENCE = "ignore::sklearn.exceptions.ConvergenceWarning"  # the checks lower max_iter to 5

every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)
every_regressor = pytest.mark.parametrize("name", REGRESSORS)
every_multilabel = pytest.mark.parametrize("name", MULTILABEL)
every_head = pytest.mark.parametrize(("name", "task"), SUBJECTS)


def quick(name, task="classification", **parameters):
    return create_head(name, task, **(QUICK.get(name, {}) | parameters))


def blobs(n=90, n_classes=3, spread=1.0, dtype=np.float32):
    centres = 4 * np.eye(n_classes, 8)
    X, y = make_blobs(n, centers=centres, cluster_std=spread, random_state=0)
    return X.astype(dtype), y


def numbers(n=90, n_outputs=None):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 8)).astype(np.float32)
    Y = X @ rng.normal(size=(8, n_outputs or 1)) + 5
    return X, (Y if n_outputs else Y[:, 0])


def several(n=120):
    X = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    return X, (X[:, :3] > [0.0, 0.3, -0.3]).astype(int)


def outputs(head, X):
    """All that a head says of X."""
    methods = [m for m in ("predict_proba", "decision_function") if hasattr(head, m)] or ["predict"]
    return np.column_stack([np.asarray(getattr(head, m)(X), dtype=float) for m in methods])


def learnt(name, task):
    X, y = blobs(spread=3) if task == "classification" else numbers()
    return quick(name, task).fit(X, y), X


def test_every_file_of_the_folder_is_a_subject():
    files = Path(heads.__file__).parent.glob("[!_]*.py")
    assert {file.stem.replace("_", "-") for file in files} == {*CLASSIFIERS, *REGRESSORS}
    assert {"boosting", "forest", "knn", "linear", "mlp", "ridge", "svm"} <= set(REGRESSORS)
    assert {"boosting", "forest", "knn", "linear", "mlp", "ridge"} <= set(MULTILABEL)


def test_every_class_has_a_name_of_its_own():
    made = [create_head(name, task) for name, task in SUBJECTS if (name, task) != RIDGE_AGAIN]
    assert len({type(head).__name__ for head in made}) == len(made)


# ---- scikit-learn's own checks ----


@pytest.mark.checks
@every_head
def test_number_of_sklearn_checks(name, task):
    n = sum(1 for _ in estimator_checks_generator(create_head(name, task)))
    assert n >= 50, f"{n} checks"


def key(head):
    task = "classification" if is_classifier(head) else "regression"
    return type(head).__module__.split(".")[-1].replace("_", "-"), task


@pytest.mark.checks
@pytest.mark.filterwarnings(CONVERGENCE)
@parametrize_with_checks(
    [quick(name, task) for name, task in SUBJECTS if (name, task) != RIDGE_AGAIN],
    expected_failed_checks=lambda head: EXPECTED_FAILURES.get(key(head), {}),
)
def test_sklearn_checks(estimator, check):
    check(estimator)


# ---- one label per sample ----


@every_classifier
@pytest.mark.parametrize(
    "labels",
    [
        np.array(["cat", "dog", "a bird"]),
        np.array([7, -1, 300]),
        np.array(["x", "yy", "z"], dtype=object),
        np.array([0.0, 2.0, 1.0]),
    ],
    ids=["str", "int", "object", "float"],
)
def test_labels_come_back_as_written(name, labels):
    X, y = blobs()
    predicted = quick(name).fit(X, labels[y]).predict(X)
    assert predicted.dtype == labels.dtype
    assert (predicted == labels[y]).mean() > 0.9


@every_classifier
def test_binary_and_bool_labels(name):
    X, y = blobs(n_classes=2)
    head = quick(name).fit(X, y == 1)
    assert head.predict(X).dtype == bool
    assert (head.predict(X) == (y == 1)).mean() > 0.9
    if describe(name).probabilities:
        assert head.predict_proba(X).shape == (len(X), 2)
    if hasattr(head, "decision_function"):
        assert ((head.decision_function(X) > 0) == head.predict(X)).all()


@every_head
def test_fitting_twice_gives_the_same(name, task):
    head, X = learnt(name, task)
    first = outputs(head, X)
    np.testing.assert_array_equal(first, outputs(learnt(name, task)[0], X))
    again = head.fit(*(blobs(spread=3) if task == "classification" else numbers()))
    np.testing.assert_array_equal(first, outputs(again, X))


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name not in DRAWS])
def test_order_of_samples_does_not_matter(name):
    X, y = blobs(spread=3)
    order = np.random.default_rng(0).permutation(len(X))
    head = quick(name, **FIXED.get(name, {}))
    first = outputs(head.fit(X, y), X)
    second = outputs(head.fit(X[order], y[order]), X)
    np.testing.assert_allclose(first, second, atol=1e-3)


@every_head
def test_one_row_is_predicted_as_in_a_batch(name, task):
    head, X = learnt(name, task)
    alone = np.concatenate([outputs(head, X[i : i + 1]) for i in range(len(X))])
    np.testing.assert_allclose(alone, outputs(head, X), rtol=2e-5, atol=1e-5)


@every_classifier
def test_probabilities_sum_to_one_and_agree_with_the_labels(name):
    head, X = learnt(name, "classification")
    assert hasattr(head, "predict_proba") == describe(name).probabilities
    if describe(name).probabilities:
        proba = head.predict_proba(X)
        np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
        assert (proba >= 0).all()
        assert (head.classes_[proba.argmax(axis=1)] == head.predict(X)).all()


@every_head
def test_clone_and_pickle(name, task):
    head, X = learnt(name, task)
    assert clone(head).get_params() == head.get_params()
    again = pickle.loads(pickle.dumps(head))
    np.testing.assert_array_equal(outputs(again, X), outputs(head, X))


@every_head
def test_saved_without_pickle(name, task):
    head, X = learnt(name, task)
    data = dumps(head)
    unknown = set(get_untrusted_types(data=data)) - set(allowed_types())
    assert unknown == set()
    again = loads(data, trusted=allowed_types())
    np.testing.assert_array_equal(outputs(again, X), outputs(head, X))


def renamed(node):
    """A skops schema as it was written when each file's classes were called the same."""
    if isinstance(node, list):
        return [renamed(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: renamed(value) for key, value in node.items()}
    module, kind = str(node.get("__module__")), node.get("__class__")
    if module.startswith("transferkit.heads."):
        node["__class__"] = "Classifier" if kind.endswith("Classifier") else "Regressor"
    if (module, kind) == ("transferkit.solvers.trees", "Trees"):
        node["__module__"] = "transferkit.heads._trees"
    return node


@every_head
def test_saved_when_all_classes_were_called_the_same(name, task, tmp_path):
    head, X = learnt(name, task)
    with zipfile.ZipFile(BytesIO(dumps(head))) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    schema = json.loads(parts["schema.json"])
    assert renamed(schema) != schema
    parts["schema.json"] = json.dumps(renamed(schema)).encode()
    with zipfile.ZipFile(tmp_path / "head.skops", "w") as archive:
        for part, data in parts.items():
            archive.writestr(part, data)
    with (tmp_path / "head.skops").open("rb") as file:
        again = load_head(file)
    assert type(again) is type(head)
    np.testing.assert_array_equal(outputs(again, X), outputs(head, X))


@every_head
def test_number_types_agree(name, task):
    X, y = blobs(spread=3) if task == "classification" else numbers()
    X = X.astype(np.float16)  # exact in all three types
    found = [
        outputs(quick(name, task).fit(X.astype(t), y), X.astype(t))
        for t in (np.float16, np.float32, np.float64)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[1], found[2], atol=5e-3)


@pytest.mark.kills
@every_classifier
def test_grid_search_in_two_processes(name, n_jobs):
    X, y = blobs()
    own = {parameter: [value] for parameter, value in quick(name).get_params().items()}
    search = GridSearchCV(quick(name), GRID.get(name, own), cv=2, n_jobs=n_jobs).fit(X, y)
    assert search.best_score_ > 0.85


@every_classifier
@pytest.mark.parametrize("counts", [(1, 1), (1, 1, 1), (20, 1, 1), (20, 20, 1), (2, 2)])
def test_classes_of_one_sample(name, counts):
    y = np.repeat(np.arange(len(counts)), counts)
    X = 10 * np.eye(len(counts), 8)[y] + np.random.default_rng(0).normal(size=(len(y), 8))
    if name == "lda" and set(counts) == {1}:
        with pytest.raises(ValueError, match=r"lda head needs a class of two; .* centroid head"):
            quick(name).fit(X, y)
        return
    head = quick(name).fit(X, y)
    assert head.classes_.tolist() == list(range(len(counts)))
    assert np.isfinite(outputs(head, X)).all()
    assert set(head.predict(X)) <= set(range(len(counts)))


@every_head
def test_memory_mapped_features(name, task, tmp_path):
    X, y = blobs() if task == "classification" else numbers()
    joblib.dump(X, tmp_path / "X")
    mapped = joblib.load(tmp_path / "X", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    expected = outputs(quick(name, task).fit(X, y), X)
    found = outputs(quick(name, task).fit(mapped, y), mapped)
    np.testing.assert_array_equal(found, expected)


# ---- weights ----


@every_head
def test_a_row_of_weight_0_is_as_good_as_absent(name, task):
    if not describe(name).sample_weight:
        pytest.skip("it doesn't take weights")
    X, y = blobs(spread=3) if task == "classification" else numbers()
    weight = (np.arange(len(X)) % 3 > 0).astype(float)
    weighted = quick(name, task).fit(X, y, sample_weight=weight)
    without = quick(name, task).fit(X[weight > 0], y[weight > 0], sample_weight=weight[weight > 0])
    np.testing.assert_array_equal(outputs(weighted, X), outputs(without, X))


@every_classifier
def test_class_weights_are_sample_weights(name):
    if "class_weight" not in create_head(name).get_params():
        pytest.skip("it doesn't take class weights")
    X, y = blobs(spread=3)
    weight = np.array([1.0, 3.0, 0.5])[y]
    by_class = quick(name, class_weight={0: 1.0, 1: 3.0, 2: 0.5}).fit(X, y)
    by_sample = quick(name).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(outputs(by_class, X), outputs(by_sample, X), atol=1e-4)
    with pytest.raises(ValueError, match="sample_weight must be 0 or more"):
        quick(name).fit(X, y, sample_weight=-weight)


# ---- several labels, several numbers ----


@every_multilabel
def test_several_labels(name):
    X, Y = several()
    head = quick(name).fit(X, Y)
    predicted = head.predict(X)
    assert predicted.dtype == Y.dtype
    assert predicted.shape == Y.shape
    assert (predicted == Y).mean() > 0.85
    assert [labels.tolist() for labels in head.classes_] == [[0, 1]] * 3
    if describe(name).probabilities:
        proba = head.predict_proba(X)
        assert proba.shape == Y.shape
        assert ((proba > 0.5) == predicted).all()
    assert quick(name).fit(X, Y.astype(bool)).predict(X).dtype == bool


@every_multilabel
def test_a_label_that_is_always_the_same(name):
    X, Y = several(40)
    Y[:, 1], Y[:, 2] = 0, 1
    head = quick(name).fit(X, Y)
    np.testing.assert_array_equal(head.predict(X)[:, 1:], Y[:, 1:])
    assert np.isfinite(outputs(head, X)).all()


@every_multilabel
def test_several_labels_are_saved_without_pickle(name):
    X, Y = several(40)
    head = quick(name).fit(X, Y)
    again = loads(dumps(head), trusted=allowed_types())
    np.testing.assert_array_equal(outputs(again, X), outputs(head, X))


@every_multilabel
def test_columns_must_hold_0_and_1(name):
    X, Y = several(40)
    with pytest.raises(ValueError, match="3 columns with values other than 0 and 1; give"):
        quick(name).fit(X, 2 * Y + 1)
    with pytest.raises(ValueError, match="3 columns with values other than 0 and 1; give"):
        quick(name).fit(X, np.arange(120).reshape(40, 3))


@pytest.mark.parametrize("name", sorted(set(CLASSIFIERS) - set(MULTILABEL)))
def test_several_labels_where_a_head_knows_one(name):
    X, Y = several(40)
    message = f"y has 3 columns, and the {name} head takes one label .* one of boosting, forest"
    with pytest.raises(ValueError, match=message):
        quick(name).fit(X, Y)


@every_regressor
def test_numbers_are_learnt_in_their_shape(name):
    X, y = numbers(300)
    head = quick(name, "regression").fit(X, y)
    assert head.predict(X).shape == y.shape
    assert head.score(X, y) > (0.4 if name == "knn" else 0.7)
    X, Y = numbers(300, n_outputs=2)
    head = quick(name, "regression").fit(X, Y)
    assert head.predict(X).shape == Y.shape
    assert head.score(X, Y) > (0.4 if name == "knn" else 0.7)
    column = quick(name, "regression").fit(X, Y[:, :1])
    assert column.predict(X).shape == (300, 1)


# ---- a validation part ----


@every_head
def test_a_validation_part(name, task):
    module = importlib.import_module(f"transferkit.heads.{name}")
    kind = module.Classifier if task == "classification" else module.Regressor
    if "validation" not in kind.fit.__code__.co_varnames:
        pytest.skip("it chooses nothing by hold-out")
    X, y = blobs(spread=3) if task == "classification" else numbers()
    head = quick(name, task).fit(X[:60], y[:60], validation=(X[60:], y[60:]))
    assert head.score(X, y) > 0.5
    with pytest.raises(ValueError, match=r"validation must be a pair \(X, y\)"):
        quick(name, task).fit(X, y, validation=X)
