"""store, backbones and heads, as a user calls them."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import BACKBONE, jpeg
from transferkit import FeatureExtractor, list_images
from transferkit.heads import head_names
from transferkit.store import FeatureStore


@pytest.fixture
def key(call, images: Path) -> str:
    out = call("extract", images, *BACKBONE, "--json").out
    return json.loads(out)["features"]["pre_logits"]["key"]


def test_ls_and_info(call, key: str) -> None:
    [listed] = json.loads(call("store", "ls", "--json").out)
    assert (listed["key"], listed["rows"]) == (key, 24)
    assert key in call("store", "ls").out
    text = call("store", "info", key[:5]).out
    for words in ("timm:test_resnet", "random:0", "pre_logits", "batch_size", "[48, 48]"):
        assert words in text


def test_ls_of_an_empty_store(call, tmp_path: Path) -> None:
    result = call("store", "ls", "--store", tmp_path / "none")
    assert result.code == 0
    assert "no features" in result.out
    assert not (tmp_path / "none").exists()


def test_damage_is_found_named_and_repaired(call, images: Path, key: str) -> None:
    assert call("store", "verify").code == 0
    store = FeatureStore()
    [shard] = store.path.rglob("*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-10] ^= 1
    shard.write_bytes(data)
    result = call("store", "verify")
    assert result.code == 1
    assert shard.name in result.out
    again = call("extract", images, *BACKBONE, "--json")
    assert json.loads(again.out)["computed"] == 1
    assert shard.name in again.err
    # Two shards now, the damaged row still on disk but never used; compacting drops it.
    assert json.loads(call("extract", images, *BACKBONE, "--json").out)["computed"] == 0
    call("store", "compact")
    assert call("store", "verify").code == 0


def test_gc_removes_only_what_is_named(call, images: Path, key: str) -> None:
    assert json.loads(call("store", "gc", "--json").out) == []
    assert "would remove" in call("store", "gc", "--key", key, "--dry-run").out
    assert len(json.loads(call("store", "ls", "--json").out)) == 1
    call("store", "gc", "--key", key)
    assert json.loads(call("store", "ls", "--json").out) == []


def test_backbones(call) -> None:
    [info] = json.loads(call("backbones", "resnet18", "--json").out)
    assert info["layers"]["stage4"] == {"channels": 512, "stride": 32, "has_class_token": False}
    assert info["n_parameters"] == 11_689_512
    assert info["gmacs"] == pytest.approx(1.81, abs=0.02)
    text = call("backbones", "resnet18").out
    for words in ("stage3 (256/16)", "final (512/32)", "pre_logits (512)", "a1_in1k", "224 × 224"):
        assert words in text
    many = call("backbones", "vit")
    assert len(many.out.splitlines()) > 100


def test_heads(call) -> None:
    listed = json.loads(call("heads", "--json").out)
    assert [head["name"] for head in listed] == head_names()
    text = call("heads").out
    assert all(head["name"] in text and head["summary"] in text for head in listed)


def test_merge(call, images: Path, key: str, tmp_path: Path) -> None:
    result = call("store", "merge", FeatureStore().path, "--store", tmp_path / "new", "--json")
    assert json.loads(result.out) == [
        {"key": key, "new": 24, "known": 0, "faults": 0, "shards_left": 0}
    ]
    again = call("extract", images, *BACKBONE, "--store", tmp_path / "new", "--json")
    assert json.loads(again.out)["computed"] == 0
    assert call("store", "merge", tmp_path / "nothing").code == 1


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_store_at_a_url(call, images: Path, key: str, tmp_path: Path, kind: str) -> None:
    url = "memory://cli/store" if kind == "memory" else (tmp_path / "at a url").as_uri()
    first = json.loads(call("extract", images, *BACKBONE, "--store", url, "--json").out)
    assert first["computed"] == 24
    assert first["store"] == (url if kind == "memory" else str(tmp_path / "at a url"))
    again = json.loads(call("extract", images, *BACKBONE, "--store", url, "--json").out)
    assert again["computed"] == 0
    [listed] = json.loads(call("store", "ls", "--store", url, "--json").out)
    assert (listed["key"], listed["rows"]) == (key, 24)
    for command in ("verify", "compact", "gc"):
        assert call("store", command, "--store", url).code == 0
    result = call("store", "merge", url, "--store", tmp_path / "new", "--json")
    assert json.loads(result.out)[0]["new"] == 24
    for place in (url, tmp_path / "new"):
        out = tmp_path / "rows.npy"
        assert call("store", "export", key, out, "--store", place, "--images", images).code == 0
        rows = FeatureExtractor("test_resnet", pretrained=False, image_size=48).transform(images)
        np.testing.assert_array_equal(np.load(out), rows)
    assert call("store", "gc", "--key", key, "--store", url).code == 0
    assert json.loads(call("store", "ls", "--store", url, "--json").out) == []


def test_a_url_that_is_no_place_for_a_store(call, images: Path) -> None:
    for command in (("extract", images, *BACKBONE), ("store", "ls")):
        result = call(*command, "--store", "ftp://me:secret@host/x")
        assert result.code == 1
        assert "can't be at ftp://; give a folder" in result.err
        assert "secret" not in result.err


def test_export(call, images: Path, key: str, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    assert call("store", "export", key[:6], out, "--images", images).code == 0
    expected = FeatureExtractor(
        "test_resnet", pretrained=False, image_size=48, store=False
    ).transform(images)
    np.testing.assert_array_equal(np.load(out), expected)
    with out.with_name("out.npy.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    listed = list_images(images)
    assert [row["path"] for row in table] == list(listed.names)
    assert [row["label"] for row in table] == list(listed.labels)
    digests = [hashlib.sha256(item.read_bytes()).hexdigest()[:32] for item in listed.items]
    assert [row["id"] for row in table] == digests
    (images / "dark" / "new.jpg").write_bytes(jpeg(99, seed=1))
    result = call("store", "export", key, out, "--images", images)
    assert result.code == 1
    assert "'dark/new.jpg'" in result.err
    assert call("store", "export", key, tmp_path / "out.txt").code == 1


def test_export_without_images_says_what_it_lacks(call, key: str, tmp_path: Path) -> None:
    result = call("store", "export", key, tmp_path / "all.npy")
    assert result.code == 0
    assert "ids only" in result.err
    assert "--images IMAGES" in result.err
    text = (tmp_path / "all.npy.csv").read_text().split()
    assert text[0] == "id"
    assert len(text) == 25


def test_export_takes_the_columns_of_a_table(call, images: Path, key: str, tmp_path: Path) -> None:
    files = sorted(images.rglob("*.jpg"))
    table = tmp_path / "t.csv"
    table.write_text("file,a,b\n" + "".join(f"{f},1,0\n" for f in files))
    out = tmp_path / "out.npy"
    options = ("--images", table, "--path-column", "file", "--labels", "a,b")
    assert call("store", "export", key, out, *options).code == 0
    with out.with_name("out.npy.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["a"], first["b"]) == ("1", "0")


def test_ls_says_in_what_keys_differ(call, images: Path, key: str) -> None:
    assert "differ in" not in call("store", "ls").out
    other = json.loads(
        call("extract", images, *BACKBONE[:-1], "64", "--exif", "--json").out
    )["features"]["pre_logits"]["key"]  # fmt: skip
    text = call("store", "ls").out
    assert "2 keys of test_resnet differ in" in text
    by_name = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert set(by_name) == {"image_size", "exif"}
    assert f"48 × 48 ({key[:6]})" in by_name["image_size"]
    assert f"64 × 64 ({other[:6]})" in by_name["image_size"]
    assert f"true ({other[:6]})" in by_name["exif"]
    listed = {
        one["key"]: one["differs_in"] for one in json.loads(call("store", "ls", "--json").out)
    }
    assert listed[key] == {"exif": "false", "image_size": "48 × 48"}


def test_many_small_shards_are_told(call, key: str, monkeypatch) -> None:
    hint = f"{key} has 1 small shards; transferkit store compact {key[:6]} merges them"
    assert "hint" not in call("store", "ls").err
    monkeypatch.setattr("transferkit.cli.store._MANY_SHARDS", 1)
    assert hint in call("store", "ls").err
    assert hint in call("store", "info", key).err
    monkeypatch.setattr("transferkit.cli.store._SMALL_BYTES", 1)
    assert "hint" not in call("store", "ls").err


def test_a_store_that_somebody_begins_to_write_is_one(call, tmp_path: Path) -> None:
    (tmp_path / "s" / ("0" * 16)).mkdir(parents=True)
    for command in (("ls",), ("verify",), ("gc",), ("merge", tmp_path / "s")):
        assert call("store", *command, "--store", tmp_path / "s").code == 0


def test_no_store_is_no_folder(call, images: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (("extract", images, *BACKBONE), ("store", "ls")):
        result = call(*command, "--store", "none")
        assert result.code in (1, 2)
        assert "'none'" in result.err
    assert not (tmp_path / "none").exists()


def test_a_bad_shard_of_another_store_costs_only_itself(
    call, images: Path, key: str, tmp_path: Path
) -> None:
    store = FeatureStore()
    bad = store.path / key / "shards" / f"{'0' * 32}.safetensors"
    bad.write_bytes(b"x")
    result = call("store", "merge", store.path, "--store", tmp_path / "new")
    bad.unlink()
    assert result.code == 1
    assert bad.name in result.err
    assert "24 new rows" in result.out


def test_split_lists_give_a_flat_folder_its_splits(call, images: Path, tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    for split, numbers in (("train", range(8)), ("test", range(8, 12))):
        names = [f"{label}/{i:02}" for label in ("dark", "light") for i in numbers]
        (lists / f"{split}.txt").write_bytes("\r\n".join(names).encode())
    result = call(
        "fit", images, *BACKBONE, "--split-lists", lists, "--json", "--out", tmp_path / "m"
    )
    assert result.code == 0
    told = json.loads(result.out)
    assert (told["train"], told["test"]) == (16, 8)
    assert call("fit", images, *BACKBONE, "--split-lists", tmp_path / "none").code == 2
