import json

import pytest

from tests.report.rows import pets


@pytest.fixture
def results(tmp_path):
    return pets(tmp_path / "results").path


def test_a_page(call, results, tmp_path):
    out = tmp_path / "page.html"
    done = call("report", results, "--out", out, "--metric", "macro_f1")
    assert done.code == 0, done.err
    assert str(out) in done.out
    assert "MB" in done.out
    text = out.read_text(encoding="utf-8")
    assert "macro F1" in text
    found = json.loads(call("report", results, "--out", out, "--json").out)
    assert found == {"page": str(out), "bytes": out.stat().st_size, "cells": 40}
    assert "macro F1" not in out.read_text(encoding="utf-8")
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "results"}


def test_it_stands_here_by_default(call, results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("report", results).code == 0
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no results (no rows.jsonl)"),
        ("", "holds no finished cell yet"),
        ('{"cell": "a"', "holds no finished cell yet"),
        ('{"a": 1}\n', "isn't a benchmark's"),
        ("[1]\n", "isn't a benchmark's"),
        ('{"cell": "a", "status": "done"}\n', "rows without backbone, dataset"),
    ],
)
def test_a_folder_without_results(call, tmp_path, content, message):
    folder = tmp_path / "folder"
    folder.mkdir()
    if content is not None:
        (folder / "rows.jsonl").write_text(content)
    out = tmp_path / "page.html"
    out.write_text("old")
    done = call("report", folder, "--out", out)
    assert done.code == 1
    assert message in done.err
    assert "transferkit benchmark DATASET" in done.err
    assert out.read_text() == "old"


def test_what_is_no_folder(call, results, tmp_path):
    assert "isn't there" in call("report", tmp_path / "nowhere").err
    assert not (tmp_path / "nowhere").exists()
    assert "is a file" in call("report", results / "rows.jsonl").err
    done = call("report", results, "--out", tmp_path)
    assert done.code == 2
    assert "is a folder; give --out the name of a file" in done.err


def test_a_wrong_metric(call, results):
    done = call("report", results, "--metric", "acuracy")
    assert done.code == 1
    assert "unknown metric 'acuracy'; did you mean 'accuracy'" in done.err
