"""Tables as people have them: paths from elsewhere, columns by other names, damaged files."""

import csv
import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from transferkit import FeatureExtractor
from transferkit.images import UnreadableImages, list_images


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "b"):
        pixels = np.full((40, 40, 3), ord(name), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg")
    return folder


def table(folder, names, column="path"):
    with (folder / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[column], *([name] for name in names)])
    return folder / "t.csv"


# ---- paths --------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", "jpg"])
def test_root_and_suffix(files, tmp_path, suffix):
    (tmp_path / "other").mkdir()
    t = table(tmp_path / "other", ["a", "b.jpg"])
    images = list_images(t, root=files, suffix=suffix)
    assert images.names == ("a", "b.jpg")
    assert images.items == (files / "a.jpg", files / "b.jpg")
    assert list_images(["a", "b"], root=files, suffix=suffix).items == images.items
    assert list_images(table(files, ["a"]), suffix=suffix).items == (files / "a.jpg",)
    (bag,) = list_images([["a", "b"]], root=files, suffix=suffix).items
    assert bag.items == images.items
    with pytest.raises(FileNotFoundError, match="root 'nowhere' is no folder; give where"):
        list_images(t, root="nowhere")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["a", "b"], r"they lack their suffix: give it with --suffix \.jpg \(suffix='\.jpg'\)"),
        (["files/a.jpg"], "they are relative to the working directory, and '.*files' is where"),
        (["x/a.jpg", "x/b.jpg"], "files of these names stand in '.*files' itself: write the names"),
        (["sub\\\\c.jpg"], "they are written with backslashes: write them with /"),
        (["https://x.org/a.jpg"], "they are URLs, and files are wanted: download them first"),
        ([" a.jpg"], "they have blanks around them: take these away"),
        (["~/a.jpg"], "'~' isn't expanded in them: write the whole paths"),
        (["/home/somebody/q.jpg"], "they are absolute paths, perhaps of another machine"),
        (["q/q.jpg"], r"they are looked for in '.*files': --root DIR \(root=\) names the folder"),
    ],
)
def test_why_every_path_is_missing(files, tmp_path, monkeypatch, names, why):
    (files / "sub").mkdir()
    (files / "a.jpg").rename(files / "sub" / "c.jpg")
    Image.new("RGB", (40, 40)).save(files / "a.jpg")
    monkeypatch.chdir(tmp_path)
    extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=32, store=False)
    with pytest.raises(UnreadableImages, match=f"Not one of the files is there; {why}") as raised:
        extractor.transform(table(files, [name.replace("\\\\", "\\") for name in names]))
    assert "No such file" in str(raised.value)
    there = table(files, [*names, "a.jpg"])  # then it is no fault of them all
    with pytest.raises(UnreadableImages) as raised:
        extractor.transform(there)
    assert "Not one" not in str(raised.value)
    assert f"No such file or directory: {files}" in str(raised.value) or names[0].startswith("/")


# ---- columns ------------------------------------------------------------------------


def test_columns_in_either_unicode_form(files):
    nfc, nfd = (unicodedata.normalize(form, "Größe") for form in ("NFC", "NFD"))
    (files / "t.csv").write_text(
        f"path,{nfd} ,Split\na.jpg, {nfd},Training\nb.jpg,x,dev\n", "utf-8"
    )
    images = list_images(files / "t.csv", label_column=nfc, split_column="Split")
    assert images.labels == (nfc, "x")
    assert images.splits == ("train", "val")
    several = list_images(files / "t.csv", label_column=[nfd, "Split"], split_column="Split")
    assert several.label_names == (nfc, "Split")


@pytest.mark.parametrize("kind", ["path", "label", "split", "group"])
def test_a_missing_column_names_its_option(files, kind):
    t = table(files, ["a.jpg"], column="file")
    options = {"path_column": "file", f"{kind}_column": "nothing"}
    message = rf"no column 'nothing'\. .*Name it with --{kind}-column NAME \({kind}_column=\)"
    with pytest.raises(ValueError, match=message):
        list_images(t, **options)


def test_an_unknown_split_is_refused(files):
    (files / "t.csv").write_text("path,split\na.jpg,fold1\n")
    with pytest.raises(ValueError, match="line 2: unknown split 'fold1'; choose one of train, val"):
        list_images(files / "t.csv")


# ---- Parquet ------------------------------------------------------------------------


def test_missing_labels_of_parquet(files):
    path = files / "t.parquet"
    for labels in ([float("nan"), 1.0], [None, "x"]):
        pq.write_table(pa.table({"path": ["a.jpg", "b.jpg"], "label": labels}), path)
        assert list_images(path).labels == (None, str(labels[1]))


def refusal(path):
    try:
        list_images(path)
    except ValueError as error:
        return str(error)
    return ""


def test_damaged_parquet_is_named(files):
    path = files / "t.parquet"
    names = [f"{i}.jpg" for i in range(3000)]
    pq.write_table(pa.table({"path": names, "label": names}), path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    n_refused = 0
    for i in range(120):
        data = bytearray(whole)
        for at in rng.integers(len(data), size=1 + i % 4):
            data[at] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(data[: rng.integers(len(data))] if i % 5 == 0 else data))
        if said := refusal(path):
            n_refused += 1
            assert str(path) in said
            assert len(said.splitlines()) == 1
    assert n_refused > 40
