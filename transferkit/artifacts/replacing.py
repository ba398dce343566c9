"""Replace a model's folder in one step, and clean up after saves that were killed.

::

    MODEL                        the model
    .MODEL.new-HOST-PID-RANDOM   one that is being written, or the old one that goes
    .MODEL.old-HOST-PID-RANDOM   the old one, where the system can't exchange two folders

Where it can (Linux, macOS), MODEL is the old or the new model at every moment. Where it
can't, MODEL is missing for an instant between two renames: readers then take the old one
from beside it, and the next save puts it back if the process was killed just there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import re
import secrets
import shutil
import sys
import time
import zlib
from pathlib import Path
from typing import Any

from transferkit.files import sync_folder

__all__ = ["exchange", "put", "restore", "standing", "sweep", "temporary_folder"]

# A leftover is removed when its process is dead, or, from another machine, when it is a day old.
_LEFTOVER_SECONDS = 24 * 3600
_LONGEST_NAME = 200  # of 255 bytes, that most file systems take
_CURRENT_FOLDER = -100  # AT_FDCWD
_SWAP = 2  # RENAME_EXCHANGE of renameat2, RENAME_SWAP of renamex_np
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)
# Windows doesn't rename a folder while a process reads in it.
_TRIES = 50
_PAUSE_SECONDS = 0.05


def temporary_folder(path: Path, kind: str = "new") -> Path:
    """Name of a hidden folder beside a model's, with the process that writes it."""
    return path.with_name(f".{_stem(path)}.{kind}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}")


def _stem(path: Path) -> str:
    """A model's name, or a digest of it if the name is too long to add to it."""
    name = os.fsencode(path.name)
    return path.name if len(name) <= _LONGEST_NAME else f"{zlib.crc32(name):08x}"


def _host() -> str:
    """Eight digits for this machine. A container with its own process numbers has its own."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders' names in one step; return False where the system can't."""
    names = os.fsencode(one), os.fsencode(other)
    library: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], _SWAP)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(*names, _SWAP)
    else:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(other))


def put(folder: Path, path: Path, *, overwrite: bool) -> None:
    """Give a complete folder a model's name. What has that name is removed.

    Parameters
    ----------
    folder : Path
        What `temporary_folder` named, written and synced.
    path : Path
        The model's folder.
    overwrite : bool
        Whether one that is there is replaced.

    Raises
    ------
    FileExistsError
        If one has come there meanwhile that may not be replaced.
    """
    if not path.exists():
        try:
            _rename(folder, path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.EACCES):
                raise
            if not path.exists():
                raise
        else:
            sync_folder(path.parent)
            return
    if not overwrite:
        raise FileExistsError(f"{str(path)!r} was saved by another process meanwhile")
    if exchange(folder, path):
        sync_folder(path.parent)
        shutil.rmtree(folder, ignore_errors=True)
        return
    old = temporary_folder(path, "old")
    _rename(path, old)
    try:
        _rename(folder, path)
    except BaseException:
        with contextlib.suppress(OSError):  # it was the last step that was interrupted
            old.rename(path)
        raise
    sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _rename(source: Path, target: Path) -> None:
    for attempt in range(_TRIES):
        try:
            source.rename(target)
        except PermissionError:
            if os.name != "nt" or attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def standing(path: Path) -> Path:
    """Folder to read a model from: its own or, between two renames, the old one beside it."""
    if path.exists():
        return path
    olds = [p for p in _beside(path, "old") if (p / "model.json").is_file()]
    # The folder was removed meanwhile or never existed. An error about its own name says it best.
    return max(olds, key=_age_key, default=path)


def restore(path: Path) -> None:
    """Put back the old model that a save left beside its place when it was killed."""
    old = standing(path)
    if old != path and not _is_alive(old):
        with contextlib.suppress(OSError):
            old.rename(path)


def sweep(path: Path) -> None:
    """Remove what killed saves of this model left. Folders of living processes stay."""
    olds = _beside(path, "old") if path.exists() else []
    for folder in [*_beside(path, "new"), *olds]:
        if not _is_alive(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _beside(path: Path, kind: str) -> list[Path]:
    name = re.compile(rf"\.{re.escape(_stem(path))}\.{kind}-[0-9a-f]{{8}}-[0-9]+-[0-9a-f]{{8}}")
    try:
        with os.scandir(path.parent) as entries:
            return [path.with_name(e.name) for e in entries if name.fullmatch(e.name)]
    except OSError:
        return []


def _age_key(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _is_alive(folder: Path) -> bool:
    """Whether a temporary folder's process may still write it."""
    host, process, _ = folder.name.rsplit("-", 3)[1:]
    if host == _host() and os.name == "posix":
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):
            return True
        return True
    return time.time() - _age_key(folder) / 1e9 < _LEFTOVER_SECONDS
