"""Measuring a model on labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from transferkit.images import ImageSet
    from transferkit.metrics import TaskReport

__all__ = ["learnt_columns", "measure", "true_targets"]


def true_targets(model: Any, images: ImageSet) -> np.ndarray:
    """Targets of labelled images, checked to be of the kind that the model predicts."""
    from transferkit.estimators import targets_of

    y = targets_of(images, None, "given", model.task)
    if model.task == "regression":
        if y.reshape(len(y), -1).shape[1] != len(model.target_names_):
            raise _wrong_columns(model.target_names_)
        return y
    if not model.is_multilabel_:
        if y.ndim > 1 and y.shape[1] > 1:
            raise ValueError("the model predicts one label per image; give one label column")
        return _as_known(y, model.classes_)
    if y.ndim == 1 or list(images.label_names or ()) not in ([], model.classes_.tolist()):
        raise _wrong_columns(model.classes_)
    return y


def measure(model: Any, images: ImageSet, X: np.ndarray) -> TaskReport:
    """Report on a model, from labelled images and their features."""
    from transferkit.metrics import report_of

    y = true_targets(model, images)
    predicted = model.predict_features(X)
    if model.task == "regression":
        return report_of("regression", y, predicted, None, model.target_names_)
    proba = model.predict_proba_features(X) if hasattr(model, "predict_proba") else None
    task = "multilabel" if model.is_multilabel_ else "classification"
    return report_of(task, y, predicted, proba, model.classes_)


def learnt_columns(model: Any) -> list[str]:
    """Names of the columns that a model has learnt, where it knows them."""
    if model.task == "regression":
        names = model.target_names_.tolist()
    else:
        names = model.classes_.tolist() if model.is_multilabel_ else []
    return [name for name in names if isinstance(name, str)]


def _as_known(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Labels as the model's own: a folder's "3" is the 3 that it was trained on in Python."""
    import numpy as np

    known = {str(label): label for label in classes.tolist()}
    texts = [str(label) for label in labels.ravel().tolist()]
    if not known.keys() & set(texts):
        raise ValueError(
            f"not one image has a label that the model knows: the images' are {_some(texts)}, the "
            f"model's {_some(list(known))}"
        )
    values = np.empty(len(texts), dtype=object)
    values[:] = [known.get(text, text) for text in texts]
    return values


def _some(labels: list[str]) -> str:
    different = list(dict.fromkeys(labels))
    return ", ".join(map(repr, different[:5])) + (" …" if len(different) > 5 else "")


def _wrong_columns(names: np.ndarray) -> ValueError:
    columns = ",".join(map(str, names))
    return ValueError(f"the model predicts {columns}; name these columns: --labels {columns}")
