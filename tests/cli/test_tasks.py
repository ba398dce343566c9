"""Numbers and several labels per image, as a user learns and measures them."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, r2_score

from tests.cli.conftest import BACKBONE, jpeg


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forty images: how light they are, and two things that are so or not."""
    rng = np.random.default_rng(0)
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "light", "dim", "bright", "split"])
        for i in range(40):
            level = int(rng.integers(30, 220))
            (tmp_path / f"{i}.jpg").write_bytes(jpeg(level, seed=i))
            split = ("train", "train", "train", "test")[i % 4]
            writer.writerow([f"{i}.jpg", level / 10, int(level < 150), int(level > 90), split])
    return path


def test_regression(call, table: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    args = ("--task", "regression", "--label-column", "light")
    fitted = call("fit", table, *BACKBONE, *args, "--out", model)
    assert fitted.code == 0
    assert "R²" in fitted.out
    report = json.loads(call("evaluate", model, table, "--label-column", "light", "--json").out)
    rows = list(csv.DictReader(io.StringIO(call("predict", model, table).out)))
    truth = list(csv.DictReader(io.StringIO(table.read_text())))
    pairs = [
        (float(t["light"]), float(r["prediction"]))
        for t, r in zip(truth, rows, strict=True)
        if t["split"] == "test"
    ]
    assert report["n"] == len(pairs) == 10
    assert report["r2"] == pytest.approx(r2_score(*zip(*pairs, strict=True)))
    assert report["r2"] > 0.8
    own = ["path", "light", "dim", "bright", "split"]
    assert list(rows[0]) == [*own, "prediction", "error"]
    assert [[r[name] for name in own] for r in rows] == [[t[name] for name in own] for t in truth]
    for options in (("--label-column", "light"), ()):  # the model remembers its column
        assert "RMSE" in call("evaluate", model, table, *options).out
    assert "regression of light" in fitted.out
    both = call("predict", model, table, "--json", "--format", "csv")
    assert both.code == 2
    assert "--json and --format csv were both given" in both.err


def test_two_numbers_at_once(call, table: Path, tmp_path: Path) -> None:
    args = ("--task", "regression", "--labels", "light, dim")
    assert call("fit", table, *BACKBONE, *args, "--out", tmp_path / "m").code == 0
    report = json.loads(
        call("evaluate", tmp_path / "m", table, "--labels", "light,dim", "--json").out
    )
    assert [t["name"] for t in report["targets"]] == ["light", "dim"]
    header = call("predict", tmp_path / "m", table).out.splitlines()[0]
    assert header == "path,light,dim,bright,split,prediction:light,prediction:dim,error"
    out = tmp_path / "lines.csv"
    call("evaluate", tmp_path / "m", table, "--out", out)
    [line, *_] = rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert len(rows) == 10
    assert float(line["residual:dim"]) == pytest.approx(
        float(line["prediction:dim"]) - float(line["label:dim"])
    )
    # The columns that were learnt are found again, whatever their order in the alphabet.
    again = call("evaluate", tmp_path / "m", table)
    assert again.code == 0
    assert "light" in again.out
    wrong = call("evaluate", tmp_path / "m", table, "--label-column", "light")
    assert wrong.code == 1
    assert "--labels light,dim" in wrong.err


def test_several_labels(call, table: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    fitted = call("fit", table, *BACKBONE, "--labels", "dim,bright", "--out", model)
    assert fitted.code == 0
    assert "mAP" in fitted.out
    report = json.loads(call("evaluate", model, table, "--labels", "dim,bright", "--json").out)
    assert [r["label"] for r in report["labels"]] == ["dim", "bright"]
    out = call("predict", model, table, "--proba").out
    rows = list(csv.DictReader(io.StringIO(out)))
    truth = list(csv.DictReader(io.StringIO(table.read_text())))
    chosen = [i for i, t in enumerate(truth) if t["split"] == "test"]
    expected = average_precision_score(
        [[int(truth[i][n]) for n in ("dim", "bright")] for i in chosen],
        [[float(rows[i][f"proba:{n}"]) for n in ("dim", "bright")] for i in chosen],
    )
    assert report["mean_average_precision"] == pytest.approx(expected)
    for row in rows:
        has = [n for n in ("dim", "bright") if float(row[f"proba:{n}"]) > 0.5]
        assert row["prediction"] == ";".join(has)
    line = json.loads(call("predict", model, table, "--format", "jsonl").out.splitlines()[0])
    assert isinstance(line["prediction"], list)
    out = tmp_path / "lines.jsonl"
    call("evaluate", model, table, "--out", out)
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["path"] for line in told] == [truth[i]["path"] for i in chosen]
    assert [line["label"] for line in told] == [
        [n for n in ("dim", "bright") if truth[i][n] == "1"] for i in chosen
    ]
    assert np.mean([line["correct"] for line in told]) == report["exact_match"]
    wrong = call("evaluate", model, table, "--labels", "bright,dim")
    assert wrong.code == 1
    assert "--labels dim,bright" in wrong.err


def test_labels_that_do_not_suit_the_task(call, table: Path, images: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "m")
    for args, words in (
        ((images, "--task", "regression"), "'dark'; give a number"),
        ((table, "--labels", "light,dim"), "numbers are learnt by regression (--task regression"),
        ((table, "--labels", "light,dark"), "'dark'"),
        ((table, "--task", "regression", "--head", "lda", "--label-column", "light"), "lda"),
    ):
        result = call("fit", *args, *BACKBONE, *out)
        assert result.code == 1, args
        assert words in result.err
        assert len(result.err.strip().splitlines()) == 1
