"""Heads of scikit-learn's making as ONNX graphs, through skl2onnx: trees, and any estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.base import is_regressor

from transferkit.heads import boosting, forest

__all__ = ["Part", "sklearn_parts"]


@dataclass(frozen=True)
class Part:
    """One estimator's graph.

    Parameters
    ----------
    graph : onnx.ModelProto
        One input, ``(n, n_features)`` float32.
    output : str
        The output that is wanted.
    kind : {"probabilities", "values"}
        What it is.
    column : int, optional
        The only column that is wanted.
    """

    graph: Any
    output: str
    kind: str
    column: int | None = None


def sklearn_parts(head: Any, task: str, opset: int, ml_opset: int) -> list[Part]:
    """Graphs whose outputs stand side by side in what the head predicts.

    Parameters
    ----------
    head : estimator
        Fitted.
    task : str
        One of `transferkit.artifacts.TASKS`.
    opset, ml_opset : int
        Versions of the operators.

    Raises
    ------
    ImportError
        If skl2onnx isn't installed.
    ValueError
        If the head can't be written.
    """
    try:
        import skl2onnx
    except ImportError as error:
        raise ImportError(
            f"head {_name(head)!r} needs skl2onnx to become ONNX, which isn't installed; run pip "
            f"install 'transferkit[onnx]'"
        ) from error
    versions = {"": opset, "ai.onnx.ml": ml_opset}
    kind = "values" if task == "regression" else "probabilities"
    parts = []
    for estimator, column in _estimators(head, task):
        shape = [None, estimator.n_features_in_]
        rows = [("rows", skl2onnx.common.data_types.FloatTensorType(shape))]
        options = None if is_regressor(estimator) else {id(estimator): {"zipmap": False}}
        try:
            graph = skl2onnx.convert_sklearn(
                estimator, initial_types=rows, options=options, target_opset=versions
            )
        except Exception as error:  # its converters raise whatever they meet
            raise _refused(head, f"skl2onnx: {' '.join(str(error).split())[:160]}") from error
        output = "variable" if is_regressor(estimator) else "probabilities"
        if output not in [value.name for value in graph.graph.output]:
            raise _refused(head, "it gives no probabilities")
        parts.append(Part(graph, output, kind, column))
    return parts


def _estimators(head: Any, task: str) -> list[tuple[Any, int | None]]:
    """scikit-learn's estimators inside a head, and the column of each that counts."""
    if isinstance(head, boosting.Classifier | boosting.Regressor):
        if head.library != "sklearn":
            raise _refused(head, f"its trees are {head.library}'s; fit it with library='sklearn'")
        if any(isinstance(model, float) for model in head.models_):
            raise _refused(head, "one of its labels was always the same in training")
        return [(model, 1 if task == "multilabel" else None) for model in head.models_]
    if task == "multilabel":
        raise _refused(head, "of several labels per image skl2onnx makes outputs of other shapes")
    if isinstance(head, forest.Classifier | forest.Regressor):
        return [(head.trees_, None)]
    if type(head).__module__.startswith("transferkit."):
        raise _refused(head, "its probabilities come from a calibration" if _is_calibrated(head)
                       else "it has no plain form")  # fmt: skip
    if task == "classification" and not hasattr(head, "predict_proba"):
        raise _refused(head, "it gives no probabilities")
    return [(head, None)]


def _is_calibrated(head: Any) -> bool:
    return bool(getattr(head, "probability", False))


def _name(head: Any) -> str:
    module = type(head).__module__
    ours = module.startswith("transferkit.heads.")
    return module.rpartition(".")[2] if ours else type(head).__name__


def _refused(head: Any, reason: str) -> ValueError:
    return ValueError(
        f"head {_name(head)!r} can't become part of an ONNX file ({reason}); train one that can "
        f"on the same stored features: linear, ridge, lda, centroid, mlp, knn, svm or forest"
    )
