"""Checks of every head before it learns: parameters, rows, targets and weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d, compute_class_weight, get_tags
from sklearn.utils.validation import check_array, validate_data

from transferkit import registry
from transferkit.datasets import UnreadRows, is_unread, row_blocks
from transferkit.solvers.rows import select_rows

__all__ = [
    "LabelledRows",
    "TrainingRows",
    "check_choice",
    "check_classification_data",
    "check_features",
    "check_positive",
    "check_regression_data",
    "check_share",
    "float_types",
    "with_class_weights",
]

Array = NDArray[Any]

# Bounds of usable features, which are float32 numbers that heads square in float64.
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).tiny)


# ---- parameters ---------------------------------------------------------------------


def check_positive(name: str, value: Any, kind: Any = Real, or_else: str = "") -> None:
    """Raise a ValueError unless a parameter is a finite number (or whole number) above 0."""
    if isinstance(value, bool) or not isinstance(value, kind) or not 0 < float(value) < np.inf:
        what = "whole number" if kind is Integral else "number"
        raise ValueError(f"{name} is {value!r}; give {or_else}a {what} above 0")


def check_share(name: str, value: Any, *, zero: bool = False) -> None:
    """Raise a ValueError unless a parameter lies between 0 and 1, 0 allowed by `zero`."""
    if not (isinstance(value, Real) and (0 < float(value) < 1 or (zero and value == 0))):
        ends = "0 included and 1 excluded" if zero else "both excluded"
        raise ValueError(f"{name} is {value!r}; give a number between 0 and 1, {ends}")


def check_choice(name: str, value: Any, allowed: Iterable[str]) -> None:
    """Raise a ValueError unless a parameter is one of some words."""
    if not isinstance(value, str) or value not in tuple(allowed):
        raise registry.unknown(name, str(value), allowed)


# ---- rows ---------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TrainingRows:
    """Checked training rows. The rows of a validation part come last.

    Parameters
    ----------
    parts : list of (ndarray of shape (·, n_features), ndarray of int or None)
        Arrays, and the rows of each that count (None: all). So that a memory-mapped array
        needn't be copied. Unread rows instead of an array, for a head that `streams`.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    weight : ndarray of shape (n_samples,) or None
        Sample weights, all above 0.
    held : ndarray of bool of shape (n_samples,) or None
        The validation part; None if none was given.
    """

    parts: list[tuple[Array, Array | None]]
    y: Array
    weight: Array | None
    held: Array | None

    @cached_property
    def X(self) -> Array:
        """All rows in one array of shape (n_samples, n_features)."""
        arrays = [X if rows is None else X[rows] for X, rows in self.parts]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)

    @property
    def source(self) -> Any:
        """All rows as one matrix that is read block by block: nothing is gathered."""
        is_whole = len(self.parts) == 1 and self.parts[0][1] is None
        return self.parts[0][0] if is_whole else UnreadRows(self.parts)

    def some(self, wanted: Array) -> list[tuple[Array, Array | None]]:
        """Views of the parts, of some rows only, given by a mask of shape (n_samples,)."""
        return select_rows(self.parts, wanted)


@dataclass(frozen=True, eq=False)
class LabelledRows(TrainingRows):
    """Rows with labels: `y` holds positions in `classes`, or 0 and 1 for several labels.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,), or list of ndarray
        Labels, sorted; for several labels at once an array [0, 1] for each of them.
    """

    classes: Any

    @property
    def several(self) -> bool:
        """Whether each row has several labels."""
        return isinstance(self.classes, list)


def float_types(X: Any, *, half: bool = False) -> Any:
    """Numeric types to compute in: float32 as it is, float16 as float32, all else float64.

    With `half`, float16 as it is, for a head that converts it bit by bit.
    """
    is_half = getattr(X, "dtype", None) == np.float16
    narrow = np.float16 if half else np.float32
    return narrow if is_half else [np.float64, np.float32]


def check_features(head: Any, X: ArrayLike, *, half: bool = False) -> Array:
    """Check features to predict from, as `fit` checks them.

    Parameters
    ----------
    head : estimator
        Fitted.
    X : array-like of shape (n_samples, n_features)
        Features.
    half : bool, default=False
        As in `float_types`.

    Raises
    ------
    ValueError
        If they have another shape, or hold numbers that no head can compute with.
    """
    rows = validate_data(
        head, X, dtype=float_types(X, half=half), reset=False, ensure_all_finite=False
    )
    _check_numbers(rows)
    return np.asarray(rows)


def _check_numbers(X: Any) -> None:
    """Raise a ValueError unless all features are finite and of a usable size."""
    n_bad, first_bad, what, largest = 0, 0, "", 0.0
    # An array is looked at as a whole, which needs no copy of it.
    for part, rows in row_blocks(X) if is_unread(X) else [(slice(0, len(X)), X)]:
        with np.errstate(over="ignore", invalid="ignore"):
            is_finite = bool(np.isfinite(rows.sum(dtype=np.float64)))
        if not is_finite and not np.isfinite(rows).all():
            bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            if not n_bad:
                first_bad = part.start + bad[0]
                what = "NaN" if np.isnan(rows[bad[0]]).any() else "infinity"
            n_bad += len(bad)
        elif rows.dtype == np.float64 and rows.size:
            largest = max(largest, float(rows.max()), -float(rows.min()))
    if n_bad:
        raise ValueError(
            f"X holds {what} in {n_bad:,} of {len(X):,} rows, the first being row {first_bad}; a "
            "head takes finite features: leave those rows out, or extract them again"
        )
    if largest > LARGEST or 0 < largest < SMALLEST:
        raise ValueError(
            f"X holds numbers up to {largest:.3g}; a head takes features whose largest lies "
            f"between {SMALLEST:.2g} and {LARGEST:.2g}: "
            f"{'divide' if largest > LARGEST else 'multiply'} them by a number first"
        )


def check_classification_data(
    head: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    validation: Any = None,
    *,
    half: bool = False,
) -> LabelledRows:
    """Check the training data of a classifier.

    Parameters
    ----------
    head : estimator
        Whose `n_features_in_` is set, and whose tags say whether it knows several labels.
    X, y, sample_weight, validation
        As they were given to `fit`.
    half : bool, default=False
        As in `float_types`.

    Raises
    ------
    ValueError
        If they don't fit, hold one class, or several labels for a head that knows one.
    """
    several = _is_table(y)
    if several and not get_tags(head).classifier_tags.multi_label:
        raise ValueError(
            f"y has {np.asarray(y).shape[1]} columns, and the {_name(head)} head takes one label "
            f"per sample; for several labels choose one of {', '.join(_heads_for_several())}"
        )
    rows = _rows(head, X, y, sample_weight, validation, several=several, half=half)
    if several:
        if not np.isin(rows.y, [0, 1]).all():
            raise ValueError(
                f"y has {rows.y.shape[1]} columns with values other than 0 and 1; give one label "
                "per sample, or a column of 0 and 1 for each label"
            )
        both = np.array([0, 1]).astype(rows.y.dtype)
        return LabelledRows(
            rows.parts, rows.y.astype(np.int8), rows.weight, rows.held, [both] * rows.y.shape[1]
        )
    _check_labels(rows.y)
    classes, codes = np.unique(rows.y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y holds one class, {classes.tolist()[0]!r}; give samples of at least two classes"
        )
    return LabelledRows(rows.parts, codes, rows.weight, rows.held, classes)


def check_regression_data(
    head: Any, X: Any, y: Any, sample_weight: Any = None, validation: Any = None
) -> TrainingRows:
    """Check the training data of a regressor. Targets become float64."""
    several = np.asarray(y).ndim == 2 and get_tags(head).target_tags.multi_output
    rows = _rows(head, X, y, sample_weight, validation, several=several, numeric=True)
    return TrainingRows(rows.parts, rows.y.astype(np.float64), rows.weight, rows.held)


def with_class_weights(rows: LabelledRows, class_weight: Any) -> Array | None:
    """Multiply sample weights by the weights of the samples' classes.

    Parameters
    ----------
    rows : LabelledRows
        Training rows.
    class_weight : dict, "balanced" or None
        As in scikit-learn.
    """
    if class_weight is None:
        return rows.weight
    if rows.several:
        raise ValueError(
            f"class_weight is {class_weight!r}, and each sample has several labels; "
            "give sample_weight instead"
        )
    y = rows.classes[rows.y]
    per_class = compute_class_weight(class_weight, classes=rows.classes, y=y)[rows.y]
    weight: Array = per_class if rows.weight is None else per_class * rows.weight
    return weight


def _check_labels(y: Array) -> None:
    """Raise a ValueError for values that can't be labels, such as measurements."""
    fractions = y[y != np.round(y)] if y.dtype.kind == "f" else y[:0]
    if len(fractions):
        raise ValueError(
            f"Unknown label type: y holds numbers with fractions, such as {fractions[0]}; choose "
            "regression for measurements, else give labels as strings or whole numbers"
        )
    others = {type(v).__name__ for v in y if not isinstance(v, str)} if y.dtype.kind == "O" else {}
    if others or y.dtype.kind == "c":
        raise ValueError(
            f"Unknown label type: y holds {', '.join(sorted(others)) or y.dtype}; give labels as "
            "strings or whole numbers, all of one type"
        )


def _check_weights(sample_weight: Any, X: Array) -> Array:
    """Sample weights of rows, in the rows' type or in float32 for float16."""
    kind = np.float32 if X.dtype == np.float16 else X.dtype
    weight = check_array(sample_weight, ensure_2d=False, dtype=kind, input_name="sample_weight")
    if weight.shape == ():
        weight = np.full(len(X), weight)
    if weight.shape != (len(X),):
        raise ValueError(
            f"sample_weight has the shape {weight.shape}, and X has {len(X)} rows; give one "
            "number for each row"
        )
    if (weight < 0).any() or not (weight > 0).any():
        lowest = "zero for all rows" if not weight.any() else f"{weight.min():g} for a row"
        raise ValueError(
            f"sample_weight must be 0 or more, and above 0 for some samples; it is {lowest}"
        )
    return np.asarray(weight)


def _is_table(y: Any) -> bool:
    shape = np.asarray(y).shape
    return len(shape) == 2 and shape[1] > 1


def _name(head: Any) -> str:
    return type(head).__module__.rpartition(".")[2]


def _heads_for_several() -> list[str]:
    from transferkit import heads  # late: it is this module's package

    return [name for name in heads.head_names() if heads.describe(name).multilabel]


def _rows(
    head: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    validation: Any,
    *,
    several: bool,
    numeric: bool = False,
    half: bool = False,
) -> TrainingRows:
    kinds = float_types(X, half=half)
    X = _unread(head, X, kinds)
    shown, y = validate_data(
        head, _shown(X), y, dtype=kinds, multi_output=several,
        y_numeric=numeric and not several, ensure_all_finite=False,
    )  # fmt: skip
    X = X if is_unread(X) else shown
    _check_numbers(X)
    weight = held = kept = None
    if numeric and several:
        y = check_array(y, dtype=np.float64, input_name="y")
    if sample_weight is not None:
        weight = _check_weights(sample_weight, X)
        if not (weight > 0).all():
            # Held-out rows without weight would measure nothing.
            kept = np.flatnonzero(weight > 0)
            y, weight = y[kept], weight[kept]
    parts = [(X, kept)]
    if validation is not None:
        X_held, y_held = _validation(head, X, y, validation)
        held = np.arange(len(y) + len(y_held)) >= len(y)
        parts, y = [*parts, (X_held, None)], np.concatenate([y, y_held])
        if weight is not None:
            weight = np.concatenate([weight, np.ones(len(X_held), weight.dtype)])
    return TrainingRows(parts, y, weight, held)


def _unread(head: Any, X: Any, kinds: Any) -> Any:
    """Unread rows in the type that a head computes in; an array, if the head needs one."""
    if not is_unread(X):
        return X
    if not getattr(head, "streams", False):
        return np.asarray(X)
    given = kinds if isinstance(kinds, list) else [kinds]
    kind = next((kind for kind in given if X.dtype == kind), given[0])
    return X if X.dtype == kind else UnreadRows([(X, None)], kind)


def _shown(X: Any) -> Any:
    """X as scikit-learn checks it: for unread rows an array of their shape, without memory."""
    if not is_unread(X) or X.ndim != 2 or not len(X):
        return X
    return np.broadcast_to(np.asarray(X[:1]), X.shape)


def _validation(head: Any, X: Array, y: Array, validation: Any) -> tuple[Array, Array]:
    try:
        X_held, y_held = validation
    except (TypeError, ValueError) as error:
        raise ValueError("validation must be a pair (X, y) of features and labels") from error
    kind = float_types(X_held, half=True) if X.dtype == np.float16 else X.dtype
    X_held = _unread(head, X_held, kind)
    shown = validate_data(head, _shown(X_held), dtype=kind, reset=False, ensure_all_finite=False)
    X_held = X_held if is_unread(X_held) else shown
    _check_numbers(X_held)
    y_held = column_or_1d(y_held) if y.ndim == 1 else check_array(y_held, dtype=None)
    if len(X_held) != len(y_held):
        raise ValueError(f"validation has {len(X_held)} rows of X and {len(y_held)} labels")
    if y.shape[1:] != y_held.shape[1:]:
        raise ValueError(
            f"y has {y.shape[1]} columns and validation's {y_held.shape[1]}; give the same"
        )
    if (y.dtype.kind in "US") != (y_held.dtype.kind in "US") and "O" not in (
        y.dtype.kind,
        y_held.dtype.kind,
    ):
        # NumPy would turn the numbers into strings without a warning.
        raise ValueError(
            f"y holds {y.dtype} and validation {y_held.dtype}; give labels of the same type"
        )
    return X_held, y_held
