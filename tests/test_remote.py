"""Files by URL: what is shared, what is told, and when it is asked anew."""

import pickle

import fsspec
import pytest

from transferkit import remote
from transferkit.remote import RemoteError, RemoteFiles, path_of_url, tag_and_date


@pytest.fixture
def files(monkeypatch):
    monkeypatch.setattr(remote, "WAITS", (0, 0))
    return RemoteFiles("memory", "images")


def test_it_pickles_without_what_it_has_opened(files):
    files.system()
    copy = pickle.loads(pickle.dumps(files))
    assert (copy.scheme, copy.what, copy._opened) == ("memory", "images", None)


def test_find_tells_of_one_folder_only(files):
    system = fsspec.filesystem("memory")
    for name in ("/b/in/a", "/b/in/deep/c", "/b/inner/d"):
        system.pipe_file(name, b"xy")
    try:
        assert {name: info["size"] for name, info in files.find("memory://b/in").items()} == {
            "a": 2,
            "deep/c": 2,
        }
        assert files.find("memory://b/none") == {}
        with pytest.raises(FileNotFoundError):
            files.info("memory://b/in")
    finally:
        system.store.clear()
        system.pseudo_dirs[:] = [""]


def test_after_a_refusal_it_is_opened_anew(files):
    before = files.system()

    def refuse():
        raise PermissionError(13, "Access Denied")

    with pytest.raises(RemoteError, match=r"could not read x: .*Access Denied; check its cred"):
        files.ask("read", "x", refuse)
    assert files.system() is not before


def test_success_brings_the_patience_back(files):
    def fail():
        attempts.append(1)
        raise OSError(5, "down")

    numbers = []
    for _ in range(remote._PATIENCE + 1):
        attempts = []
        with pytest.raises(RemoteError, match="check that it can be reached"):
            files.ask("read", "x", fail)
        numbers.append(len(attempts))
    assert numbers == [3] * remote._PATIENCE + [1]
    assert files.ask("read", "x", lambda: 7) == 7
    attempts = []
    with pytest.raises(RemoteError):
        files.ask("read", "x", fail)
    assert len(attempts) == 3


def test_tags_and_dates():
    assert tag_and_date({"ETag": "a", "LastModified": 1, "size": 2}) == ("a", "1")
    assert tag_and_date({"generation": 5}) == (5, "")


def test_file_urls():
    assert path_of_url("file:///a/b%20c", "images").as_posix() == "/a/b c"
    with pytest.raises(ValueError, match="names no folder of this machine"):
        path_of_url("file://host/a", "images")
