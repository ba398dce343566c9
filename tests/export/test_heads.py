"""Every head as tensors or trees, against the head itself; no backbone is needed."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.helper import make_graph, make_model, make_opsetid, make_tensor_value_info

from transferkit import registry
from transferkit.export.heads import TreeSum, convert, linear_map
from transferkit.export.heads._trees import tree_sum_nodes
from transferkit.heads import create_head, describe, head_names
from transferkit.tasks import task_of

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(90, 7)) + 2).astype(np.float32)
NEW = (RNG.normal(size=(40, 7)) + 2).astype(np.float32)
CODES = (X[:, 0] > 2).astype(int) + (X[:, 1] > 2)
NUMBERS = np.stack([3 * X[:, 0] + 1, X[:, 1] ** 2], axis=1)
QUICK = {
    "forest": {"n_trees": 12},
    "mlp": {"max_epochs": 3, "hidden": (8, 6)},
    "boosting": {"max_rounds": 8, "max_features": 1.0},
}
TARGETS = {
    "three classes": ("classification", CODES),
    "two classes": ("classification", CODES.clip(0, 1)),
    "several labels": ("multilabel", np.stack([CODES > 0, CODES > 1, CODES < 9], 1).astype(int)),
    "a number": ("regression", NUMBERS[:, 0]),
    "two numbers": ("regression", NUMBERS),
}
EXPORTED = registry.names("transferkit.export.heads")
VARIANTS = [
    *[(name, QUICK.get(name, {})) for name in EXPORTED],
    ("svm", {"kernel": "linear"}),
    ("svm", {"n_exact": 0}),
    ("svm", {"n_exact": 0, "n_whole": 0, "n_landmarks": 20}),
    ("knn", {"k": 3, "metric": "l2", "weights": "distance", "center": True}),
    ("knn", {"k": 3, "weights": "uniform"}),
    ("linear", {"standardize": False}),
    ("forest", {"n_trees": 12, "kind": "forest", "min_samples_leaf": 3}),
]


def subjects():
    for name, parameters in VARIANTS:
        info = describe(name)
        for targets, (task, _) in TARGETS.items():
            kind = "regression" if task == "regression" else "classification"
            if kind in info.tasks and (task != "multilabel" or info.multilabel):
                yield pytest.param(name, parameters, targets, id=f"{name} {parameters} {targets}")


def fitted(name, parameters, targets):
    task, y = TARGETS[targets]
    kind = "regression" if task == "regression" else "classification"
    known = create_head(name, kind).get_params()
    return task, create_head(name, kind, **{k: v for k, v in parameters.items() if k in known}).fit(
        X, y
    )


def expected(head, task):
    if task == "regression":
        return "values", head.predict(NEW).reshape(len(NEW), -1)
    if hasattr(head, "predict_proba"):
        return "probabilities", head.predict_proba(NEW)
    scores = head.decision_function(NEW)
    if scores.ndim == 1:
        scores = np.column_stack([np.zeros_like(scores), scores])
    return "scores", scores


def walked(found):
    """A forest's sum, one row and one node at a time."""
    total = np.tile(found.base.astype(float), (len(NEW), 1))
    for row, out in zip(NEW, total, strict=True):
        for tree in found.trees:
            node = 0
            while not tree.is_leaf[node]:
                goes_left = row[tree.feature[node]] <= tree.threshold[node]
                node = (tree.left if goes_left else tree.right)[node]
            out[tree.targets] += tree.values[node] / (len(found.trees) if found.is_mean else 1)
    if found.function == "softmax":
        return np.exp(total) / np.exp(total).sum(axis=1, keepdims=True)
    proba = 1 / (1 + np.exp(-total))
    if found.function == "odds":
        return np.column_stack([1 - proba, proba])
    return proba if found.function == "sigmoid" else total


def by_onnx_runtime(found):
    rows = make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", X.shape[1]])
    out = make_tensor_value_info(found.kind, onnx.TensorProto.FLOAT, ["n", None])
    graph = make_graph(tree_sum_nodes(found), "trees", [rows], [out])
    opsets = [make_opsetid("", 18), make_opsetid("ai.onnx.ml", 3)]
    model = make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"features": NEW})[0]


@pytest.mark.filterwarnings("ignore:the linear head did not converge")
@pytest.mark.parametrize(("name", "parameters", "targets"), list(subjects()))
def test_a_head_as_tensors_or_trees(name, parameters, targets):
    task, head = fitted(name, parameters, targets)
    kind, values = expected(head, task)
    form = convert(head, task_of(task))
    assert form.kind == kind
    tolerance = 2e-5 * max(1, np.abs(values).max())
    if isinstance(form, TreeSum):
        np.testing.assert_allclose(walked(form), values, atol=tolerance)
        found = by_onnx_runtime(form)
    else:
        found = form(torch.from_numpy(NEW)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, values, rtol=0, atol=tolerance)


def test_every_head_was_a_subject():
    named = {parameter.values[0] for parameter in subjects()}
    assert named == set(EXPORTED) <= set(head_names())
    assert len(list(subjects())) >= 45


@pytest.mark.parametrize("name", ["linear", *sorted(set(head_names()) - set(EXPORTED))])
def test_a_head_that_no_file_exports_is_told_so(name, monkeypatch):
    head = create_head(name).fit(X, CODES)
    monkeypatch.setattr("transferkit.export.heads._file", lambda name: None)
    with pytest.raises(
        ValueError, match=rf"head '{name}' can't .*has no {name}\.py that writes it"
    ):
        convert(head, task_of("classification"))
    assert linear_map(head) is None


@pytest.mark.parametrize("name", ["linear", "ridge", "lda", "svm"])
def test_a_linear_head_is_a_matrix(name):
    head = create_head(name, **({"kernel": "linear"} if name == "svm" else {})).fit(X, CODES)
    coef, intercept = linear_map(head)
    found = NEW @ coef.T + intercept
    np.testing.assert_allclose(found, head.decision_function(NEW), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "parameters"), [("centroid", {}), ("svm", {}), ("svm", {"probability": True})]
)
def test_other_heads_are_none(name, parameters):
    assert linear_map(create_head(name, **parameters).fit(X, CODES)) is None


def test_thresholds_between_two_float32_numbers():
    """A row that lies on a threshold goes where float64 sends it."""
    head = create_head("forest", n_trees=1, kind="forest", max_features=None)
    thirds = np.array([[1 / 3], [np.nextafter(np.float32(1 / 3), 1)]], np.float32).repeat(8, axis=0)
    head.fit(thirds, np.repeat([0, 1], 8))
    found = convert(head, task_of("classification"))
    rows = make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 1])
    out = make_tensor_value_info(found.kind, onnx.TensorProto.FLOAT, ["n", None])
    graph = make_graph(tree_sum_nodes(found), "trees", [rows], [out])
    opsets = [make_opsetid("", 18), make_opsetid("ai.onnx.ml", 3)]
    model = make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    proba = onnxruntime.InferenceSession(model).run(None, {"features": thirds})[0]
    np.testing.assert_array_equal(proba, head.predict_proba(thirds))
