"""Reports as lines: what stands where, of each task."""

import re

import numpy as np
import pytest

from tests.metrics.test_common import DRAWN, REPORTS, reported
from transferkit import metrics
from transferkit.metrics import classification_report, regression_report
from transferkit.report.text import report_lines


def pairs(lines):
    """Names and values of the lines before the first table."""
    end = lines.index("") if "" in lines else len(lines)
    return dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines[:end])


def report(task, seed=0, **options):
    return reported(DRAWN[task](np.random.default_rng(seed), **options))


@pytest.mark.parametrize("task", REPORTS)
def test_a_line_for_each_metric_then_the_baseline(task):
    told = report(task)
    lines = report_lines(told, n_left_out=1200)
    assert lines[0].endswith("60 (1,200 that the model was trained on left out)")
    for line, row in zip(lines[1:], told.rows(), strict=False):
        assert line.startswith(row.metric.title)
        assert line.endswith(row.text())
    assert lines[1 + len(told.rows())].split(maxsplit=1) == ["baseline", told.baseline.verdict]


def test_a_value_beside_its_interval_and_its_baseline():
    true = np.repeat(["cat", "dog"], [60, 40])
    told = pairs(report_lines(classification_report(true, true[::-1], None, ["cat", "dog"])))
    assert told["accuracy"] == "20.00 %  (95 % interval 13.34 % to 28.88 %; baseline 60.00 %)"
    assert told["log loss"] == "n/a"
    assert told["macro F1"] == "16.67 %"
    # All right: the draws are all alike, which is no interval.
    right = pairs(report_lines(classification_report(true, true, None, ["cat", "dog"])))
    assert right["balanced accuracy"] == "100.00 %  (baseline 50.00 %)"


def test_classification_has_its_confusions():
    lines = report_lines(classification_report(["a", "zebra"], ["a", "a"], None, ["a", "b"]))
    unknown = pairs(lines)["unknown labels"]
    assert unknown == "1 image of classes the model never saw (errors)"
    at = lines.index("confusion matrix (rows: true, columns: predicted)")
    assert lines[at - 1] == ""
    assert [line.split() for line in lines[at + 1 :]] == [
        ["a", "b", "zebra"],
        ["a", "1", "0", "0"],
        ["b", "0", "0", "0"],
        ["zebra", "1", "0", "0"],
    ]


def test_many_classes_have_their_most_frequent_confusions():
    labels = [f"c{i:02}" for i in range(31)]
    predicted = [*labels[:29], "c00", "c00"]
    lines = report_lines(classification_report(labels, predicted, None, labels))
    at = lines.index("most frequent confusions (the whole matrix: --json)")
    assert [line.split() for line in lines[at + 1 :]] == [
        ["true", "predicted", "images"],
        ["c29", "c00", "1"],
        ["c30", "c00", "1"],
    ]


def test_a_table_of_the_targets_where_there_are_several():
    single = report_lines(regression_report([1, 2, 3], [1, 2, 5], ["age"]))
    assert "" not in single
    assert pairs(single)["RMSE"] == "1.155"
    several = report_lines(report("regression"))
    header = several[several.index("") + 1]
    assert header.split() == ["target", "R²", "MAE", "MAE", "of", "a", "constant", "RMSE"]


def test_a_name_breaks_no_line():
    names = ["a\nb", "c\x1b[2J"]
    lines = report_lines(classification_report(names, names, None, names))
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith("a\\nb ") for line in lines)


def test_headlines():
    assert report("regression").headline().startswith("R² 0.")
    told = report("multilabel", with_proba=False).headline()
    assert told.startswith("mAP n/a, AUROC n/a, macro F1 ")
    told = report("classification")
    assert f"{100 * told.accuracy:.1f} % accuracy (" in told.headline()
    assert told.headline().endswith(told.baseline.verdict)


@pytest.mark.parametrize("task", REPORTS)
def test_a_metric_added_as_a_file_is_told(task, toy_metric):
    assert toy_metric in metrics.names()
    told = report(task)
    assert told.value(toy_metric) == 15
    assert told.to_dict()[toy_metric] == 15
    rows = len(metrics.of(task))
    assert report_lines(told)[rows].split(maxsplit=2) == ["toy", "metric", "15.0 quarters"]
