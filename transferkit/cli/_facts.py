"""What a card tells of a training: the data, and the metrics with their intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from transferkit.images import ImageSet

__all__ = ["facts_of"]


def facts_of(
    model: Any, source: str, part: str, test: ImageSet | None, X: np.ndarray | None, report: Any
) -> dict[str, Any]:
    """Facts for the card of a model that was just trained.

    Parameters
    ----------
    model : TransferEstimator
        Fitted.
    source : str
        IMAGES as the user gave it; of a path only the last part is told.
    part : str
        Which images the model is measured on.
    test, X, report
        These images, their features, and what was measured; None if nothing was held out.
    """
    data: dict[str, Any] = {"images": Path(source).name or source}
    if test is None or X is None or report is None:
        return {"data": data}
    data |= {"measured on": f"{len(test):,} images ({part})"}
    return {"data": data, "metrics": _metrics(model, test, X, report)}


def _metrics(model: Any, test: ImageSet, X: np.ndarray, report: Any) -> list[dict[str, Any]]:
    import numpy as np

    from transferkit import metrics
    from transferkit.metrics.uncertainty import bootstrap_interval

    n = report.n
    if isinstance(report, metrics.RegressionReport):
        return _regression_metrics(model, test, X, report)
    is_multilabel = isinstance(report, metrics.MultilabelReport)
    share = report.exact_match if is_multilabel else report.accuracy
    # Which rows are right doesn't matter to the interval of their share.
    right = (np.arange(n) < round(share * n)).astype(float)
    low, high = bootstrap_interval(lambda rows: float(right[rows].mean()), n)
    first = {"name": "exact match" if is_multilabel else "accuracy", "value": share}
    others = (
        {"mAP": report.mean_average_precision, "macro F1": report.macro_f1}
        if is_multilabel
        else {
            "balanced accuracy": report.balanced_accuracy,
            "macro F1": report.macro_f1,
            "log loss": report.log_loss,
            "calibration error": report.calibration_error,
        }
    )
    rows = [first | {"low": low, "high": high, "n": n}]
    return rows + [{"name": k, "value": v, "n": n} for k, v in others.items() if v is not None]


def _regression_metrics(
    model: Any, test: ImageSet, X: np.ndarray, report: Any
) -> list[dict[str, Any]]:
    import numpy as np

    from transferkit.estimators import targets_of
    from transferkit.metrics.uncertainty import bootstrap_interval

    n = report.n
    true = np.asarray(targets_of(test, None, "given", model.task), float).reshape(n, -1)
    error = np.asarray(model.predict_features(X), float).reshape(n, -1) - true
    rows: list[dict[str, Any]] = []
    measures = {
        "MAE": (report.mae, lambda at: float(np.abs(error[at]).mean())),
        "RMSE": (report.rmse, lambda at: float(np.sqrt((error[at] ** 2).mean(axis=0)).mean())),
    }
    for name, (value, measure) in measures.items():
        low, high = bootstrap_interval(measure, n)
        rows.append({"name": name, "value": value, "low": low, "high": high, "n": n})
    if report.r2 is not None:
        rows.insert(0, {"name": "R²", "value": report.r2, "n": n})
    return rows
