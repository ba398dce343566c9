"""extract, fit, predict and evaluate, as a user calls them."""

import csv
import io
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.model_selection import train_test_split

from tests.cli.conftest import BACKBONE, jpeg
from transferkit import FeatureExtractor, FeatureStore, TransferClassifier, list_images


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_extract_twice_computes_once(call, images: Path) -> None:
    first = json.loads(call("extract", images, *BACKBONE, "--json").out)
    assert (first["images"], first["rows"], first["computed"]) == (24, 24, 24)
    assert first["failures"] == []
    images.rename(images.with_name("moved"))
    second = json.loads(call("extract", images.with_name("moved"), *BACKBONE, "--json").out)
    assert (second["rows"], second["computed"]) == (24, 0)
    assert second["features"] == first["features"]
    text = call("extract", images.with_name("moved"), *BACKBONE).out
    assert "no weights loaded, no image decoded" in text


def test_several_features_have_a_key_each(call, images: Path) -> None:
    result = call(
        "extract", images, *BACKBONE, "--features", "stage2.gem, final,stage4.map", "--json"
    )
    features = json.loads(result.out)["features"]
    assert list(features) == ["stage2.gem", "final.avg", "stage4.map"]
    assert len({f["key"] for f in features.values()}) == 3
    assert len(features["stage4.map"]["shape"]) == 3


def test_maps_as_int8(call, images: Path, tmp_path: Path) -> None:
    store = tmp_path / "maps"
    options = [*BACKBONE, "--features", "stage2.map", "--store", store, "--storage", "int8"]
    planned = json.loads(call("extract", images, *options, "--plan", "--json").out)
    text = call("extract", images, *options).out
    assert "int8: cosine to float32 0.999" in text
    (info,) = FeatureStore(store).list_keys()
    width, height, n_values = *info.row_shape[:2], int(np.prod(info.row_shape))
    assert planned["row_shapes"] == {"stage2.map": list(info.row_shape)}
    assert planned["n_bytes"] == planned["bytes_as"]["int8"] == 24 * (4 * width + n_values)
    assert planned["bytes_as"]["float32"] == 24 * 4 * n_values
    options[options.index(store)] = tmp_path / "another"
    planned = call("extract", images, *options, "--plan").out
    assert f"stage2.map {width} × {height}" in planned


def test_vectors_as_int8(call, images: Path, tmp_path: Path) -> None:
    options = ["--store", tmp_path / "vectors"]
    text = call("extract", images, *BACKBONE, "--storage", "int8", *options).out
    told = re.search(r"int8: (cosine .* of 24 rows; a linear probe .* 6 held-out images.*)", text)
    assert told is not None
    listed = call("store", "ls", *options).out
    (info,) = FeatureStore(options[1]).list_keys()
    assert f"{info.key[:6]}  int8: {told[1]}" in listed
    assert told[1] in call("store", "info", info.key[:6], *options).out
    shown = json.loads(call("store", "info", info.key[:6], *options, "--json").out)
    assert shown["certificate"]["n_held_out"] == 6
    model = tmp_path / "model"
    done = call("fit", images, *BACKBONE, "--storage", "int8", *options, "--out", model)
    assert done.code == 0
    assert "no image decoded" in done.out
    assert call("predict", model, images, *options).code == 0
    compacted = call("store", "compact", *options)
    assert compacted.code == 0


def test_unreadable_images_are_named_and_the_exit_code_tells(call, damaged: Path) -> None:
    names = ("dark/05a.jpg: truncated", "light/03a.jpg: empty file", "light/07a.png: not an image")
    result = call("extract", damaged, *BACKBONE)
    assert result.code == 3
    assert "3 of 27 images could not be read" in result.err
    for name in names:
        assert name in result.err
    assert call("extract", damaged, *BACKBONE, "--on-error", "skip").code == 0
    failed = call("extract", damaged, *BACKBONE, "--on-error", "raise")
    assert failed.code == 1
    assert all(name.partition(":")[0] in failed.err for name in names)


def test_fit_predict_evaluate(call, images: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    fitted = json.loads(call("fit", images, *BACKBONE, "--out", model, "--json").out)
    assert fitted["classes"] == ["dark", "light"]
    assert (fitted["train"], fitted["test"]) == (19, 5)
    assert fitted["report"]["accuracy"] == 1.0

    predicted = call("predict", model, images, "--proba")
    assert predicted.code == 0
    rows = rows_of(predicted.out)
    assert [r["path"] for r in rows] == list(list_images(images).names)
    assert all(r["prediction"] == r["path"].partition("/")[0] for r in rows)
    assert all(r["error"] == "" for r in rows)
    for r in rows:
        proba = {c: float(r[f"proba:{c}"]) for c in ("dark", "light")}
        assert sum(proba.values()) == pytest.approx(1, abs=1e-5)
        assert float(r["confidence"]) == pytest.approx(max(proba.values()), abs=1e-5)

    lines = call("predict", model, images, "--format", "jsonl").out.splitlines()
    assert [json.loads(line)["prediction"] for line in lines] == [r["prediction"] for r in rows]

    table = tmp_path / "predictions.parquet"
    assert call("predict", model, images, "--format", "parquet").code == 2
    call("predict", model, images, "--format", "parquet", "--proba", "--out", table)
    columns = pq.read_table(table).to_pydict()
    assert columns["prediction"] == [r["prediction"] for r in rows]
    assert columns["proba:dark"] == pytest.approx([float(r["proba:dark"]) for r in rows])

    # evaluate leaves the training images out by their bytes, not their names
    renamed = tmp_path / "renamed"
    for i, path in enumerate(sorted(images.rglob("*.jpg"))):
        (renamed / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, renamed / path.parent.name / f"x{i}.jpg")
    report = json.loads(call("evaluate", model, renamed, "--json").out)
    assert (report["n"], report["left_out"]) == (5, 19)
    assert json.loads(call("evaluate", model, renamed, "--all", "--json").out)["n"] == 24
    text = call("evaluate", model, images).out
    for words in ("accuracy", "macro F1", "log loss", "precision", "confusion matrix"):
        assert words in text


def test_held_out_images_are_train_test_splits(call, images: Path, tmp_path: Path) -> None:
    """The split is scikit-learn's over the listing's order, as documented."""
    call("fit", images, *BACKBONE, "--out", tmp_path / "m", "--test-size", "0.25", "--seed", "3")
    listed = list_images(images)
    train, _ = train_test_split(
        range(len(listed)), test_size=0.25, random_state=3, stratify=listed.labels
    )
    model = TransferClassifier.load(tmp_path / "m")
    extraction = model.extractor_.extract(listed)
    expected = {extraction.ids[i] for i in train}
    assert {row.tobytes() for row in model.train_ids_} == expected


def test_fit_uses_the_splits_it_is_given(call, images: Path, tmp_path: Path) -> None:
    rows = [(p, p.parent.name) for p in sorted(images.rglob("*.jpg"))]
    table = images / "table.csv"
    splits = ["train"] * 7 + ["val"] * 2 + ["test"] * 3
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for i, (path, label) in enumerate(rows):
            writer.writerow([path.relative_to(images), label, splits[i % 12]])
    fitted = json.loads(call("fit", table, *BACKBONE, "--out", tmp_path / "m", "--json").out)
    assert (fitted["train"], fitted["test"]) == (18, 6)
    report = json.loads(call("evaluate", tmp_path / "m", table, "--json").out)
    assert (report["n"], report["left_out"]) == (6, 0)


def test_fit_leaves_out_unreadable_images_with_their_labels(
    call, damaged: Path, tmp_path: Path
) -> None:
    result = call("fit", damaged, *BACKBONE, "--out", tmp_path / "m", "--test-size", "0", "--json")
    assert result.code == 3
    fitted = json.loads(result.out)
    assert fitted["train"] == 24
    assert len(fitted["failures"]) == 3
    result = call("predict", tmp_path / "m", damaged)
    assert result.code == 3
    rows = {r["path"]: r for r in rows_of(result.out)}
    assert len(rows) == 27
    assert rows["light/03a.jpg"]["prediction"] == ""
    assert "empty" in rows["light/03a.jpg"]["error"]
    assert all(
        r["prediction"] == path.partition("/")[0] for path, r in rows.items() if not r["error"]
    )
    failed = call("fit", damaged, *BACKBONE, "--out", tmp_path / "n", "--on-error", "raise")
    assert failed.code == 1
    assert not (tmp_path / "n").exists()


def test_predict_when_no_image_can_be_read(call, images: Path, tmp_path: Path) -> None:
    call("fit", images, *BACKBONE, "--out", tmp_path / "m")
    (tmp_path / "bad.csv").write_text("path\nmissing.jpg\n")
    result = call("predict", tmp_path / "m", tmp_path / "bad.csv", "--proba")
    assert result.code == 3
    [row] = rows_of(result.out)
    assert (row["path"], row["prediction"]) == ("missing.jpg", "")
    assert row["error"]


def test_evaluate_tells_of_every_image(call, damaged: Path, tmp_path: Path) -> None:
    """The lines are those that the report is made of, and the images that can't be read."""
    call("fit", damaged, *BACKBONE, "--out", tmp_path / "m")
    other = tmp_path / "other"
    for name, level in (("dark", 90), ("light", 120), ("unknown", 10)):
        for split in ("val", "test"):
            (other / split / name).mkdir(parents=True)
            for i in range(4):
                file = other / split / name / f"{i}.jpg"
                file.write_bytes(jpeg(level, seed=1000 + level + i + 7 * (split == "val")))
    (other / "test" / "dark" / "bad.png").write_text("no picture")
    out = tmp_path / "lines.csv"
    result = call("evaluate", tmp_path / "m", other, "--out", out, "--json")
    assert result.code == 3
    report = json.loads(result.out)
    rows = rows_of(out.read_text())
    columns = ["path", "split", "label", "prediction", "confidence", "correct", "error"]
    assert list(rows[0]) == columns
    assert [r["path"] for r in rows] == list(list_images(other).split("test").names)
    [bad] = [r for r in rows if r["error"]]
    assert (bad["path"], bad["label"], bad["correct"]) == ("test/dark/bad.png", "dark", "")
    good = [r for r in rows if not r["error"]]
    assert len(good) == report["n"] == 12
    for r in good:
        assert r["split"] == "test"
        assert r["label"] == r["path"].split("/")[1]
        assert r["correct"] == str(r["prediction"] == r["label"])
    assert report["accuracy"] == np.mean([r["correct"] == "True" for r in good])
    table = tmp_path / "lines.parquet"
    call("evaluate", tmp_path / "m", damaged, "--out", table)
    columns = pq.read_table(table).to_pydict()
    assert len(columns["path"]) == 5 + 3  # the others were trained on
    assert sum(value is None for value in columns["correct"]) == 3
    wrong = call("evaluate", tmp_path / "m", damaged, "--format", "csv")
    assert wrong.code == 2
    assert "give --out FILE too" in wrong.err


def test_predict_keeps_the_columns_of_a_table(call, images: Path, tmp_path: Path) -> None:
    call("fit", images, *BACKBONE, "--out", tmp_path / "m")
    table = images / "table.csv"
    table.write_text(
        "id,file,note,prediction,error,id,path,proba:dark\n"
        '007,dark/00.jpg,"a, ""b""",old,none,x,elsewhere,1\n'
        "008,light/00.jpg,,,,y,,\n"
        "009,missing.jpg,=1,,,z,,\n"
    )
    args = ("predict", tmp_path / "m", table, "--path-column", "file")
    result = call(*args)
    [header, *rows] = list(csv.reader(io.StringIO(result.out)))
    assert ",".join(header) == (
        "id,file,note,table:prediction,table:error,table:id,table:path,table:proba:dark,"
        "path,prediction,confidence,error"
    )
    assert "column 'prediction' of" in result.err
    own = list(csv.reader(io.StringIO(table.read_text())))[1:]
    assert [row[:8] for row in rows] == own
    assert [row[8:10] for row in rows] == [
        ["dark/00.jpg", "dark"], ["light/00.jpg", "light"], ["missing.jpg", ""],
    ]  # fmt: skip
    lines = call(*args, "--json").out.splitlines()
    assert [json.loads(line)["note"] for line in lines] == ['a, "b"', "", "=1"]
    # What predict wrote is a table too; so is Parquet.
    out = tmp_path / "p.parquet"
    (images / "again.csv").write_text(call("predict", tmp_path / "m", images).out)
    call("predict", tmp_path / "m", images / "again.csv", "--out", out)
    columns = pq.read_table(out).to_pydict()
    assert columns["table:prediction"] == columns["prediction"]
    assert columns["path"] == list(list_images(images).names)


def test_names_that_are_not_utf_8(call, images: Path, tmp_path: Path) -> None:
    """Nothing is lost for a name, whatever it is made of; the terminal isn't obeyed."""
    call("fit", images, *BACKBONE, "--out", tmp_path / "m")
    data = (images / "dark" / "00.jpg").read_bytes()
    names = [b"caf\xe9.jpg", b"esc\x1b[2J.jpg", b"line\nend.jpg"]
    for name in names:
        (images / os.fsdecode(b"dark/" + name)).write_bytes(data)
    (images / os.fsdecode(b"dark/\xff\x07.jpg")).write_text("no picture")
    out = tmp_path / "p.csv"
    result = call("predict", tmp_path / "m", images, "--out", out)
    assert result.code == 3
    assert "  dark/\\xff\\x07.jpg: not an image" in result.err
    written = out.read_bytes()
    for name in names:
        assert b"dark/" + name in written
    shown = call("extract", images, *BACKBONE).err + result.err
    assert not set(shown) & set("\x1b\x07\udcff")
    assert json.loads(call("extract", images, *BACKBONE, "--json").out)["failures"][0][
        "name"
    ] == os.fsdecode(b"dark/\xff\x07.jpg")


def test_noise_is_called_no_better(call, images: Path, tmp_path: Path) -> None:
    table = images / "noise.csv"
    drawn = np.random.default_rng(1).permutation(["cat"] * 16 + ["dog"] * 8)
    paths = sorted(p.relative_to(images).as_posix() for p in images.rglob("*.jpg"))
    rows = [f"{p},{label}" for p, label in zip(paths, drawn, strict=True)]
    table.write_text("\n".join(["path,label", *rows]))
    fitted = call("fit", table, *BACKBONE, "--out", tmp_path / "m", "--test-size", "0.5")
    words = "no better than always saying 'cat' (66.7 %)"
    assert f"; {words}" in fitted.out
    assert "wider" not in fitted.err
    assert words in (tmp_path / "m" / "README.md").read_text()
    assert words in call("evaluate", tmp_path / "m", table).out
    report = json.loads(call("evaluate", tmp_path / "m", table, "--json").out)
    assert report["baseline"]["is_beaten"] is False
    assert report["baseline"]["comparisons"][0]["baseline"] == pytest.approx(2 / 3)


def test_a_model_is_not_overwritten_unasked(call, images: Path, tmp_path: Path) -> None:
    model = tmp_path / "m"
    call("fit", images, *BACKBONE, "--out", model)
    before = (model / "model.json").read_bytes()
    result = call("fit", images, *BACKBONE, "--out", model, "--head-arg", "C=5")
    assert result.code == 1
    assert "--force" in result.err
    assert (model / "model.json").read_bytes() == before
    assert call("fit", images, *BACKBONE, "--out", model, "--head-arg", "C=5", "--force").code == 0
    assert TransferClassifier.load(model).head_.C_ == 5
    assert call("fit", images, *BACKBONE, "--out", images, "--force").code == 1


def test_evaluate_on_training_images_only_is_refused(call, images: Path, tmp_path: Path) -> None:
    call("fit", images, *BACKBONE, "--out", tmp_path / "m", "--test-size", "0")
    result = call("evaluate", tmp_path / "m", images)
    assert result.code == 1
    assert "--all" in result.err


def test_evaluate_against_a_second_way(call, images: Path, tmp_path: Path) -> None:
    call("fit", images, *BACKBONE, "--out", tmp_path / "m")
    other = tmp_path / "other"
    for name, level in (("dark", 90), ("light", 120), ("unknown", 10)):
        (other / name).mkdir(parents=True)
        for i in range(5):
            (other / name / f"{i}.jpg").write_bytes(jpeg(level, seed=1000 + level + i))
    report = json.loads(call("evaluate", tmp_path / "m", other, "--json").out)
    rows = rows_of(call("predict", tmp_path / "m", other).out)
    hits = [r["prediction"] == r["path"].partition("/")[0] for r in rows]
    assert report["accuracy"] == pytest.approx(np.mean(hits))
    assert report["n_unknown"] == 5


def test_unlabelled_images_get_a_clear_sentence(call, images: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (images / "dark").iterdir():
        shutil.copy(path, flat)
    result = call("fit", flat, *BACKBONE, "--out", tmp_path / "m")
    assert result.code == 1
    assert "no labels" in result.err
    shutil.copy(flat / "00.jpg", images)
    result = call("fit", images, *BACKBONE, "--out", tmp_path / "m")
    assert result.code == 1
    assert "'00.jpg'" in result.err


def test_plan_stops_before_anything_is_stored(call, images: Path, tmp_path: Path) -> None:
    planned = json.loads(call("extract", images, *BACKBONE, "--plan", "--json").out)
    assert (planned["n_images"], planned["n_missing"]) == (24, 24)
    text = call("fit", images, *BACKBONE, "--out", tmp_path / "m", "--plan").out
    for words in ("images/s", "disk", "slowest", "forward"):
        assert words in text
    assert not (tmp_path / "m").exists()
    call("extract", images, *BACKBONE)
    assert "everything is in the store" in call("extract", images, *BACKBONE, "--plan").out


def test_labels_are_checked_before_anything_is_computed(call, images: Path, tmp_path: Path) -> None:
    (images / "dark" / "00.jpg").rename(images / "00.jpg")
    assert call("fit", images, *BACKBONE, "--out", tmp_path / "m").code == 1
    assert "no features" in call("store", "ls").out


def test_twins_are_not_measured_on(call, images: Path, tmp_path: Path) -> None:
    """A held-out image whose bytes were trained on would flatter the model."""
    for path in list(images.rglob("*.jpg")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    result = call("fit", images, *BACKBONE, "--out", tmp_path / "m", "--json")
    assert "same bytes as training images" in result.err
    fitted = json.loads(result.out)
    report = json.loads(call("evaluate", tmp_path / "m", images, "--json").out)
    assert report["n"] == fitted["test"]
    assert report["accuracy"] == fitted["report"]["accuracy"]


def test_one_image_with_two_labels_is_named(call, images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "dark" / "03.jpg", images / "light" / "wrong.jpg")
    result = call("fit", images, *BACKBONE, "--out", tmp_path / "m")
    assert "'dark/03.jpg' and 'light/wrong.jpg'" in result.err


def test_labels_are_compared_as_they_are_written(call, images: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("dark", "light")):
        (images / name).rename(images / str(number))
    extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=48)
    TransferClassifier(extractor).fit(images, [0] * 12 + [1] * 12).save(tmp_path / "m")
    report = json.loads(call("evaluate", tmp_path / "m", images, "--all", "--json").out)
    assert report["accuracy"] == 1
    (images / "0").rename(images / "a")
    (images / "1").rename(images / "b")
    result = call("evaluate", tmp_path / "m", images, "--all")
    assert result.code == 1
    assert "the images' are 'a', 'b', the model's '0', '1'" in result.err


def test_places_that_cannot_be_written_are_told_first(call, images: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for args in (
        ("fit", images, *BACKBONE, "--out", tmp_path / "file" / "m"),
        ("extract", images, *BACKBONE, "--store", tmp_path / "file" / "s"),
        ("predict", "m", images, "--out", images),
        ("fit", images, *BACKBONE, "--out", tmp_path / "m", "--features", "stage1.map"),
    ):
        result = call(*args)
        assert result.code == 1
        assert len(result.err.splitlines()) == 1
    assert not FeatureStore().path.exists()


def test_a_saved_model_can_be_read_by_others(call, images: Path, tmp_path: Path) -> None:
    call("fit", images, *BACKBONE, "--out", tmp_path / "m")
    modes = {p.stat().st_mode & 0o777 for p in (tmp_path / "m").rglob("*") if p.is_file()}
    (tmp_path / "plain").write_text("")
    assert modes == {(tmp_path / "plain").stat().st_mode & 0o777}
