"""Which images fit, finetune, evaluate and benchmark measure; and that a model is never lost."""

import csv
import io
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import BACKBONE, jpeg
from transferkit import TransferClassifier, list_images
from transferkit.artifacts import describe
from transferkit.estimators import measuring

pytestmark = pytest.mark.suites

TUNED = ("--set", "epochs=1", "--set", "batch_size=8")
COMMANDS = {"fit": (), "finetune": TUNED}


def write(root: Path, part: str, label: str, numbers: range) -> None:
    """Images that are alike within a label and differ in every byte string."""
    folder = root / part / label
    folder.mkdir(parents=True, exist_ok=True)
    level = {"dark": 50, "light": 200, "grey": 120}.get(label, 80)
    for i in numbers:
        (folder / f"{part}{i:02}.jpg").write_bytes(jpeg(level, seed=1000 * level + i))


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """train/ and val/, no test/."""
    root = tmp_path / "split"
    for label in ("dark", "light"):
        write(root, "train", label, range(10))
        write(root, "val", label, range(20, 24))
    return root


@pytest.fixture
def tested(split: Path) -> Path:
    """train/, val/ and test/; of the 12 test images 3 are trained on, 2 in val."""
    for label in ("dark", "light"):
        write(split, "test", label, range(30, 36))
    for part, name in (("train", "train03.jpg"), ("train", "train04.jpg"), ("val", "val21.jpg")):
        shutil.copy(split / part / "dark" / name, split / "test" / "dark" / f"copy-{name}")
    for name in ("val20.jpg", "val22.jpg"):
        shutil.copy(split / "val" / "light" / name, split / "test" / "light" / f"copy-{name}")
    return split


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))


def both(test):
    return pytest.mark.parametrize("command", COMMANDS)(test)


def train(call, command: str, images: Path, out: Path, *options: object):
    return call(command, images, *BACKBONE, *COMMANDS[command], "--out", out, *options)


def ids_of(model: Path) -> set[bytes]:
    return {row.tobytes() for row in TransferClassifier.load(model).train_ids_}


# ---- the rule for parts -------------------------------------------------------------


@both
def test_val_is_measured_without_a_test_part(call, split: Path, tmp_path: Path, command) -> None:
    line = "trained on train (20), measured on val (8): there is no test part"
    done = train(call, command, split, tmp_path / "m")
    assert done.code == 0, done.err
    assert line in done.out
    assert "on 8 images (val split)" in done.out
    result = json.loads(train(call, command, split, tmp_path / "n", "--json").out)
    assert (result["train"], result["test"], result["parts"]) == (20, 8, line)
    measured = call("evaluate", tmp_path / "m", split)
    assert measured.out.splitlines()[0] == "measured on val (8 images): there is no test part"
    report = json.loads(call("evaluate", tmp_path / "m", split, "--json").out)
    assert (report["part"], report["n"], report["left_out"]) == ("val", 8, 0)
    extraction = TransferClassifier.load(tmp_path / "m").extractor_.extract(
        list_images(split).split("val")
    )
    assert not ids_of(tmp_path / "m") & set(extraction.ids)


@both
def test_val_chooses_and_test_is_measured(call, tested: Path, tmp_path: Path, command) -> None:
    done = train(call, command, tested, tmp_path / "m", "--json")
    result = json.loads(done.out)
    assert (result["train"], result["test"], result["left_out"]) == (28, 12, 5)
    assert "5 of 17 test images have the same bytes as training images" in done.err
    text = train(call, command, tested, tmp_path / "n").out
    assert "on 12 images (test split; 5 of 17 left out)" in text
    report = json.loads(call("evaluate", tmp_path / "m", tested, "--json").out)
    assert (report["n"], report["left_out"]) == (12, 5)


def test_val_is_not_trained_on_in_python(split: Path, tmp_path: Path, call) -> None:
    call("fit", split, *BACKBONE, "--out", tmp_path / "m")
    model = TransferClassifier.load(tmp_path / "m")
    again = TransferClassifier(model.extractor_, model.head).fit(split)
    np.testing.assert_array_equal(again.train_ids_, model.train_ids_)
    val = list_images(split).split("val")
    assert len(again.fit(split, validation=val).train_ids_) == 28  # asked for by name


@both
def test_no_training_part(call, split: Path, tmp_path: Path, command) -> None:
    (split / "train").rename(split / "test")
    done = train(call, command, split, tmp_path / "m")
    assert done.code == 1
    assert "splits (val, test), but none is 'train'" in done.err


def test_benchmark_follows_the_same_rule(call, tested: Path, tmp_path: Path) -> None:
    options = ("--backbones", "test_resnet@random", "--heads", "linear", "--image-size", "48")
    done = call("benchmark", tested, *options, "--out", tmp_path / "r", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["parts"] == {
        "split": "trained on 20, chosen on 8, measured on 17 (test)"
    }
    assert "5 of 17 test images have the same bytes as training images" in done.err
    [row] = {
        (r["n_train"], r["n_val"], r["n_test"])
        for r in map(json.loads, (tmp_path / "r" / "rows.jsonl").read_text().splitlines())
    }
    assert row == (20, 8, 12)
    shutil.rmtree(tested / "test")
    done = call("benchmark", tested, *options, "--out", tmp_path / "s")
    assert "parts  split trained on 20, measured on 8 (val): there is no test part" in done.out
    [row] = {
        (r["n_train"], r["n_val"], r["n_test"])
        for r in map(json.loads, (tmp_path / "s" / "rows.jsonl").read_text().splitlines())
    }
    assert row == (20, 0, 8)


# ---- copies, labels -----------------------------------------------------------------


@both
def test_all_test_images_are_copies(call, split: Path, tmp_path: Path, command) -> None:
    shutil.rmtree(split / "val")
    shutil.copytree(split / "train", split / "test")
    done = train(call, command, split, tmp_path / "m")
    assert done.code == 0, done.err
    assert (
        "not measured: every one of the 20 test images has the same bytes as a training image"
        in done.out
    )
    assert "metrics" not in describe(tmp_path / "m")["facts"]
    options = ("--backbones", "test_resnet@random", "--image-size", "48", "--seeds", "1")
    board = call("benchmark", split, *options, "--out", tmp_path / "r")
    assert board.code == 3
    assert "not measured: 20 of 20 test images have the same bytes as training images" in board.err


def test_labels_at_random_are_not_learnt_by_heart(call, tmp_path: Path) -> None:
    """Of copies even labels drawn at random would be 100 % right."""
    root = tmp_path / "random"
    for i in range(40):
        path = root / "train" / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(100, seed=i))
    shutil.copytree(root / "train", root / "test")
    for i in range(100, 140):
        (root / "test" / "ab"[i % 2] / f"{i}.jpg").write_bytes(jpeg(100, seed=i))
    result = json.loads(call("fit", root, *BACKBONE, "--head", "knn", "--out", tmp_path / "m",
                             "--head-arg", "k=1", "--json").out)  # fmt: skip
    assert (result["test"], result["left_out"]) == (40, 40)
    assert 0.2 < result["report"]["accuracy"] < 0.8


@both
def test_test_images_without_labels(call, split: Path, tmp_path: Path, command) -> None:
    (split / "test").mkdir()
    for i in range(4):
        (split / "test" / f"{i}.jpg").write_bytes(jpeg(90, seed=i))
    done = train(call, command, split, tmp_path / "m")
    assert done.code == 0
    assert "not measured: no image of the test part has a label" in done.out
    assert len(ids_of(tmp_path / "m")) == 28
    write(split, "test", "dark", range(40, 43))
    done = train(call, command, split, tmp_path / "n")
    assert "on 3 images (test split; 4 of 7 left out)" in done.out
    assert "4 of 7 test images have no label" in done.err
    report = call("evaluate", tmp_path / "n", split, "--json")
    assert json.loads(report.out)["n"] == 3
    assert "Warning: 4 of 7 images have no label and are left out" in report.err


@both
def test_classes_that_were_not_trained_on(call, tested: Path, tmp_path: Path, command) -> None:
    write(tested, "test", "grey", range(4))
    done = train(call, command, tested, tmp_path / "m")
    assert (
        "4 of these images are of classes that weren't trained on ('grey') and count as errors"
        in done.out
    )
    result = json.loads(train(call, command, tested, tmp_path / "n", "--json").out)
    assert result["report"]["n_unknown"] == 4
    assert result["report"]["accuracy"] <= 12 / 16


# ---- a model that was trained is saved before it is measured ------------------------


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        ("fit", MemoryError(), "out of memory"),
        ("fit", ValueError("the store is gone"), "the store is gone"),
        ("fit", OSError(28, "No space left on device"), "No space left on device"),
        ("fit", ZeroDivisionError("a metric's fault"), "ZeroDivisionError: a metric's fault"),
        ("finetune", MemoryError(), "out of memory"),
    ],
)
def test_what_fails_in_measuring_costs_no_model(
    call, images: Path, tmp_path: Path, monkeypatch, command, error, words
) -> None:
    def failing(*args):
        raise error

    monkeypatch.setattr(measuring, "measure", failing)
    done = train(call, command, images, tmp_path / "m")
    assert done.code == 1
    lines = [line for line in done.err.splitlines() if line.startswith("Error:")]
    assert len(lines) == 1
    assert f"the model is saved at {tmp_path / 'm'}, but was not measured: " in lines[0]
    assert words in lines[0]
    assert f"not measured: {done.err.rpartition('measured: ')[2].strip()}" in done.out
    model = TransferClassifier.load(tmp_path / "m")
    assert len(model.train_ids_) == 19
    assert (model.predict(images) == list_images(images).labels).mean() > 0.5
    assert "Not measured" in (tmp_path / "m" / "README.md").read_text()


@both
def test_an_interrupt_in_measuring_costs_no_model(
    call, images: Path, tmp_path: Path, monkeypatch, command
) -> None:
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "measure", interrupted)
    done = train(call, command, images, tmp_path / "m")
    assert done.code == 130
    assert f"The model is saved at {tmp_path / 'm'}; it was not measured." in done.err
    assert len(ids_of(tmp_path / "m")) == 19


def test_labels_that_cannot_be_measured(call, tmp_path: Path) -> None:
    """A number that is none stands in the test part only."""
    lines = ["path,label,split"]
    for i in range(24):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(40 + 8 * i, seed=i))
        lines.append(f"{i}.jpg,{i if i != 23 else 'many'},{'test' if i % 4 == 3 else 'train'}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    done = call("fit", tmp_path / "table.csv", *BACKBONE, "--task", "regression",
                "--out", tmp_path / "m")  # fmt: skip
    assert done.code == 1
    assert "but was not measured: the label of '23.jpg' is 'many'" in done.err
    assert describe(tmp_path / "m")["n_train"] == 18


def test_a_test_image_that_is_gone_after_fine_tuning(
    call, tested: Path, tmp_path: Path, monkeypatch
) -> None:
    from transferkit import FineTuneClassifier

    fit = FineTuneClassifier.fit

    def fit_then_lose(self, *args, **options):
        fit(self, *args, **options)
        (tested / "test" / "dark" / "test31.jpg").write_bytes(b"")
        return self

    monkeypatch.setattr(FineTuneClassifier, "fit", fit_then_lose)
    done = train(call, "finetune", tested, tmp_path / "m", "--json")
    assert done.code == 3
    assert json.loads(done.out)["test"] == 11
    assert "test/dark/test31.jpg: empty file" in done.err


def test_metrics_are_in_the_saved_model(call, images: Path, tmp_path: Path) -> None:
    done = json.loads(call("fit", images, *BACKBONE, "--out", tmp_path / "m", "--json").out)
    facts = describe(tmp_path / "m")["facts"]
    assert facts["metrics"][0]["value"] == done["report"]["accuracy"]
    card = (tmp_path / "m" / "README.md").read_text()
    assert "| accuracy |" in card
    assert not list((tmp_path / "m").glob(".*"))
    TransferClassifier.load(tmp_path / "m")


def test_training_images_that_cannot_be_read(call, split: Path, tmp_path: Path) -> None:
    for path in (split / "train").rglob("*.jpg"):
        path.write_bytes(b"")
    done = call("fit", split, *BACKBONE, "--out", tmp_path / "m")
    assert done.code == 1
    assert "20 of 28 images could not be read" in done.err
    assert "no training image could be read; there is nothing to train on" in done.err


# ---- groups, folds ------------------------------------------------------------------


@pytest.fixture
def grouped(images: Path) -> Path:
    """A table of the 24 images, three of each patient."""
    names = [p.relative_to(images).as_posix() for p in sorted(images.rglob("*.jpg"))]
    lines = [f"{n},{n.partition('/')[0]},p{i // 3}" for i, n in enumerate(names)]
    table = images / "table.csv"
    table.write_text("\n".join(["path,label,patient", *lines]))
    return table


@both
def test_groups_are_never_on_both_sides(call, grouped: Path, tmp_path: Path, command) -> None:
    done = train(call, command, grouped, tmp_path / "m", "--group-column", "patient", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["train"] + result["test"] == 24
    assert result["test"] in (3, 6)
    listed = list_images(grouped, group_column="patient")
    extraction = TransferClassifier.load(tmp_path / "m").extractor_.extract(listed)
    seen = ids_of(tmp_path / "m")
    trained = {g for g, row in zip(listed.groups, extraction.ids, strict=True) if row in seen}
    assert len(trained) * 3 == result["train"]
    wrong = train(call, command, grouped, tmp_path / "n", "--group-column", "patients")
    assert "no column 'patients'; did you mean 'patient'?" in wrong.err
    folder = train(call, command, grouped.parent, tmp_path / "n", "--group-column", "patient")
    assert folder.code == 1
    assert "group column 'patient' is a column of a table" in folder.err


def test_folds(call, images: Path, tmp_path: Path) -> None:
    file = tmp_path / "out-of-fold.csv"
    options = ("--folds", "4", "--out-of-fold", file, "--out", tmp_path / "m")
    done = call("fit", images, *BACKBONE, *options)
    assert done.code == 0, done.err
    assert "on 24 images (out of fold: 4 folds, seed 0)" in done.out
    result = json.loads(call("fit", images, *BACKBONE, *options, "--force", "--json").out)
    assert (result["train"], result["test"]) == (24, 24)
    rows = rows_of(file)
    assert [r["path"] for r in rows] == list(list_images(images).names)
    assert Counter(r["fold"] for r in rows) == dict.fromkeys("0123", 6)
    right = np.array([r["label"] == r["prediction"] for r in rows])
    assert right.mean() == result["report"]["accuracy"]
    fold = np.array([int(r["fold"]) for r in rows])
    of_fold = [right[fold == k].mean() for k in range(4)]
    [told] = [row for row in result["folds"] if row["metric"] == "accuracy"]
    assert told["folds"] == pytest.approx(of_fold)
    assert told["mean"] == pytest.approx(np.mean(of_fold))
    assert told["std"] == pytest.approx(np.std(of_fold, ddof=1))
    # A second way: the model of a fold, trained by hand.
    listed = list_images(images)
    model = TransferClassifier.load(tmp_path / "m")
    by_hand = TransferClassifier(model.extractor_).fit(listed.select(np.flatnonzero(fold != 2)))
    proba = by_hand.predict_proba(listed.select(np.flatnonzero(fold == 2))).max(axis=1)
    sure = [float(r["confidence"]) for r in rows if r["fold"] == "2"]
    assert sure == pytest.approx(proba.tolist(), abs=1e-5)


def test_folds_of_groups_and_copies(call, grouped: Path, tmp_path: Path) -> None:
    copies = grouped.parent / "dark" / "copy.jpg"
    shutil.copy(grouped.parent / "dark" / "00.jpg", copies)
    grouped.write_text(grouped.read_text() + "\ndark/copy.jpg,dark,\n")
    file = tmp_path / "out.csv"
    options = ("--group-column", "patient", "--folds", "4", "--out-of-fold", file)
    assert call("fit", grouped, *BACKBONE, *options, "--out", tmp_path / "m").code == 0
    fold = {r["path"]: r["fold"] for r in rows_of(file)}
    listed = list_images(grouped, group_column="patient")
    for group in set(listed.groups) - {None}:
        of = {fold[n] for n, own in zip(listed.names, listed.groups, strict=True) if own == group}
        assert len(of) == 1
    assert fold["dark/copy.jpg"] == fold["dark/00.jpg"]


def test_folds_of_numbers_and_several_labels(call, tmp_path: Path) -> None:
    lines = ["path,light,dim,bright"]
    for i in range(30):
        level = 40 + 6 * i
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(level, seed=i))
        lines.append(f"{i}.jpg,{level / 10},{int(level < 150)},{int(level > 90)}")
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines))
    file = tmp_path / "out.csv"
    common = ("fit", table, *BACKBONE, "--folds", "3", "--out-of-fold", file)
    done = call(*common, "--task", "regression", "--label-column", "light", "--out", tmp_path / "m")
    assert done.code == 0, done.err
    assert "folds  " in done.out
    assert "R²" in done.out
    assert rows_of(file)[0].keys() == {
        "path", "label", "prediction", "fold",
    }  # fmt: skip
    done = call(*common, "--labels", "dim,bright", "--out", tmp_path / "n", "--json")
    assert done.code == 0, done.err
    assert {row["metric"] for row in json.loads(done.out)["folds"]} >= {"mean_average_precision"}
    assert {"label:dim", "prediction:bright"} <= set(rows_of(file)[0].keys())


def test_a_class_that_a_fold_lacks(call, images: Path, tmp_path: Path) -> None:
    write(images.parent, "images", "grey", range(1))
    file = tmp_path / "out.csv"
    done = call("fit", images, *BACKBONE, "--folds", "3", "--out-of-fold", file,
                "--out", tmp_path / "m", "--json")  # fmt: skip
    assert done.code == 0, done.err
    [row] = [r for r in rows_of(file) if r["label"] == "grey"]
    assert row["prediction"] != "grey"
    assert json.loads(done.out)["report"]["accuracy"] <= 24 / 25
    assert TransferClassifier.load(tmp_path / "m").classes_.tolist() == ["dark", "grey", "light"]


def test_what_does_not_go_with_folds(call, images: Path, split: Path, tmp_path: Path) -> None:
    out = (*BACKBONE, "--out", tmp_path / "m")
    for args, code, words in (
        ((images, "--folds", "3", "--test-size", "0.2"), 2, "give one of them"),
        ((images, "--out-of-fold", tmp_path / "o.csv"), 2, "give both"),
        ((images, "--folds", "1"), 2, "1"),
        ((split, "--folds", "3"), 1, "the images have splits (train, val), and --folds makes"),
        ((images, "--folds", "3", "--out-of-fold", tmp_path), 1, "is a folder"),
    ):
        done = call("fit", *args, *out)
        assert done.code == code, args
        assert words in done.err
    assert not (tmp_path / "m").exists()


def test_folds_that_fail_cost_no_model(call, images: Path, tmp_path: Path) -> None:
    done = call("fit", images, *BACKBONE, "--folds", "30", "--out", tmp_path / "m")
    assert done.code == 1
    assert "but was not measured: 30 folds of 24 images; give 2 to 24" in done.err
    assert len(ids_of(tmp_path / "m")) == 24


# ---- every row is read once, and a damaged one is computed again --------------------


def test_a_damaged_row_is_computed_again(call, images: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert train(call, "fit", images, tmp_path / "before", "--store", store).code == 0
    shard = next(store.rglob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-3] ^= 0x40
    shard.write_bytes(content)
    done = train(call, "fit", images, tmp_path / "after", "--store", store)
    assert done.code == 0, done.err
    assert "1 rows are damaged; computing again" in done.err
    assert ids_of(tmp_path / "after") == ids_of(tmp_path / "before")
    before, after = (TransferClassifier.load(tmp_path / name) for name in ("before", "after"))
    np.testing.assert_allclose(after.head_.coef_, before.head_.coef_, rtol=1e-4, atol=1e-6)


@both
def test_parts_are_of_the_images_that_they_were_drawn_of(
    call, tested: Path, tmp_path: Path, command
) -> None:
    done = json.loads(train(call, command, tested, tmp_path / "m", "--json").out)
    listed = list_images(tested)
    model = TransferClassifier.load(tmp_path / "m")
    own = model.extractor_.extract(listed)
    of = dict(zip(own.ids, listed.splits, strict=True))
    assert {of[row.tobytes()] for row in model.train_ids_} <= {"train", "val", "test"}
    unseen = set(own.ids) - {row.tobytes() for row in model.train_ids_}
    at = [i for i, row in enumerate(own.ids) if row in unseen and listed.splits[i] == "test"]
    predicted = model.predict(listed.select(at))
    right = (predicted == [listed.labels[i] for i in at]).mean()
    assert done["report"]["accuracy"] == pytest.approx(right)
    assert done["report"]["n"] == len(at)
