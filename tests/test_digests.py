import hashlib
import logging
import multiprocessing
import os
import sqlite3
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from transferkit import digests
from transferkit.digests import (
    ID_BYTES,
    DigestMemory,
    file_digest,
    pixel_digest,
    row_id,
)


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """A memory that trusts files at once; those of a test are only milliseconds old."""
    monkeypatch.setattr("transferkit.files.RACY_NS", 0)
    return DigestMemory(tmp_path / "cache" / "digests.sqlite")


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    paths = [folder / f"{i}.bin" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * i * 1000)  # the first is empty
    time.sleep(0.02)  # longer than a tick of the file system's clock
    return paths


def truth(paths):
    return [hashlib.sha256(p.read_bytes()).digest() for p in paths]


def test_file_digest_is_the_sha256_of_the_bytes(files):
    assert [file_digest(p) for p in files] == truth(files)
    assert file_digest(str(files[0])) == hashlib.sha256(b"").digest()


def test_row_id_is_the_first_bytes():
    digest = hashlib.sha256(b"x").digest()
    assert row_id(digest) == digest[:16]
    assert ID_BYTES == 16


def test_pixel_digest_depends_on_values_shape_and_type_only():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)
    digest = pixel_digest(pixels)
    assert len(digest) == 32
    assert pixel_digest(np.asfortranarray(pixels)) == digest
    assert pixel_digest(np.repeat(pixels, 2, axis=0)[::2]) == digest
    other = pixels.copy()
    other[5, 3, 2] ^= 1
    different = [other, pixels.reshape(4, 6, 3), pixels.view(np.int8), pixels.astype(np.uint16)]
    assert len({digest, *map(pixel_digest, different)}) == 5
    assert digest != hashlib.sha256(pixels.tobytes()).digest()
    assert pixel_digest(np.zeros((0, 3))) != pixel_digest(np.zeros((3, 0)))
    assert len(pixel_digest(np.array(3.0))) == 32


def test_pixel_digest_refuses_objects():
    with pytest.raises(TypeError, match="dtype object"):
        pixel_digest(np.array([object()]))


def test_second_call_reads_nothing(memory, files):
    first = memory.digests(files)
    assert first.values == truth(files)
    assert first.n_read == 5
    second = memory.digests(list(reversed(files)))
    assert second.values == truth(files)[::-1]
    assert second.n_read == 0


def test_names_are_strings_paths_relative_and_repeated(memory, files, monkeypatch):
    monkeypatch.chdir(files[0].parent)
    result = memory.digests([str(files[1]), files[1], files[1].name])
    assert result.values == truth([files[1]]) * 3
    assert result.n_read == 1


def test_no_files(memory):
    assert memory.digests([]) == digests.Digests([], 0)


def test_errors_stand_in_their_places(memory, files):
    paths = [files[1], files[0].parent / "missing", files[0].parent, files[2], "nul\0"]
    for _ in range(2):
        values = memory.digests(paths).values
        assert [values[0], values[3]] == truth([files[1], files[2]])
        assert isinstance(values[1], FileNotFoundError)
        assert isinstance(values[2], OSError)
        assert isinstance(values[4], OSError)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in the file system")
def test_a_pipe_is_an_error_and_does_not_block(memory, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert isinstance(memory.digests([tmp_path / "pipe"]).values[0], OSError)


@pytest.mark.skipif(sys.platform == "win32", reason="any bytes are names only on POSIX")
def test_name_that_is_not_utf8(memory, tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\xfe.bin")
    try:
        path.write_bytes(b"x")
    except OSError:
        pytest.skip("the file system wants UTF-8")
    time.sleep(0.02)
    assert memory.digests([path]).values == memory.digests([path]).values == truth([path])
    assert memory.digests([path]).n_read == 0


def test_same_size_and_restored_mtime_is_read_again(memory, files):
    memory.digests(files)
    before = files[1].stat()
    files[1].write_bytes(b"\xee" * before.st_size)
    os.utime(files[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    after = files[1].stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    result = memory.digests(files)
    assert result.values == truth(files)
    assert result.n_read == 1


def test_renamed_and_swapped_files(memory, files):
    memory.digests(files)
    files[1].rename(files[1].with_name("moved"))
    files[2].rename(files[1])
    moved = [files[1], files[1].with_name("moved")]
    assert memory.digests(moved).values == truth(moved)


def test_files_that_are_hashed_on_another_machine(memory, files):
    """Where the device has another number, and where a file was changed in between."""

    def elsewhere(stamps):
        files[3].write_bytes(b"changed since it was stamped")
        moved = {p: "999:" + stamp.partition(":")[2] for p, stamp in stamps.items()}
        return digests.hash_files(moved)

    found = memory.digests(files, hash_with=elsewhere)
    assert (found.values, found.n_read) == (truth(files), 5)
    again = memory.digests(files)
    assert (again.values, again.n_read) == (truth(files), 1)


def test_young_files_are_not_trusted(memory, files, monkeypatch):
    monkeypatch.setattr("transferkit.files.RACY_NS", 2_000_000_000)
    assert [memory.digests(files).n_read for _ in range(2)] == [5, 5]
    # A file whose content changed while its stamp could not tell must still be right.
    monkeypatch.setattr(digests, "stamp_of", lambda status: "same")
    files[1].write_bytes(b"other")
    assert memory.digests(files).values == truth(files)


def test_file_that_changes_while_it_is_read_is_not_remembered(memory, files, monkeypatch):
    stamps = iter(range(100))
    monkeypatch.setattr(digests, "stamp_of", lambda status: str(next(stamps)))
    memory.digests(files)
    monkeypatch.undo()
    monkeypatch.setattr("transferkit.files.RACY_NS", 0)
    assert memory.digests(files).n_read == 5


def test_deleted_memory(memory, files):
    memory.digests(files)
    memory.path.unlink()
    again = memory.digests(files)
    assert (again.values, again.n_read) == (truth(files), 5)
    assert memory.digests(files).n_read == 0


@pytest.mark.parametrize("garbage", [b"not a database at all" * 100, b"SQLite format 3\0" * 99])
def test_garbage_memory_is_replaced(memory, files, garbage, caplog):
    memory.path.parent.mkdir()
    memory.path.write_bytes(garbage)
    with caplog.at_level(logging.INFO):
        first = memory.digests(files)
    assert (first.values, first.n_read) == (truth(files), 5)
    assert "files are hashed" in caplog.text
    assert memory.digests(files).values == truth(files)
    assert memory.digests(files).n_read == 0


def test_damage_anywhere_never_gives_a_wrong_digest(memory, files):
    memory.digests(files)
    whole = memory.path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[at : at + 8] = rng.bytes(8)
        memory.path.write_bytes(damaged)
        assert memory.digests(files).values == truth(files)
    at = whole.index(truth(files)[1])
    memory.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert memory.digests(files) == digests.Digests(truth(files), 1)  # one bit, one file


def test_another_layout_is_no_failure(memory, files):
    memory.path.parent.mkdir()
    connection = sqlite3.connect(memory.path)
    connection.execute("CREATE TABLE files_1 (something INTEGER)")
    connection.close()
    assert memory.digests(files).values == truth(files)


def test_locked_memory_is_no_failure(memory, files, monkeypatch, caplog):
    memory.digests(files[:2])
    connection = sqlite3.connect(memory.path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    start = time.perf_counter()
    # Every command asks several times, and may make a memory of its own for it.
    for _ in range(5):
        assert DigestMemory(memory.path).digests(files).values == truth(files)
    assert time.perf_counter() - start < 2  # of which it waits half a second, once
    [warning] = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert "digests.sqlite, which remembers the digests of files, is used by" in warning.message
    connection.close()
    assert memory.digests(files).n_read == 5  # it is left alone for a while
    monkeypatch.setattr(digests, "_paused", {})
    assert memory.digests(files).n_read == 3
    assert memory.digests(files).n_read == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_memory_that_is_no_file(memory, files, kind):
    memory.path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(memory.path)
    elif kind == "device":
        memory.path.symlink_to("/dev/zero")
    else:
        memory.path.mkdir()
    for _ in range(2):
        assert memory.digests(files).values == truth(files)


def test_memory_that_cannot_be_written(files, tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.files.RACY_NS", 0)
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "digests.sqlite", tmp_path):
        memory = DigestMemory(path)
        assert memory.digests(files).values == truth(files)
        assert memory.digests(files).n_read == 5


def test_threads_at_once(memory, files):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: memory.digests(files), range(32)))
    assert all(r.values == truth(files) for r in results)
    assert memory.digests(files).n_read == 0


def _read(memory, files):
    return memory.digests(files).values


def test_other_process_shares_it(memory, files):
    memory.digests(files)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_read, (memory, files)) == truth(files)
        pool.close()
        pool.join()


def test_many_files_are_asked_in_several_queries(memory, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "_PATHS_PER_QUERY", 7)
    paths = [tmp_path / f"{i}" for i in range(50)]
    for path in paths:
        path.write_text(path.name)
    time.sleep(0.02)
    assert memory.digests(paths, threads=3).n_read == 50
    assert memory.digests(paths) == digests.Digests(truth(paths), 0)
