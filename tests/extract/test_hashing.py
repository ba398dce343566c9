"""Row ids of images in tars, Parquet and object storage: those of their bytes, and remembered."""

import dataclasses
import os

import fsspec
import pytest

from tests.images.sources.packing import pack_parquet, pack_tar
from tests.images.sources.tables import encoded
from tests.pictures import picture
from transferkit.extract.decoding import decode
from transferkit.extract.identities import Identities
from transferkit.images import blobs, list_images
from transferkit.images.blobs import BlobPart, FileBlob, ObjectBlob, WholeBlob
from transferkit.images.row_groups import RowGroups
from transferkit.images.sources import _places
from transferkit.spec import Preprocess

# All of one size, as what takes another's place unseen has to be.
BYTES = [encoded(picture(i)).ljust(20_000, b"\0") for i in range(6)]
PREPROCESS = Preprocess((32, 32), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(autouse=True)
def _settled(monkeypatch):
    """What was written just now counts as written long ago."""
    monkeypatch.setattr("transferkit.files.RACY_NS", -(10**12))


@pytest.fixture
def memory():
    _places._files.cache_clear()
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture
def everywhere(tmp_path, memory):
    """The same images in each kind of place."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for i, content in enumerate(BYTES):
        (folder / f"{i}.png").write_bytes(content)
        memory.pipe_file(f"/bucket/photos/{i}.png", content)
    tar = pack_tar(tmp_path / "s.tar", [(f"{i}.png", c) for i, c in enumerate(BYTES)])
    table = pack_parquet(tmp_path / "p.parquet", {"image": BYTES}, rows=4)
    memory.pipe_file("/bucket/s.tar", tar.read_bytes())
    memory.pipe_file("/bucket/p.parquet", table.read_bytes())
    return {
        "folder": folder,
        "tar": tar,
        "parquet": table,
        "bucket": "memory://bucket/photos",
        "remote tar": "memory://bucket/s.tar",
        "remote parquet": "memory://bucket/p.parquet",
    }


def test_the_same_image_has_the_same_id_everywhere(everywhere):
    ids = {kind: Identities(list_images(given), exif=False) for kind, given in everywhere.items()}
    expected = ids["folder"].ids
    assert len(set(expected)) == len(BYTES)
    for found in ids.values():
        assert found.ids == expected
        assert found.failures == {}
        assert found.n_read == len(BYTES)


def test_a_second_run_reads_no_image(everywhere, monkeypatch):
    for given in everywhere.values():
        Identities(list_images(given), exif=False)
    for kind in (WholeBlob, BlobPart):
        monkeypatch.setattr(kind, "read", None)
    monkeypatch.setattr(RowGroups, "value", None)
    for given in everywhere.values():
        again = Identities(list_images(given), exif=False)
        assert again.n_read == 0
        assert None not in again.ids


def test_what_has_changed_is_read_again(tmp_path, memory):
    tar = pack_tar(tmp_path / "s.tar", [("a.png", BYTES[0])])
    memory.pipe_file("/bucket/photos/a.png", BYTES[0])
    for given in (tar, "memory://bucket/photos"):
        Identities(list_images(given), exif=False)
    pack_tar(tmp_path / "s.tar", [("a.png", BYTES[1])])
    memory.pipe_file("/bucket/photos/a.png", BYTES[1])
    expected = Identities(list_images([BYTES[1]]), exif=False).ids
    for given in (tar, "memory://bucket/photos"):
        found = Identities(list_images(given), exif=False)
        assert (found.ids, found.n_read) == (expected, 1)


def test_an_object_that_changes_between_listing_and_reading_is_not_remembered(memory):
    """It may come back with its old stamp: an ETag is that of the bytes."""
    memory.pipe_file("/bucket/photos/a.png", BYTES[0])
    listed = list_images("memory://bucket/photos")
    before = dict(memory.store)
    memory.pipe_file("/bucket/photos/a.png", BYTES[1])
    found = Identities(listed, exif=False)
    assert found.ids == Identities(list_images([BYTES[1]]), exif=False).ids
    memory.store.update(before)  # as it was, with its date
    found = Identities(list_images("memory://bucket/photos"), exif=False)
    assert found.ids == Identities(list_images([BYTES[0]]), exif=False).ids


@pytest.mark.parametrize("kind", ["tar", "parquet", "remote tar", "remote parquet"])
def test_a_file_of_images_that_changes_before_it_is_digested(everywhere, memory, kind):
    given = everywhere[kind]
    listed = list_images(given)
    other = list(reversed(BYTES))
    tar = pack_tar(everywhere["tar"], [(f"{i}.png", c) for i, c in enumerate(other)])
    table = pack_parquet(everywhere["parquet"], {"image": other}, rows=4)
    memory.pipe_file("/bucket/s.tar", tar.read_bytes())
    memory.pipe_file("/bucket/p.parquet", table.read_bytes())
    found = Identities(listed, exif=False)
    assert found.ids == [None] * len(BYTES)
    said = ("changed since it was listed", "is damaged", "ends before")
    assert all(any(s in f.reason for s in said) for f in found.failures.values())
    fresh = Identities(list_images(given), exif=False).ids
    assert fresh == Identities(list_images(other), exif=False).ids


def test_a_file_of_images_that_changes_before_it_is_decoded(tmp_path, memory, monkeypatch):
    """Bytes that were replaced behind the stamp's back don't get the image's row, nor its label."""
    path = tmp_path / "s.tar"
    memory.pipe_file("/bucket/s.tar", pack_tar(path, [("a.png", BYTES[0])]).read_bytes())
    images = list_images("memory://bucket/s.tar")
    identities = Identities(images, exif=False)
    memory.pipe_file("/bucket/s.tar", pack_tar(path, [("a.png", BYTES[1])]).read_bytes())
    monkeypatch.setattr(blobs, "_BLOCKS", blobs._Blocks())  # what was read is forgotten by now
    decoded = decode(images, 0, PREPROCESS)
    assert decoded.pixels is not None
    assert identities.record(decoded, {}) is None
    assert identities.failures[0].reason == "its file has changed since it was listed"


def test_an_object_that_changes_before_it_is_decoded_is_another_image(memory):
    memory.pipe_file("/bucket/photos/a.png", BYTES[0])
    images = list_images("memory://bucket/photos")
    identities = Identities(images, exif=False)
    memory.pipe_file("/bucket/photos/a.png", BYTES[1])
    row = identities.record(decode(images, 0, PREPROCESS), {})
    expected = Identities(list_images([BYTES[1]]), exif=False).ids
    assert [row] == identities.ids == expected


def test_what_cannot_be_read_is_named(tmp_path, memory):
    tar = pack_tar(tmp_path / "s.tar", [("a.png", BYTES[0]), ("b.png", BYTES[1])])
    at = list_images(tar).items[1].at
    tar.write_bytes(tar.read_bytes()[: at + 100])
    found = Identities(list_images(tar), exif=False)
    assert found.ids[0] is not None
    assert found.failures[1].name == "b"
    assert "ends before" in found.failures[1].reason
    memory.pipe_file("/bucket/a.png", BYTES[0])
    images = list_images(["memory://bucket/a.png", "memory://bucket/none.png"])
    found = Identities(images, exif=False)
    assert [row is None for row in found.ids] == [False, True]
    assert found.failures[1].reason == os.strerror(2)


def test_an_etag_is_the_md5_of_a_plain_upload():
    etag = '"9e107d9d372bb6826bd81d3542a419d6"'
    text = b"The quick brown fox jumps over the lazy dog"
    blob = ObjectBlob(None, "s3://bucket/x", {"size": len(text), "ETag": etag})
    assert blob.is_etag_of(text)
    assert not blob.is_etag_of(text[:-1])
    assert blob.stamp == f"{etag}:{len(text)}"


def test_an_object_that_shrinks_is_named(memory):
    memory.pipe_file("/bucket/photos/a.png", BYTES[0])
    images = list_images("memory://bucket/photos")
    memory.pipe_file("/bucket/photos/a.png", BYTES[0][:-1])
    found = Identities(images, exif=False)
    assert found.failures[0].reason == "memory://bucket/photos/a.png ends before its last byte"


def test_a_file_written_just_now_has_no_stamp(tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.files.RACY_NS", 2 * 10**9)
    (tmp_path / "a").write_bytes(b"x")
    assert FileBlob(tmp_path / "a").stamp == ""
    old = (tmp_path / "a").stat().st_mtime - 100
    os.utime(tmp_path / "a", (old, old))
    monkeypatch.setattr("transferkit.files.RACY_NS", -(10**12))
    assert FileBlob(tmp_path / "a").stamp != ""


def test_parts_of_one_image_are_digested_once(tmp_path):
    tar = pack_tar(tmp_path / "s.tar", [("a.png", BYTES[0])])
    images = list_images(tar)
    twice = dataclasses.replace(images, items=images.items * 2, names=images.names * 2)
    found = Identities(twice, exif=False)
    assert found.n_read == 1
    assert found.ids[0] == found.ids[1]
