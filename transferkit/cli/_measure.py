"""Printing what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from transferkit.cli._output import counted, print_pairs, print_table

__all__ = ["headline", "print_report"]

_SHOWN_CLASSES = 30


def _percent(value: float | None, digits: int = 2) -> str:
    return "n/a" if value is None else f"{100 * value:.{digits}f} %"


def _number(value: float | None) -> str:
    from transferkit.metrics.baseline import number

    return "n/a" if value is None else number(value)


def _r2(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def headline(report: Any) -> str:
    """The report's most important numbers in one line, and what they are worth."""
    from transferkit import metrics

    if isinstance(report, metrics.RegressionReport):
        numbers = (
            f"R² {_r2(report.r2)}{_range(report, 'r2', _r2)}, MAE {_number(report.mae)}, "
            f"RMSE {_number(report.rmse)}"
        )
    elif isinstance(report, metrics.MultilabelReport):
        interval = _range(report, "mean_average_precision", _hundredths)
        numbers = (
            f"mAP {_percent(report.mean_average_precision, 1)}{interval}, "
            f"AUROC {_percent(report.mean_auroc, 1)}, macro F1 {_percent(report.macro_f1, 1)}"
        )
    else:
        numbers = (
            f"{_percent(report.accuracy, 1)} accuracy{_range(report, 'accuracy', _hundredths)}, "
            f"{_percent(report.balanced_accuracy, 1)} balanced"
        )
    return numbers if report.baseline is None else f"{numbers}; {report.baseline.verdict}"


def _hundredths(share: float) -> str:
    return f"{100 * share:.1f}"


def _range(report: Any, metric: str, shown: Callable[[float], str]) -> str:
    """The 95 % interval of a metric in brackets, where it has one."""
    found = None if report.baseline is None else report.baseline.of(metric)
    if found is None or shown(found.low) == shown(found.high):
        return ""
    return f" ({shown(found.low)} to {shown(found.high)})"


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


def _beside(report: Any, metric: str, value: float | None, shown: Callable[[float], str]) -> str:
    """A metric with its unit, its interval, and what is got without looking at an image."""
    found = None if report.baseline is None else report.baseline.of(metric)
    if value is None or found is None:
        return "n/a" if value is None else shown(value)
    low, high = shown(found.low), shown(found.high)
    # Where all is right or wrong, draws are all alike: that is no interval.
    interval = "" if low == high else f"95 % interval {low} to {high}; "
    return f"{shown(value)}  ({interval}baseline {shown(found.baseline)})"


def _verdict(report: Any) -> list[tuple[str, str]]:
    return [] if report.baseline is None else [("baseline", report.baseline.verdict)]


def _print_regression(report: Any, pairs: list[tuple[str, str]]) -> None:
    print_pairs(
        [
            *pairs,
            ("R²", _beside(report, "r2", report.r2, _r2)),
            ("MAE", _beside(report, "mae", report.mae, _number)),
            ("RMSE", _number(report.rmse)),
            *_verdict(report),
        ]
    )
    if len(report.targets) > 1:
        click.echo()
        print_table(
            ("target", "R²", "MAE", "MAE of a constant", "RMSE"),
            [
                (t.name, _r2(t.r2), _number(t.mae), _number(t.baseline_mae), _number(t.rmse))
                for t in report.targets
            ],
        )


def _print_multilabel(report: Any, pairs: list[tuple[str, str]]) -> None:
    measured = {
        "mAP": ("mean_average_precision", report.mean_average_precision),
        "mean AUROC": ("mean_auroc", report.mean_auroc),
        "macro F1": ("macro_f1", report.macro_f1),
        "exact match": ("exact_match", report.exact_match),
    }
    pairs += [(name, _beside(report, *found, _percent)) for name, found in measured.items()]
    print_pairs([*pairs, *_verdict(report)])
    click.echo()
    print_table(
        ("label", "images", "prevalence", "F1", "AP", "AUROC", ""),
        [
            (
                r.label,
                f"{r.support:,}",
                _thousandths(r.prevalence),
                f"{r.f1:.3f}",
                _thousandths(r.average_precision),
                _thousandths(r.auroc),
                "no better than chance" if r.is_better is False else "",
            )
            for r in report.labels
        ],
    )


def _thousandths(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def _print_classification(report: Any, pairs: list[tuple[str, str]]) -> None:
    pairs += [
        ("accuracy", _beside(report, "accuracy", report.accuracy, _percent)),
        (
            "balanced accuracy",
            _beside(report, "balanced_accuracy", report.balanced_accuracy, _percent),
        ),
        ("macro F1", _percent(report.macro_f1)),
        ("log loss", "n/a" if report.log_loss is None else f"{report.log_loss:.4f}"),
        ("ECE", _percent(report.calibration_error)),
        *_verdict(report),
    ]
    if report.n_unknown:
        images = counted(report.n_unknown, "image")
        unknown = f"{images} of classes the model never saw (errors)"
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
