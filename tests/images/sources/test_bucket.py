"""Folders by URL: listed as those of this machine."""

import io
import logging
import pickle
from concurrent.futures import ThreadPoolExecutor

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.images.sources.packing import pack_parquet, pack_tar
from tests.images.sources.tables import encoded
from tests.pictures import picture
from transferkit import remote
from transferkit.images import content_of, list_images
from transferkit.images.sources import _places

A, B, C = (encoded(picture(i)) for i in range(3))


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    """A file system in memory that is empty, and no patience."""
    monkeypatch.setattr(remote, "WAITS", (0, 0, 0, 0))
    _places._files.cache_clear()
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    _places._files.cache_clear()


FOLDERS = [
    "cat/1.jpg dog/2.JPG dog/deep/3.png",
    "train/cat/1.jpg train/dog/2.jpg val/cat/3.jpg",
    "cat/train/1.jpg cat/test/2.jpg dog/train/3.jpg dog/test/4.jpg",
    "1.jpg 2.jpg .hidden/3.jpg cat/.4.jpg cat/Thumbs.db cat/5.jpg",
    "cat/1.jpg cat/notes.txt dog/2.heic old/3.jpg",
    "b.jpg B.jpg é.jpg z/0.jpg",
]


@pytest.mark.parametrize("names", FOLDERS)
@pytest.mark.parametrize("exclude", [(), ("old",), ("*1*",)])
@pytest.mark.parametrize("annotated", [False, True])
def test_a_bucket_is_listed_as_a_folder_is(tmp_path, memory, caplog, names, exclude, annotated):
    for i, name in enumerate(names.split()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"%d" % i)
        memory.pipe_file(f"/bucket/photos/{name}", b"%d" % i)
    memory.pipe_file("/bucket/photos2/cat/9.jpg", b"another folder")
    told = []
    for given in (tmp_path, "memory://bucket/photos/", f"file://{tmp_path}"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            images = list_images(given, exclude=exclude, annotated=annotated)
        text = caplog.text.replace(str(tmp_path), "ROOT").replace("memory://bucket/photos", "ROOT")
        told.append((images.names, images.labels, images.splits, text))
        assert [content_of(item) for item in images.items] == [
            (tmp_path / name).read_bytes() for name in images.names
        ]
    assert told[0] == told[1] == told[2]


def test_single_files_and_lists_of_urls(memory):
    memory.pipe_file("/bucket/a.jpg", A)
    images = list_images("memory://bucket/a.jpg")
    assert (images.names, content_of(images.items[0])) == (("a.jpg",), A)
    images = list_images(["memory://bucket/a.jpg", B])
    assert images.names == ("memory://bucket/a.jpg", "image 1")
    assert [content_of(item) for item in images.items] == [A, B]
    with pytest.raises(FileNotFoundError):
        content_of(list_images(["memory://bucket/none.jpg"]).items[0])


def test_tables_of_urls_and_tables_by_url(tmp_path, memory):
    memory.pipe_file("/bucket/in/a.jpg", A)
    memory.pipe_file("/bucket/b.jpg", B)
    (tmp_path / "own.jpg").write_bytes(C)
    text = "path,label\nin/a.jpg,cat\nmemory://bucket/b.jpg,dög\n"
    memory.pipe_file("/bucket/table.csv", text.encode())
    images = list_images("memory://bucket/table.csv")
    assert images.labels == ("cat", "dög")
    assert [content_of(item) for item in images.items] == [A, B]
    (tmp_path / "table.csv").write_text("path\nown.jpg\nmemory://bucket/b.jpg\n")
    assert [content_of(i) for i in list_images(tmp_path / "table.csv").items] == [C, B]
    (tmp_path / "table.csv").write_text("path\na\n")
    images = list_images(tmp_path / "table.csv", root="memory://bucket/in", suffix="jpg")
    assert content_of(images.items[0]) == A
    file = io.BytesIO()
    parquet.write_table(pa.table({"path": ["in/a.jpg"], "label": ["x"]}), file)
    memory.pipe_file("/bucket/table.parquet", file.getvalue())
    images = list_images("memory://bucket/table.parquet")
    assert (images.labels, content_of(images.items[0])) == (("x",), A)


def test_tars_and_parquet_by_url(tmp_path, memory):
    for i, content in enumerate((A, B)):
        tar = pack_tar(tmp_path / "s.tar", [(f"{i}.jpg", content), (f"{i}.cls", b"%d" % i)])
        memory.pipe_file(f"/bucket/tars/s-{i}.tar", tar.read_bytes())
        table = pack_parquet(tmp_path / "p.parquet", {"image": [content], "label": [i]})
        memory.pipe_file(f"/bucket/tables/p-{i}.parquet", table.read_bytes())
    for given in (
        "memory://bucket/tars",
        "memory://bucket/tars/s-{0..1}.tar",
        "memory://bucket/tables",
        "memory://bucket/tables/p-{0..1}.parquet",
    ):
        images = list_images(given)
        assert images.labels == ("0", "1")
        assert [content_of(item) for item in images.items] == [A, B]
    assert list_images("memory://bucket/tars/s-1.tar").names == ("1",)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("memory://bucket/none", FileNotFoundError, "nothing is in 'memory://bucket/none'"),
        ("memory://bucket/texts", ValueError, "no images in 'memory://bucket/texts' or below"),
        ("https://host/photos", ValueError, "images can't be at https://; give a path, or a URL"),
        ("ftp://host/a.jpg", ValueError, "images can't be at ftp://"),
        ("s3://KEY:SECRET@bucket/x", ValueError, "the URL of the images, s3://…, holds more than"),
        ("s3:///x", ValueError, "names no bucket"),
        ("file://host/x", ValueError, "names no folder of this machine"),
    ],
)
def test_what_is_no_place_of_images(memory, given, error, said):
    memory.pipe_file("/bucket/texts/a.txt", b"x")
    with pytest.raises(error, match=said) as caught:
        list_images(given)
    assert "SECRET" not in str(caught.value)


def test_without_its_library(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"images at gs:// need gcsfs, .* run pip install gcsfs"):
        list_images("gs://bucket/x")


def test_a_place_that_is_down(memory, monkeypatch):
    memory.pipe_file("/bucket/photos/a.jpg", A)
    images = list_images("memory://bucket/photos")

    def down(*args, **options):
        asked.append(args)
        raise OSError(5, "Internal Error")

    asked = []
    monkeypatch.setattr(type(memory), "find", down)
    monkeypatch.setattr(type(memory), "cat_file", down)
    monkeypatch.setattr(type(memory), "info", down)
    with pytest.raises(remote.RemoteError, match=r"could not list memory://.*can be reached, and"):
        list_images("memory://bucket/photos")
    for _ in range(30):
        with pytest.raises(OSError, match=r"could not read memory://.*Internal Error"):
            content_of(images.items[0])
    asked.clear()
    with pytest.raises(OSError, match="could not read"):
        content_of(images.items[0])
    assert len(asked) == 2  # by now it is tried once, and looked at why
    monkeypatch.undo()
    assert content_of(images.items[0]) == A


def test_small_members_are_not_a_request_each(tmp_path, memory, monkeypatch):
    rng = np.random.default_rng(0)
    members = [(f"{i}.jpg", rng.bytes(int(n))) for i, n in enumerate(rng.integers(0, 90_000, 60))]
    members.append(("large.jpg", rng.bytes(5 << 20)))
    memory.pipe_file("/bucket/s.tar", pack_tar(tmp_path / "s.tar", members).read_bytes())
    images = list_images("memory://bucket/s.tar")
    asked, plain = [], remote.RemoteFiles.read

    def read(self, url, at, n):
        asked.append(n)
        return plain(self, url, at, n)

    monkeypatch.setattr(remote.RemoteFiles, "read", read)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(content_of, images.items))
    assert found == [content for _, content in members]
    assert len(asked) == 4  # 2.6 MB of small ones, and the large one
    # Of another object of that name nothing is known.
    other = [(name, content[::-1]) for name, content in members]
    memory.pipe_file("/bucket/s.tar", pack_tar(tmp_path / "s.tar", other).read_bytes())
    images = list_images("memory://bucket/s.tar")
    assert [content_of(item) for item in images.items] == [content for _, content in other]


def test_lists_of_many_images_are_small(memory):
    for i in range(300):
        memory.pipe_file(f"/bucket/photos/{i:05}.jpg", b"x")
    images = list_images("memory://bucket/photos")
    content_of(images.items[0])  # connections stay here
    sent = pickle.dumps(images.items)
    assert len(sent) < 200 * len(images)
    assert content_of(pickle.loads(sent)[7]) == b"x"
