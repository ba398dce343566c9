"""Commands on tar files, Parquet files and URLs: what they say is the same as of a folder."""

import csv
import io
import json

import fsspec
import pytest

from tests.cli.conftest import BACKBONE
from tests.images.sources.packing import pack_parquet, pack_tar
from transferkit.images.sources import _places

KINDS = ("tar", "braces", "folder of tars", "parquet", "bucket", "remote tar", "remote parquet")


@pytest.fixture
def places(images, tmp_path):
    """The folder's images in each kind of place."""
    files = sorted(images.rglob("*.jpg"))
    rows = [{"bytes": f.read_bytes(), "path": f"{f.parent.name}/{f.name}"} for f in files]
    labels = [f.parent.name for f in files]
    for part in range(2):
        members = []
        for i in range(part, len(files), 2):
            members += [(f"{i:03}.jpg", rows[i]["bytes"]), (f"{i:03}.cls", labels[i].encode())]
        pack_tar(tmp_path / f"tars/s-{part}.tar", members)
    pack_tar(tmp_path / "all.tar", [(row["path"], row["bytes"]) for row in rows])
    pack_parquet(tmp_path / "all.parquet", {"image": rows, "label": labels}, rows=10)
    _places._files.cache_clear()
    system = fsspec.filesystem("memory")
    system.put(str(images), "/bucket/images", recursive=True)
    for name in ("all.tar", "all.parquet"):
        system.pipe_file(f"/bucket/{name}", (tmp_path / name).read_bytes())
    yield {
        "folder": images,
        "tar": tmp_path / "all.tar",
        "braces": f"{tmp_path}/tars/s-{{0..1}}.tar",
        "folder of tars": tmp_path / "tars",
        "parquet": tmp_path / "all.parquet",
        "bucket": "memory://bucket/images",
        "remote tar": "memory://bucket/all.tar",
        "remote parquet": "memory://bucket/all.parquet",
    }
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    _places._files.cache_clear()


def test_extract_computes_each_image_once_wherever_it_is(call, places):
    first = json.loads(call("extract", places["folder"], *BACKBONE, "--json").out)
    assert first["computed"] == 24
    for kind in KINDS:
        result = call("extract", places[kind], *BACKBONE, "--json")
        told = json.loads(result.out)
        assert (result.code, told["images"], told["computed"]) == (0, 24, 0)
        assert told["failures"] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_trained_and_predicts(call, places, tmp_path, kind):
    fitted = call("fit", places[kind], *BACKBONE, "--out", tmp_path / "model", "--json")
    assert fitted.code == 0, fitted.err
    expected = {}
    for place in ("folder", kind):
        result = call("predict", tmp_path / "model", places[place])
        assert result.code == 0, result.err
        lines = list(csv.DictReader(io.StringIO(result.out)))
        assert len(lines) == 24
        expected[place] = sorted((line["prediction"], line["confidence"]) for line in lines)
    assert expected[kind] == expected["folder"]
    measured = call("evaluate", tmp_path / "model", places[kind], "--json")
    assert measured.code == 0, measured.err


def test_columns_of_a_parquet_file_of_images_stand_in_the_predictions(call, places, tmp_path):
    call("fit", places["parquet"], *BACKBONE, "--out", tmp_path / "model")
    result = call("predict", tmp_path / "model", places["parquet"])
    lines = list(csv.DictReader(io.StringIO(result.out)))
    assert [line["path"].split("/")[0] for line in lines] == [line["label"] for line in lines]
    assert "image" not in lines[0]


def test_unreadable_images_are_named(call, tmp_path, images):
    good = (images / "dark" / "00.jpg").read_bytes()
    pack_tar(tmp_path / "s.tar", [("good.jpg", good), ("bad.jpg", good[:500]), ("none.jpg", b"")])
    result = call("extract", tmp_path / "s.tar", *BACKBONE)
    assert result.code == 3
    assert "2 of 3 images could not be read" in result.err
    assert "  bad: " in result.err
    assert "  none: " in result.err


def test_damage_and_wrong_places_are_one_sentence(call, tmp_path):
    (tmp_path / "s.tar").write_bytes(b"x" * 1000)
    for given, said in (
        (tmp_path / "s.tar", "is no plain tar file"),
        ("https://host/x", "images can't be at https://"),
        ("memory://bucket/none", "nothing is in 'memory://bucket/none'"),
    ):
        result = call("extract", given, *BACKBONE)
        assert result.code == 1
        assert said in result.err
        assert result.err.count("\n") == 1
