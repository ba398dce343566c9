"""Convert estimators of scikit-learn's to ONNX graphs by skl2onnx."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_regressor

from transferkit.export._refusal import head_name, refused
from transferkit.tasks import Task

__all__ = ["sklearn_graph"]


def sklearn_graph(head: Any, task: Task, opset: int, ml_opset: int) -> tuple[Any, str]:
    """Convert scikit-learn's own head to a graph; return it with the output that counts.

    Parameters
    ----------
    head : estimator
        Fitted.
    task : Task
        What was learnt.
    opset, ml_opset : int
        Versions of the operators.

    Raises
    ------
    ImportError
        If skl2onnx isn't installed.
    ValueError
        If the head can't be written.
    """
    _check(head, task)
    try:
        import skl2onnx
        from skl2onnx.common.data_types import FloatTensorType
    except ImportError as error:
        raise ImportError(
            f"head {head_name(head)!r} needs skl2onnx to become ONNX, which isn't installed; run "
            f"pip install 'transferkit[onnx]'"
        ) from error
    try:
        graph = skl2onnx.convert_sklearn(
            head,
            initial_types=[("rows", FloatTensorType([None, head.n_features_in_]))],
            options=None if is_regressor(head) else {id(head): {"zipmap": False}},
            target_opset={"": opset, "ai.onnx.ml": ml_opset},
        )
    except Exception as error:  # its converters raise whatever they meet
        raise refused(head, f"skl2onnx: {' '.join(str(error).split())[:160]}") from error
    return graph, "variable" if is_regressor(head) else "probabilities"


def _check(head: Any, task: Task) -> None:
    if task.has_several_labels:
        raise refused(head, "skl2onnx gives outputs of other shapes for several labels per image")
    if task.has_one_class and not hasattr(head, "predict_proba"):
        raise refused(head, "it gives no probabilities")
