"""The user's cache folder, on every system; and folders that can't be written."""

import sys
from pathlib import Path

import pytest

from transferkit.digests import DigestMemory
from transferkit.folders import cache_folder, check_folder


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("TRANSFERKIT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert DigestMemory().path == tmp_path / "mine" / "digests.sqlite"
    monkeypatch.delenv("TRANSFERKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "xdg" / "transferkit"
    monkeypatch.setattr(sys, "platform", "win32")
    assert cache_folder() == tmp_path / "local" / "transferkit"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "transferkit"


def test_folders_that_cannot_be_written_say_so_at_once(tmp_path):
    check_folder(tmp_path / "new" / "newer", "it can't be kept")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"it can't be kept: .*file' is a file; choose"):
        check_folder(tmp_path / "file" / "below", "it can't be kept")
