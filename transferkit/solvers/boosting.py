"""Gradient boosting by any of three libraries: `boost` grows the trees, `raw_scores` runs them.

A model of XGBoost or LightGBM is kept as the text that the library itself writes (JSON and
its own format), one of scikit-learn's as arrays, so that a fitted head holds strings and
numbers only and can be saved without pickling anything.
"""

import importlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.solvers._quiet import without_class_count_warning
from transferkit.solvers.trees import trees_of_boosting

__all__ = ["LIBRARIES", "BoostingOptions", "boost", "probe", "raw_scores"]

Array = NDArray[Any]
LIBRARIES = ("sklearn", "xgboost", "lightgbm")


@dataclass(frozen=True)
class BoostingOptions:
    """How to grow trees: the parameters of the boosting head, resolved.

    Parameters
    ----------
    library : {"sklearn", "xgboost", "lightgbm"}
        Who grows the trees.
    n_classes : int
        0 for numbers.
    rounds, patience, max_leaves, max_bins, min_samples_leaf, seed, n_threads : int
        As in `transferkit.heads.boosting.BoostingClassifier`.
    learning_rate, max_features : float
        As there.
    """

    library: str
    n_classes: int
    rounds: int
    patience: int
    max_leaves: int
    max_bins: int
    min_samples_leaf: int
    learning_rate: float
    max_features: float
    seed: int
    n_threads: int


def probe(library: str) -> Any:
    """Import a library, or raise an error that says how to install it."""
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise ImportError(
            f'library is {library!r}, which is not installed; give library="sklearn", or '
            "install it with: pip install transferkit[boosting]"
        ) from error


def boost(
    X: Array, y: Array, weight: Array | None, held: Array | None, options: BoostingOptions
) -> tuple[Any, int]:
    """Grow trees until the loss on the held-out rows hasn't fallen for a number of rounds.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    y : ndarray of shape (n_samples,)
        Class numbers, or numbers.
    weight : ndarray of shape (n_samples,) or None
        Sample weights.
    held : ndarray of bool of shape (n_samples,) or None
        Rows that decide when to stop; None to do all rounds.
    options : BoostingOptions
        Everything else.

    Returns
    -------
    (Trees or str, int)
        The model, as text unless scikit-learn grew it; its best number of rounds.
    """
    grow = {"sklearn": _sklearn, "xgboost": _xgboost, "lightgbm": _lightgbm}[options.library]
    train = slice(None) if held is None else ~held
    parts = [(X[train], y[train], None if weight is None else weight[train])]
    if held is not None:
        parts.append((X[held], y[held], None if weight is None else weight[held]))
    return grow(parts, options)


def raw_scores(model: Any, X: Array, options: BoostingOptions) -> Array:
    """Compute the trees' scores, before any softmax.

    Parameters
    ----------
    model
        What `boost` returned.
    X : ndarray of shape (n_samples, n_features)
        Features.
    options : BoostingOptions
        As for `boost`.

    Returns
    -------
    ndarray of shape (n_samples,) or, for three classes or more, (n_samples, n_classes)
    """
    if options.library == "sklearn":
        scores = model.predict(X)
        scores = scores[:, 0] if scores.shape[1] == 1 else scores
    elif options.library == "xgboost":
        xgboost = probe("xgboost")
        scores = _read_xgboost(model).predict(xgboost.DMatrix(X), output_margin=True)
    else:
        scores = _read_lightgbm(model).predict(X, raw_score=True)
    return np.asarray(scores)


def _sklearn(parts: list[Any], options: BoostingOptions) -> tuple[Any, int]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if options.n_classes else HistGradientBoostingRegressor
    model = kind(
        learning_rate=options.learning_rate,
        max_iter=options.rounds,
        max_leaf_nodes=options.max_leaves,
        min_samples_leaf=options.min_samples_leaf,
        max_features=options.max_features,
        max_bins=options.max_bins,
        early_stopping=len(parts) > 1,
        n_iter_no_change=options.patience,
        random_state=options.seed,
    )
    (X, y, weight), *others = parts
    with without_class_count_warning(y):
        if not others:
            return trees_of_boosting(model.fit(X, y, sample_weight=weight)), options.rounds
        held = dict(zip(("X_val", "y_val", "sample_weight_val"), others[0], strict=True))
        model.fit(X, y, sample_weight=weight, **held)
    # The first score is the one before any tree.
    return trees_of_boosting(model), max(1, int(np.argmax(model.validation_score_)))


def _xgboost(parts: list[Any], options: BoostingOptions) -> tuple[str, int]:
    xgboost = probe("xgboost")
    parameters: dict[str, Any] = {
        "objective": "reg:squarederror",
        "tree_method": "hist",
        "eta": options.learning_rate,
        "grow_policy": "lossguide",
        "max_depth": 0,
        "max_leaves": options.max_leaves,
        "max_bin": options.max_bins,
        "min_child_weight": 0.01,
        "colsample_bynode": options.max_features,
        "nthread": options.n_threads,
        "seed": options.seed,
    }
    if options.n_classes == 2:
        parameters["objective"] = "binary:logistic"
    elif options.n_classes:
        parameters |= {"objective": "multi:softprob", "num_class": options.n_classes}
    sets = [xgboost.DMatrix(X, label=y, weight=weight) for X, y, weight in parts]
    model = xgboost.train(
        parameters,
        sets[0],
        options.rounds,
        evals=[(part, "held") for part in sets[1:]],
        early_stopping_rounds=options.patience if sets[1:] else None,
        verbose_eval=False,
    )
    best = model.best_iteration + 1 if sets[1:] else options.rounds
    return model[:best].save_raw("json").decode(), best


def _lightgbm(parts: list[Any], options: BoostingOptions) -> tuple[str, int]:
    lightgbm = probe("lightgbm")
    parameters: dict[str, Any] = {
        "objective": "regression",
        "learning_rate": options.learning_rate,
        "num_leaves": options.max_leaves,
        "max_bin": options.max_bins,
        "min_data_in_leaf": options.min_samples_leaf,
        "feature_fraction_bynode": options.max_features,
        "num_threads": options.n_threads,
        "deterministic": True,
        "force_row_wise": True,
        "seed": options.seed,
        "verbosity": -1,
    }
    if options.n_classes == 2:
        parameters["objective"] = "binary"
    elif options.n_classes:
        parameters |= {"objective": "multiclass", "num_class": options.n_classes}
    (X, y, weight), *others = parts
    train = lightgbm.Dataset(X, y, weight=weight, params=parameters)
    held = [lightgbm.Dataset(X, y, weight=weight, reference=train) for X, y, weight in others]
    stop = [lightgbm.early_stopping(options.patience, verbose=False)] if held else []
    model = lightgbm.train(parameters, train, options.rounds, valid_sets=held, callbacks=stop)
    best = max(1, model.best_iteration) if held else options.rounds
    return model.model_to_string(num_iteration=best), best


@lru_cache(maxsize=8)
def _read_xgboost(text: str) -> Any:
    model = probe("xgboost").Booster()
    model.load_model(bytearray(text, "utf-8"))
    return model


@lru_cache(maxsize=8)
def _read_lightgbm(text: str) -> Any:
    return probe("lightgbm").Booster(model_str=text)
