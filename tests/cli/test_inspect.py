"""``transferkit inspect``, and what other commands make of its list."""

import csv
import json
import os
import shutil

import pytest
from PIL import Image, ImageOps

from tests.cli.conftest import BACKBONE


@pytest.fixture
def copied(damaged):
    """Three files that can't be read, a copy with another label, and a mirrored copy."""
    shutil.copy(damaged / "dark" / "02.jpg", damaged / "light" / "80.jpg")
    with Image.open(damaged / "light" / "04.jpg") as image:
        ImageOps.mirror(image).save(damaged / "light" / "81.png")
    return damaged


LEFT_OUT = {
    *("dark/05a.jpg", "light/03a.jpg", "light/07a.png"),
    *("light/80.jpg", "light/81.png"),
}


def test_inspect_then_fit_without_what_is_listed(call, copied, tmp_path):
    store = ("--store", tmp_path / "store")
    file, table = tmp_path / "exclude.txt", tmp_path / "findings.csv"
    page = tmp_path / "page.html"
    result = call(
        "inspect",
        copied,
        *BACKBONE,
        *store,
        "--out",
        table,
        "--write-exclude",
        file,
        "--report",
        page,
    )
    assert result.code == 3
    assert "3 of 29 images could not be read" in result.err
    assert "exact duplicate: 1\n  light/80.jpg ~ dark/02.jpg: the same bytes" in result.out
    assert "near duplicate: 1\n  light/81.png ~ light/04.jpg: likely a copy" in result.out
    assert "label 'light', of the other 'dark'" in result.out
    assert set(file.read_text().splitlines()) == LEFT_OUT
    (line,) = (line for line in result.out.splitlines() if line.startswith("not listed"))
    assert "--exclude-kinds 'label" in line
    assert "light/81.png" in page.read_text(encoding="utf-8")
    with table.open(newline="") as opened:
        lines = list(csv.DictReader(opened))
    assert {line["path"] for line in lines if line["excluded"] == "True"} == LEFT_OUT
    for command in (("fit", "--out", tmp_path / "model"), ("extract",)):
        name, *rest = command
        result = call(name, copied, *BACKBONE, *store, *rest, "--exclude", file, "--json")
        assert result.code == 0, result.err
        told = json.loads(result.out)
        assert told["images"] == 24
        assert told["failures"] == told["duplicates"] == []


def test_json_and_kinds_that_are_excluded_too(call, copied, tmp_path):
    out = tmp_path / "findings.json"
    options = ("--store", tmp_path / "store", "--json", "--on-error", "skip")
    result = call(
        "inspect", copied, *BACKBONE, *options, "--exclude-kinds", "odd file,label", "--out", out
    )
    assert result.code == 0
    told = json.loads(result.out)
    assert told["findings"] == json.loads(out.read_text())
    kinds = {line["kind"] for line in told["findings"] if line["excluded"]}
    assert kinds >= {"exact duplicate", "near duplicate", "odd file"}
    assert told["balance"] == {"all": {"dark": 13, "light": 16}}
    assert set(told["excluded"]) >= LEFT_OUT


def test_predict_and_evaluate_take_the_list_too(call, images, tmp_path):
    store = ("--store", tmp_path / "store")
    assert call("fit", images, *BACKBONE, *store, "--out", tmp_path / "model").code == 0
    file = tmp_path / "exclude.txt"
    file.write_text("dark/00.jpg\n")
    result = call("predict", tmp_path / "model", images, *store, "--exclude", file)
    assert result.code == 0
    assert "dark/01.jpg" in result.out
    assert "dark/00.jpg" not in result.out
    result = call(
        "evaluate", tmp_path / "model", images, *store, "--all", "--exclude", file, "--json"
    )
    assert result.code == 0


def test_names_that_are_not_utf8(call, images, tmp_path):
    name = os.fsencode(images) + b"/dark/\xe9.jpg"
    shutil.copy(images / "dark" / "02.jpg", name)
    file = tmp_path / "exclude.txt"
    store = ("--store", tmp_path / "store")
    result = call("inspect", images, *BACKBONE, *store, "--write-exclude", file)
    assert result.code == 0
    assert file.read_bytes() == b"dark/\xe9.jpg\n"
    result = call("extract", images, *BACKBONE, *store, "--exclude", file, "--json")
    assert json.loads(result.out)["images"] == 24


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--write-exclude", "x.csv"), 2, "end its name in .txt"),
        (("--exclude-kinds", "lable"), 1, "unknown kind of finding 'lable'; did you mean 'label'"),
        (("--exclude", "gone.txt"), 1, "there is no list of images to exclude 'gone.txt'"),
        (("--annotations", "x.json"), 2, "--annotations is for"),
        (("--features", "stage2.map"), 1, "map"),
        (("--on-error", "raise"), 1, "could not be read"),
    ],
)
def test_what_it_refuses(call, damaged, tmp_path, monkeypatch, options, code, message):
    monkeypatch.chdir(tmp_path)
    result = call("inspect", damaged, *BACKBONE, "--store", tmp_path / "store", *options)
    assert result.code == code
    assert message in result.err
