"""What a card is told of a report."""

import json

import pytest

from tests.metrics.test_common import REPORTS
from tests.report.test_text import report
from transferkit.report.facts import facts_of


def test_where_nothing_was_measured():
    assert facts_of("here/images/", "") == {"data": {"images": "images"}}


@pytest.mark.parametrize("task", REPORTS)
def test_a_row_for_each_metric_with_a_value(task):
    told = report(task)
    facts = json.loads(json.dumps(facts_of("images", "test split", told)))
    assert facts["data"]["measured on"] == "60 images (test split)"
    assert {row["name"] for row in facts["metrics"]} == {r.metric.card_title for r in told.rows()}
    for row in facts["metrics"]:
        assert row["n"] == 60
        if "baseline" in row:
            assert row["low"] <= row["value"] <= row["high"]
    assert facts["baseline"]["verdict"] == told.baseline.verdict


def test_undefined_metrics_are_left_out():
    names = [
        row["name"] for row in facts_of("x", "", report("multilabel", with_proba=False))["metrics"]
    ]
    assert names == ["exact match", "macro F1"]


def test_the_interval_of_the_rmse():
    told = report("regression")
    [row] = [r for r in facts_of("x", "", told)["metrics"] if r["name"] == "RMSE"]
    assert (row["low"], row["high"]) == told.rmse_interval
    assert "baseline" not in row


@pytest.mark.parametrize("task", REPORTS)
def test_a_metric_added_as_a_file_is_told(task, toy_metric):
    rows = facts_of("images", "", report(task))["metrics"]
    assert {"name": "toy metric", "value": 15, "n": 60} in rows
