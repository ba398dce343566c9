"""Measuring a model on labelled images, and printing what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._output import print_pairs, print_table

if TYPE_CHECKING:
    import numpy as np

    from transferkit.images import ImageSet

__all__ = ["headline", "learnt_columns", "measure", "print_report"]

_SHOWN_CLASSES = 30


def measure(model: Any, images: ImageSet, X: np.ndarray) -> Any:
    """Report on a model, from labelled images and their features."""
    from transferkit import metrics
    from transferkit.estimators import targets_of

    y = targets_of(images, None, "given", model.task)
    predicted = model.predict_features(X)
    if model.task == "regression":
        if y.reshape(len(y), -1).shape[1] != len(model.target_names_):
            raise _wrong_columns(model.target_names_)
        return metrics.regression_report(y, predicted, [str(n) for n in model.target_names_])
    proba = model.predict_proba_features(X) if hasattr(model, "predict_proba") else None
    if not model.is_multilabel_:
        if y.ndim > 1 and y.shape[1] > 1:
            raise ValueError("the model predicts one label per image; give one label column")
        y = _as_known(y, model.classes_)
        return metrics.classification_report(y, predicted, proba, model.classes_)
    if y.ndim == 1 or list(images.label_names or ()) not in ([], model.classes_.tolist()):
        raise _wrong_columns(model.classes_)
    return metrics.multilabel_report(y, predicted, proba, model.classes_.tolist())


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


def _percent(value: float | None, digits: int = 2) -> str:
    return "n/a" if value is None else f"{100 * value:.{digits}f} %"


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"


def headline(report: Any) -> str:
    """The report's most important numbers in one line."""
    from transferkit import metrics

    if isinstance(report, metrics.RegressionReport):
        return f"R² {_number(report.r2)}, MAE {_number(report.mae)}, RMSE {_number(report.rmse)}"
    if isinstance(report, metrics.MultilabelReport):
        return (
            f"mAP {_percent(report.mean_average_precision, 1)}, "
            f"AUROC {_percent(report.mean_auroc, 1)}, macro F1 {_percent(report.macro_f1, 1)}"
        )
    return (
        f"{_percent(report.accuracy, 1)} accuracy, {_percent(report.balanced_accuracy, 1)} balanced"
    )


def print_report(report: Any, n_left_out: int) -> None:
    """Print a report of any kind."""
    from transferkit import metrics

    note = f" ({n_left_out:,} that the model was trained on left out)" if n_left_out else ""
    images = [("images", f"{report.n:,}{note}")]
    if isinstance(report, metrics.RegressionReport):
        _print_regression(report, images)
    elif isinstance(report, metrics.MultilabelReport):
        _print_multilabel(report, images)
    else:
        _print_classification(report, images)


def _print_regression(report: Any, pairs: list[tuple[str, str]]) -> None:
    pairs += [("R²", _number(report.r2)), ("MAE", _number(report.mae))]
    print_pairs([*pairs, ("RMSE", _number(report.rmse))])
    if len(report.targets) > 1:
        click.echo()
        print_table(
            ("target", "R²", "MAE", "RMSE"),
            [(t.name, _number(t.r2), _number(t.mae), _number(t.rmse)) for t in report.targets],
        )


def _print_multilabel(report: Any, pairs: list[tuple[str, str]]) -> None:
    print_pairs(
        [
            *pairs,
            ("mAP", _percent(report.mean_average_precision)),
            ("mean AUROC", _percent(report.mean_auroc)),
            ("macro F1", _percent(report.macro_f1)),
            ("exact match", _percent(report.exact_match)),
        ]
    )
    click.echo()
    print_table(
        ("label", "images", "F1", "AP", "AUROC"),
        [
            (
                r.label,
                f"{r.support:,}",
                f"{r.f1:.3f}",
                _number(r.average_precision),
                _number(r.auroc),
            )
            for r in report.labels
        ],
    )


def _print_classification(report: Any, pairs: list[tuple[str, str]]) -> None:
    pairs += [
        ("accuracy", _percent(report.accuracy)),
        ("balanced accuracy", _percent(report.balanced_accuracy)),
        ("macro F1", _percent(report.macro_f1)),
        ("log loss", "n/a" if report.log_loss is None else f"{report.log_loss:.4f}"),
        ("ECE", _percent(report.calibration_error)),
    ]
    if report.n_unknown:
        unknown = f"{report.n_unknown:,} images of classes the model never saw (errors)"
        pairs.append(("unknown labels", unknown))
    print_pairs(pairs)
    click.echo()
    print_table(
        ("class", "precision", "recall", "F1", "images"),
        [
            (str(c.label), f"{c.precision:.3f}", f"{c.recall:.3f}", f"{c.f1:.3f}", f"{c.support:,}")
            for c in report.classes
        ],
    )
    click.echo()
    if len(report.labels) > _SHOWN_CLASSES:
        _print_confusions(report)
        return
    click.echo("confusion matrix (rows: true, columns: predicted)")
    print_table(
        ("", *map(str, report.labels)),
        [
            (str(label), *(str(int(n)) for n in row))
            for label, row in zip(report.labels, report.confusion, strict=True)
        ],
    )


def _print_confusions(report: Any) -> None:
    """The most frequent confusions, where the whole matrix wouldn't fit."""
    import numpy as np

    counts = np.array(report.confusion)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:20]
    pairs = [divmod(int(i), len(counts)) for i in order]
    click.echo("most frequent confusions (the whole matrix: --json)")
    print_table(
        ("true", "predicted", "images"),
        [
            (str(report.labels[i]), str(report.labels[j]), str(int(counts[i, j])))
            for i, j in pairs
            if counts[i, j]
        ],
    )
