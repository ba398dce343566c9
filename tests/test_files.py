import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from transferkit import files
from transferkit.digests import DigestMemory, file_digest
from transferkit.files import open_regular, write_whole

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")


@pytest.fixture
def odd(tmp_path):
    """What is no regular file, each under the word that names it."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    # Sockets take short paths only.
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{short}/s")
        yield {
            "pipe": [tmp_path / "pipe", tmp_path / "link"],
            "folder": [tmp_path / "folder"],
            "device": [Path("/dev/zero"), Path("/dev/null")],
            "socket": [Path(short) / "s"],
        }


@posix
@pytest.mark.timeout(20)
def test_what_is_no_file_is_refused_at_once(odd, tmp_path):
    for kind, paths in odd.items():
        for path in paths:
            for read in (open_regular, file_digest, lambda p: open_regular(str(p))):
                with pytest.raises(OSError, match=f"Not a regular file but a {kind}"):
                    read(path)
            [error] = DigestMemory(tmp_path / "memory").digests([path]).values
            assert isinstance(error, OSError)
            assert kind in str(error.strerror)


@posix
@pytest.mark.timeout(20)
def test_a_pipe_that_took_the_name_meanwhile(odd, monkeypatch):
    """Opening doesn't wait either, though the name was a file's when it was looked at."""
    [pipe, _] = odd["pipe"]
    check, seen = files.check_regular, []

    def check_the_second(status, path):
        seen.append(path)
        if len(seen) > 1:
            check(status, path)

    monkeypatch.setattr(files, "check_regular", check_the_second)
    with pytest.raises(OSError, match="Not a regular file but a pipe"):
        open_regular(pipe)


def test_files_and_links_to_them_are_opened(tmp_path):
    (tmp_path / "a").write_bytes(b"12\r\n")
    paths = [tmp_path / "a"]
    if sys.platform != "win32":
        (tmp_path / "b").symlink_to("a")
        paths.append(tmp_path / "b")
    for path in paths:
        with open_regular(path) as file:
            assert file.read() == b"12\r\n"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "c")


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a"
    write_whole(path, [b"1", b"2"])
    assert path.read_bytes() == b"12"

    def parts():
        yield b"3"
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device; what was stored before is kept"):
        write_whole(path, parts())
    assert [p.name for p in path.parent.iterdir()] == ["a"]
    assert path.read_bytes() == b"12"
