"""Tar files as WebDataset has them, as people pack folders, and as nobody should make them."""

import gzip
import json
import logging
import os
import pickle
import tarfile

import numpy as np
import pytest

from tests.images.sources.packing import pack_tar
from tests.images.sources.tables import encoded
from tests.pictures import picture
from transferkit.images import content_of, list_images
from transferkit.images.blobs import FileBlob
from transferkit.images.sources import shards
from transferkit.images.tars import TarReader

A, B, C = (encoded(picture(i)) for i in range(3))


def contents(images):
    return [content_of(item) for item in images.items]


def settle(path):
    """Make a file an hour older: what was written just now isn't remembered."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 3600 * 10**9))


@pytest.fixture
def _settled(monkeypatch):
    monkeypatch.setattr("transferkit.files.RACY_NS", -(10**12))


def test_samples_are_members_of_one_key(tmp_path):
    path = pack_tar(
        tmp_path / "s.tar",
        [
            ("001.jpg", A),
            ("001.cls", b"7\n"),
            ("./sub/002.txt", "Käse ".encode()),
            ("./sub/002.PNG", B),
            ("003.json", json.dumps({"label": 2.5, "split": "valid"}).encode()),
            ("003.jpeg", C),
            ("004.jpg", A),
            ("005.npy", b"x"),
        ],
    )
    images = list_images(path)
    assert images.names == ("001", "sub/002", "003", "004")
    assert images.labels == ("7", "Käse", "2.5", None)
    assert images.splits == (None, None, "val", None)
    assert contents(images) == [A, B, C, A]


def test_a_class_goes_before_json_and_that_before_text(tmp_path):
    path = pack_tar(
        tmp_path / "s.tar",
        [
            *(
                ("1.jpg", A),
                ("1.txt", b"a caption"),
                ("1.cls", b"c"),
                ("1.json", b'{"label": "j"}'),
            ),
            *(("2.jpg", A), ("2.txt", b"a caption"), ("2.json", b'{"label": "j"}')),
            *(("3.jpg", A), ("3.txt", b"a caption"), ("3.json", b'{"kind": "k"}')),
        ],
    )
    assert list_images(path).labels == ("c", "j", "a caption")


def test_other_keys_of_json(tmp_path):
    told = [{"kind": "owl", "age": 3, "home": "x"}, {"kind": "jay", "home": "y"}]
    members = [(f"{i}.json", json.dumps(t).encode()) for i, t in enumerate(told)]
    path = pack_tar(tmp_path / "s.tar", [*members, ("0.jpg", A), ("1.jpg", B)])
    assert list_images(path, label_column="kind").labels == ("owl", "jay")
    images = list_images(path, label_column=["kind", "age"], group_column="home")
    assert images.labels == (("owl", "3"), ("jay", None))
    assert images.label_names == ("kind", "age")
    assert images.groups == ("x", "y")
    with pytest.raises(ValueError, match=r"no \.json member in 's\.tar' tells 'sort'; choose"):
        list_images(path, label_column="sort")


def test_several_images_of_a_key(tmp_path):
    path = pack_tar(
        tmp_path / "s.tar",
        [("1.seg.png", B), ("1.jpg", A), ("2.left.jpg", B), ("2.right.jpg", C), ("2.cls", b"0")],
    )
    images = list_images(path)
    assert images.names == ("1", "2.left.jpg", "2.right.jpg")
    assert images.labels == (None, "0", "0")
    assert contents(images) == [A, B, C]


def test_braces_and_folders_are_the_same_files(tmp_path):
    for i, content in enumerate((A, B, C)):
        pack_tar(tmp_path / f"shard-{i:02}.tar", [(f"{i}.jpg", content), (f"{i}.cls", b"%d" % i)])
    names = ("0", "1", "2")
    for given in (f"{tmp_path}/shard-{{00..02}}.tar", tmp_path, str(tmp_path)):
        images = list_images(given)
        assert (images.names, images.labels) == (names, names)
        assert contents(images) == [A, B, C]
    assert list_images(f"{tmp_path}/shard-{{00,02}}.tar").names == ("0", "2")
    assert list_images(tmp_path, exclude=["shard-01.tar"]).names == ("0", "2")
    assert list_images(tmp_path, exclude=["1"]).names == ("0", "2")
    with pytest.raises(FileNotFoundError, match=r"shard-03\.tar"):
        list_images(f"{tmp_path}/shard-{{00..03}}.tar")
    with pytest.raises(ValueError, match="give from 1 to 1,000,000"):
        list_images(f"{tmp_path}/shard-{{0..99999999999}}.tar")


def test_images_in_a_folder_go_before_the_tar_they_came_in(tmp_path, caplog):
    pack_tar(tmp_path / "s.tar", [("1.jpg", A)])
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/2.jpg").write_bytes(B)
    with caplog.at_level(logging.WARNING):
        assert list_images(tmp_path).names == ("cat/2.jpg",)
    assert "no image by its name" in caplog.text


@pytest.mark.parametrize("name", ["{split}-{i}.tar", "{split}/{i}.tar"])
def test_splits_by_the_files(tmp_path, name):
    for i, split in enumerate(("train", "train", "val")):
        pack_tar(tmp_path / name.format(split=split, i=i), [(f"{i}.jpg", A)])
    images = list_images(tmp_path)
    assert dict(zip(images.names, images.splits, strict=True)) == {
        "0": "train",
        "1": "train",
        "2": "val",
    }


def test_keys_that_stand_in_several_files_tell_which(tmp_path):
    for i in range(2):
        pack_tar(tmp_path / f"s-{i}.tar", [("0001.jpg", A), ("0001.cls", b"%d" % i)])
    assert list_images(tmp_path).names == ("s-0.tar/0001", "s-1.tar/0001")


@pytest.mark.parametrize("above", ["", "photos/", "./archive/photos/"])
def test_a_folder_that_was_packed(tmp_path, above):
    members = [(f"{above}{c}/{i}.jpg", A) for i, c in enumerate(("cat", "dog"))]
    images = list_images(pack_tar(tmp_path / "photos.tar", members))
    assert images.labels == ("cat", "dog")
    split = [(f"{above}{s}/{c}/1.jpg", A) for s in ("train", "test") for c in ("cat", "dog")]
    images = list_images(pack_tar(tmp_path / "split.tar", split))
    assert images.labels == ("cat", "dog") * 2
    assert images.splits == ("train", "train", "test", "test")


# ---- what was read is remembered ----


@pytest.mark.usefixtures("_settled")
def test_headers_are_read_once(tmp_path, monkeypatch):
    path = pack_tar(tmp_path / "s.tar", [("1.jpg", A), ("1.cls", b"a"), ("2.jpg", B)])
    first = list_images(path)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "read_samples", None)
        again = list_images(path)
        assert (again.names, again.labels) == (first.names, first.labels)
        assert contents(again) == [A, B]
        with pytest.raises(TypeError):  # of other columns nothing is known
            list_images(path, label_column="kind")
    pack_tar(path, [("3.jpg", C)])
    assert list_images(path).names == ("3",)


@pytest.mark.usefixtures("_settled")
def test_a_damaged_memory_is_forgotten(tmp_path):
    path = pack_tar(tmp_path / "s.tar", [("1.jpg", A), ("1.cls", b"a")])
    list_images(path)
    [kept] = shards.cache_folder().rglob("tars/*.json")
    text = kept.read_bytes()
    for damaged in (text.replace(b'"a"', b'"b"'), text[:-3], b"", b"[]"):
        kept.write_bytes(damaged)
        assert list_images(path).labels == ("a",)


def test_what_was_written_just_now_is_not_remembered(tmp_path):
    list_images(pack_tar(tmp_path / "s.tar", [("1.jpg", A)]))
    assert list(shards.cache_folder().rglob("tars/*.json")) == []


def test_a_file_that_changes_after_it_was_listed(tmp_path):
    path = pack_tar(tmp_path / "s.tar", [("1.jpg", A)])
    settle(path)
    images = list_images(path)
    pack_tar(path, [("1.jpg", B)])
    with pytest.raises(OSError, match="has changed since it was listed"):
        content_of(images.items[0])


def test_lists_of_many_images_are_small(tmp_path):
    path = pack_tar(tmp_path / "s.tar", [(f"{i:06}.jpg", A[:10]) for i in range(2000)])
    images = list_images(path)
    assert len(pickle.dumps(images.items)) < 30 * len(images)


# ---- what nobody should make ----


def special(name, kind, **values):
    member = tarfile.TarInfo(name)
    member.type = kind
    for key, value in values.items():
        setattr(member, key, value)
    return member


def test_links_devices_and_names_that_lead_elsewhere(tmp_path, caplog):
    path = pack_tar(
        tmp_path / "s.tar",
        [
            ("ok.jpg", A),
            (special("soft.jpg", tarfile.SYMTYPE, linkname="/etc/passwd"), b""),
            (special("hard.jpg", tarfile.LNKTYPE, linkname="ok.jpg"), b""),
            (special("device.jpg", tarfile.CHRTYPE), b""),
            ("../../up.jpg", B),
            ("a/..\\..\\up.jpg", B),
            ("/etc/absolute.jpg", C),
            (".hidden/1.jpg", B),
            ("._ok.jpg", B),
        ],
    )
    with caplog.at_level(logging.WARNING):
        images = list_images(path)
    assert images.names == ("ok", "etc/absolute")
    assert contents(images) == [A, C]
    assert "members of s.tar are links, sparse files or devices and were left out" in caplog.text
    for name in ("soft.jpg", "hard.jpg", "device.jpg", "'../../up.jpg'"):
        assert name in caplog.text


def test_a_sparse_file_is_left_out(tmp_path, caplog):
    extended = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "big.jpg"}
    extended |= {"GNU.sparse.realsize": str(2**50)}
    member = special("GNUSparseFile.0/big.jpg", tarfile.REGTYPE, pax_headers=extended)
    path = pack_tar(
        tmp_path / "s.tar",
        [("a.jpg", A), (member, b"0\n".ljust(512, b"\0")), ("b.jpg", B)],
        format=tarfile.PAX_FORMAT,
    )
    with caplog.at_level(logging.WARNING):
        images = list_images(path)
    assert images.names == ("a", "b")
    assert contents(images) == [A, B]
    assert "sparse" in caplog.text


def blocks(size, content):
    """A tar whose last member claims a size."""
    header = tarfile.TarInfo("2.jpg")
    header.size = size
    return header.tobuf(tarfile.GNU_FORMAT) + content


@pytest.mark.parametrize("size", [10**5, 2**40, 2**62])
def test_a_size_beyond_the_file(tmp_path, size):
    path = pack_tar(tmp_path / "s.tar", [("1.jpg", A)])
    whole = path.read_bytes()
    begin = 512 + (len(A) + 511) // 512 * 512
    path.write_bytes(whole[:begin] + blocks(size, B))
    images = list_images(path)
    assert images.names == ("1", "2")
    assert content_of(images.items[0]) == A
    with pytest.raises(OSError, match=r"ends before|too large for an image"):
        content_of(images.items[1])


def damaged_tars():
    one = tarfile.TarInfo("1.jpg")
    one.size = len(A)
    first = one.tobuf() + A.ljust((len(A) + 511) // 512 * 512, b"\0")
    bomb = tarfile.TarInfo("x")
    bomb.type, bomb.size = tarfile.XHDTYPE, 2**33
    chained = tarfile.TarInfo("x")
    chained.type, chained.size = tarfile.XHDTYPE, 20
    chain = (chained.tobuf() + b"20 comment=0123456\n".ljust(512, b"\0")) * 3000
    backwards = tarfile.TarInfo("2.jpg")
    backwards.size = -4096
    yield "garbage", first + b"no header".ljust(512, b"x")
    yield "pax bomb", first + bomb.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    yield "pax chain", first + chain
    yield "negative", first + backwards.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


@pytest.mark.parametrize(("kind", "content"), [*damaged_tars()], ids=lambda v: str(v)[:10])
def test_damage_behind_good_members_is_told_where(tmp_path, kind, content):
    path = tmp_path / "s.tar"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"s\.tar' is damaged at byte [\d,]+, behind \d members"):
        list_images(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no plain tar file"),
        (b"x" * 2000, "is no plain tar file"),
        (gzip.compress(b"x" * 2000, mtime=0), "but compressed: decompress it with gunzip"),
    ],
)
def test_files_that_are_no_tars(tmp_path, content, said):
    (tmp_path / "s.tar").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        list_images(tmp_path / "s.tar")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("1.json", b"[" * 10**5, r"its \.json can't be read"),
        ("1.json", b'{"label": [1, 2]}', "'label' in its .json is a list; give one"),
        ("1.json", b'{"label": 1, "split": "spam"}', "unknown split 'spam'"),
        ("1.cls", b"\xff\xfe", "isn't UTF-8"),
        ("1.txt", b"x" * (1 + (1 << 20)), "too much for a label"),
    ],
)
def test_labels_that_are_none(tmp_path, name, content, said):
    path = pack_tar(tmp_path / "s.tar", [("1.jpg", A), (name, content)])
    with pytest.raises(ValueError, match=said):
        list_images(path)


def test_a_header_takes_little_memory_whatever_it_claims(tmp_path):
    """A map of a sparse file that has no end is read as far as a header may go."""
    extended = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "1.jpg"}
    member = special("1.jpg", tarfile.REGTYPE, pax_headers=extended)
    content = b"999999999\n" + b"1\n" * (1 << 20)
    path = pack_tar(tmp_path / "s.tar", [(member, content)], format=tarfile.PAX_FORMAT)
    with pytest.raises(ValueError, match="a header claims more than 1,048,576 bytes"):
        list_images(path)


def test_members_are_those_of_the_library(tmp_path):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 300, 20)
    members = [("d" * n + f"/{i}.jpg", rng.bytes(17 * n)) for i, n in enumerate(lengths)]
    path = pack_tar(tmp_path / "s.tar", members)
    found = [(m.name, m.offset_data, m.size) for m in TarReader(FileBlob(path)).members()]
    with tarfile.open(path) as archive:
        assert found == [(m.name, m.offset_data, m.size) for m in archive.getmembers()]
