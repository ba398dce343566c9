"""Parquet files with images in them, beside those with paths."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.images.sources.packing import pack_parquet
from tests.images.sources.tables import encoded
from tests.pictures import picture
from transferkit.images import ImageError, content_of, list_images, row_groups

BYTES = [encoded(picture(i, (8, 9))) for i in range(7)]


def contents(images):
    return [content_of(item) for item in images.items]


def structs(paths=None):
    paths = paths or [None] * len(BYTES)
    return [{"bytes": b, "path": p} for b, p in zip(BYTES, paths, strict=True)]


def test_as_hugging_face_writes_it(tmp_path):
    table = pa.table(
        {"image": structs([f"{i}.png" for i in range(7)]), "label": [0, 1, 2, -1] * 1 + [0, 1, 2]}
    )
    info = {
        "info": {"features": {"label": {"names": ["owl", "jay", "emu"], "_type": "ClassLabel"}}}
    }
    path = tmp_path / "train-00000-of-00001.parquet"
    parquet.write_table(
        table.replace_schema_metadata({"huggingface": json.dumps(info)}), path, row_group_size=3
    )
    images = list_images(path)
    assert images.names == tuple(f"{i}.png" for i in range(7))
    assert images.labels == ("owl", "jay", "emu", None, "owl", "jay", "emu")
    assert images.splits == ("train",) * 7
    assert contents(images) == BYTES


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_bytes_and_all_columns(tmp_path, kind):
    columns = {
        "photo": pa.array(BYTES, kind),
        "label": [*"abcabc", None],
        "other": [1.5] * 7,
        "split": ["train", "valid", "test", None, "train", "train", "train"],
        "home": [1, 1, 2, 2, 3, 3, None],
    }
    path = pack_parquet(tmp_path / "p.parquet", columns)
    images = list_images(path, group_column="home")
    assert images.names == tuple(f"p/{i}" for i in range(7))
    assert images.labels == (*"abcabc", None)
    assert images.splits == ("train", "val", "test", None, "train", "train", "train")
    assert images.groups == ("1", "1", "2", "2", "3", "3", None)
    assert contents(images) == BYTES
    images = list_images(path, label_column=["label", "other"])
    assert images.labels[-1] == (None, "1.5")
    assert images.label_names == ("label", "other")
    with pytest.raises(ValueError, match="has no column 'lable'; did you mean 'label'"):
        list_images(path, label_column="lable")


def test_a_table_of_paths_is_one_whatever_stands_beside(tmp_path):
    path = pack_parquet(tmp_path / "p.parquet", {"path": ["a.jpg"], "image": [BYTES[0]]})
    assert list_images(path).items == (tmp_path / "a.jpg",)
    images = list_images(path, path_column="image")
    assert contents(images) == BYTES[:1]
    path = pack_parquet(tmp_path / "p.parquet", {"a": [BYTES[0]], "b": [BYTES[1]]})
    with pytest.raises(ValueError, match="several columns of bytes, a, b; say which"):
        list_images(path)
    assert contents(list_images(path, path_column="b")) == BYTES[1:2]
    path = pack_parquet(tmp_path / "p.parquet", {"a": [1]})
    with pytest.raises(ValueError, match="has no column 'path'"):
        list_images(path)


def test_folders_and_braces(tmp_path):
    for i, split in enumerate(("train", "train", "test")):
        columns = {"image": structs()[i : i + 2], "label": [i, i]}
        pack_parquet(tmp_path / f"data/{split}-{i}.parquet", columns)
    images = list_images(tmp_path)
    assert images.names[:3] == ("data/test-2/0", "data/test-2/1", "data/train-0/0")
    assert images.splits == ("test", "test", "train", "train", "train", "train")
    assert images.labels == tuple("220011")
    assert contents(images) == [BYTES[i] for i in (2, 3, 0, 1, 1, 2)]
    assert len(list_images(f"{tmp_path}/data/train-{{0..1}}.parquet")) == 4
    pack_parquet(tmp_path / "data/train-9.parquet", {"path": ["a.jpg"]})
    with pytest.raises(ValueError, match=r"train-9\.parquet' has no column of images' bytes, but"):
        list_images(tmp_path)


def test_names_that_lead_elsewhere(tmp_path):
    paths = ["../../a.png", "/etc/b.png", "c.png", None, "", "a/./f.png", "g\0.png"]
    images = list_images(pack_parquet(tmp_path / "p.parquet", {"image": structs(paths)}))
    assert images.names == ("p/0", "etc/b.png", "c.png", "p/3", "p/4", "a/f.png", "p/6")


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_rows_come_in_any_order_out_of_parts(tmp_path, monkeypatch, rows):
    """Blocks of two rows, of which three are kept, asked for at random by several threads."""
    monkeypatch.setattr(row_groups, "_BLOCK_ROWS", (2, 2))
    values = [b"%d" % i * (1 + i % 5) for i in range(41)]
    path = pack_parquet(tmp_path / "p.parquet", {"image": values}, rows=rows)
    images = list_images(path)
    assert contents(images) == values
    chosen = np.random.default_rng(0).integers(0, len(values), 300).tolist()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda i: content_of(images.items[i]), chosen))
    assert found == [values[i] for i in chosen]
    assert len(images.items[0].groups._blocks) <= 3


def test_in_order_every_part_is_read_once(tmp_path, monkeypatch):
    monkeypatch.setattr(row_groups, "_BLOCK_ROWS", (2, 2))
    monkeypatch.setattr(row_groups, "_BUFFER_BYTES", 1 << 12)
    big = [np.random.default_rng(i).bytes(3000) for i in range(64)]
    path = pack_parquet(
        tmp_path / "p.parquet",
        {"image": big},
        rows=64,
        use_dictionary=False,
        compression=None,
        data_page_size=4096,
        write_batch_size=1,
    )
    images = list_images(path)
    content_of(images.items[0])
    asked, plain = [], type(images.items[0].blob).read
    monkeypatch.setattr(
        type(images.items[0].blob), "read", lambda s, at, n: asked.append(n) or plain(s, at, n)
    )
    assert contents(images)[1:] == big[1:]
    assert sum(asked) < 1.5 * path.stat().st_size
    assert max(asked) < 3 * (1 << 12)  # never the row group


def test_rows_without_bytes_are_named_and_the_others_read(tmp_path):
    rows = structs()
    rows[2]["bytes"] = None
    rows[4] = None
    images = list_images(pack_parquet(tmp_path / "p.parquet", {"image": rows}))
    for i in (2, 4):
        with pytest.raises(ImageError, match="the row has no bytes"):
            content_of(images.items[i])
    kept = [0, 1, 3, 5, 6]
    assert contents(images.select(kept)) == [BYTES[i] for i in kept]


def test_damage_is_named_and_never_another_image(tmp_path):
    path = pack_parquet(
        tmp_path / "p.parquet",
        {"image": [np.random.default_rng(i).bytes(2000) for i in range(8)]},
        use_dictionary=False,
    )
    values = contents(list_images(path))
    data = bytearray(path.read_bytes())
    # The header of the second row group's only page.
    begin = parquet.read_metadata(path).row_group(1).column(0).data_page_offset
    data[begin : begin + 20] = bytes(20)
    path.write_bytes(data)
    images = list_images(path)
    for i in (2, 3):
        with pytest.raises(ImageError, match="is damaged"):
            content_of(images.items[i])
    kept = [0, 1, 4, 5, 6, 7]
    assert contents(images.select(kept)) == [values[i] for i in kept]
    path.write_bytes(data[:-100])
    with pytest.raises(ValueError, match="isn't a Parquet file, or is damaged"):
        list_images(path)


def test_lists_of_many_images_are_small(tmp_path):
    path = pack_parquet(tmp_path / "p.parquet", {"image": [b"x"] * 2000}, rows=100)
    images = list_images(path)
    content_of(images.items[0])  # what was read stays here
    assert len(pickle.dumps(images.items)) < 30 * len(images)
