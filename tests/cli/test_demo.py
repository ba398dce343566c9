"""The demo, as a user calls it: once with our digits, once with a folder of the user's."""

import json
from pathlib import Path

import pytest
from PIL import Image

from transferkit.cli import demo

pytestmark = pytest.mark.suites


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ninth digit."""
    import sklearn.datasets

    digits = sklearn.datasets.load_digits()
    digits.images, digits.target = digits.images[::9], digits.target[::9]
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: digits)


def test_digits_twice(call, few_digits, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    first = call("demo", "--out", out, "--heads", "linear,centroid,knn")
    assert first.code == 0
    assert first.err == ""
    assert "extracted 200 images" in first.out
    assert "200 in" in first.out
    assert "160 to train on, 40 held out" in first.out
    for head in ("linear", "centroid", "knn"):
        assert f"\n{head} " in first.out
    with Image.open(out / "demo.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
    second = call("demo", "--out", out, "--heads", "linear,knn", "--json")
    result = json.loads(second.out)
    assert [row["head"] for row in result["heads"]] == ["linear", "knn"]
    assert result["heads"][0]["accuracy"] > 0.6
    assert len(result["predictions"]) == 5
    predicted = call("predict", result["model"], out / "images" / "3", "--format", "jsonl")
    answers = [json.loads(line)["prediction"] for line in predicted.out.splitlines()]
    assert answers.count("3") > 0.7 * len(answers)
    third = call("demo", "--out", out, "--heads", "knn")
    assert "200 from the store: no weights loaded, no image decoded" in third.out


def test_a_folder_of_the_users(call, damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = call("demo", "--images", damaged, "--out", out, "--heads", "centroid")
    assert result.code == 3
    assert "3 of 27 images could not be read" in result.err
    assert (out / "model" / "model.json").is_file()
    assert (out / "demo.png").is_file()
    assert not (out / "images").exists()


def test_without_matplotlib(call, few_digits, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    monkeypatch.delitem(__import__("sys").modules, "transferkit.report.plots", raising=False)
    monkeypatch.delattr("transferkit.report.plots", raising=False)
    result = call("demo", "--out", tmp_path / "demo", "--heads", "centroid")
    assert result.code == 0
    assert 'pip install "transferkit[demo]"' in result.err
    assert not (tmp_path / "demo" / "demo.png").exists()


def test_wrong_words(call, few_digits, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert "did you mean 'linear'" in call("demo", "--out", out, "--heads", "linaer").err
    assert "names no head" in call("demo", "--out", out, "--heads", ",").err
    missing = call("demo", "--out", out, "--images", tmp_path / "nothing")
    assert missing.code == 1
    assert "nothing" in missing.err


def test_spread() -> None:
    assert demo._spread(10, 5) == [0, 2, 4, 6, 8]
    assert demo._spread(3, 5) == [0, 1, 2]
