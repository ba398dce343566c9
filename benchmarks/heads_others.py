"""The other heads against what people use; fit and predict together, once each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from heads_data import timed

C_LINEAR = 1e-3
ALPHAS = np.geomspace(1e-2, 1e6, 45)


def against(data: dict[str, Any], pairs: dict[str, dict[str, Callable[[], Any]]]) -> dict[str, Any]:
    """Measure each pair; the ratio is of seconds to fit and predict, theirs over ours."""
    (X, y), (X_test, y_test) = data["train"], data["test"]
    report: dict[str, Any] = {}
    for name, heads in pairs.items():
        report[name] = {}
        for who, make in heads.items():
            head = make()
            fit, _ = timed(lambda head=head: head.fit(X, y))
            predict, found = timed(lambda head=head: head.predict(X_test))
            report[name][who] = {
                "fit_cpu_s": fit,
                "predict_cpu_s": predict,
                "test_accuracy": float((found == y_test).mean()),
            }
            spent = fit + predict
            if who != "ours":
                ours = report[name]["ours"]
                ratio = spent / (ours["fit_cpu_s"] + ours["predict_cpu_s"])
                report[name][who]["ratio"] = ratio
            print(name, who, report[name][who], flush=True)
    return report


def quick(data: dict[str, Any]) -> dict[str, Any]:
    """Linear machine, ridge, neighbours."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import LinearSVC

    from transferkit.heads import create_head

    return against(data, {
        "linear svm, one C": {
            "ours": lambda: create_head("svm", kernel="linear", C=C_LINEAR),
            "LinearSVC": lambda: _scaled(LinearSVC(C=C_LINEAR)),
        },
        "ridge, 45 alphas": {
            "ours": lambda: create_head("ridge", alphas=ALPHAS.tolist()),
            "RidgeClassifierCV": lambda: _scaled(RidgeClassifierCV(ALPHAS)),
        },
        "20 neighbours": {
            "ours": lambda: create_head("knn", weights="uniform"),
            "KNeighborsClassifier": lambda: KNeighborsClassifier(
                20, metric="cosine", algorithm="brute"
            ),
            "faiss, through ours": lambda: create_head("knn", weights="uniform", search="faiss"),
        },
    })  # fmt: skip


def radial(data: dict[str, Any]) -> dict[str, Any]:
    """RBF machine: one C, and C chosen; SVC on a hold-out of the same size."""
    from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
    from sklearn.svm import SVC

    from transferkit.heads import create_head

    held = StratifiedShuffleSplit(1, test_size=0.2, random_state=0)
    grid = {"svc__C": [1.0, 10.0, 100.0]}
    return against(data, {
        "rbf svm, one C": {
            "ours": lambda: create_head("svm", C=10.0),
            "SVC": lambda: _scaled(SVC(C=10)),
        },
        "rbf svm, C chosen (ours of 8, SVC of 3)": {
            "ours": lambda: create_head("svm"),
            "SVC": lambda: GridSearchCV(_scaled(SVC()), grid, cv=held),
        },
    })  # fmt: skip


def trained(data: dict[str, Any]) -> dict[str, Any]:
    """Networks and epochs."""
    from sklearn.linear_model import SGDClassifier
    from sklearn.neural_network import MLPClassifier

    from transferkit.heads import create_head

    return against(data, {
        "mlp": {
            "ours": lambda: create_head("mlp", device="cpu"),
            "MLPClassifier": lambda: _scaled(
                MLPClassifier((512,), early_stopping=True, random_state=0)
            ),
        },
        "linear, C chosen of 12": {
            "ours": lambda: create_head("linear"),
            "SGD, 100 epochs": lambda: _scaled(
                SGDClassifier("log_loss", max_iter=100, tol=None, random_state=0)
            ),
        },
    })  # fmt: skip


def trees(data: dict[str, Any]) -> dict[str, Any]:
    """Boosting, at its own defaults."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    from transferkit.heads import create_head

    return against(data, {
        "boosting": {
            "ours": lambda: create_head("boosting"),
            "HistGradientBoosting": lambda: HistGradientBoostingClassifier(
                early_stopping=True, random_state=0
            ),
        },
    })  # fmt: skip


def _scaled(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), model)
