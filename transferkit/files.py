"""Open others' files without the risk of waiting for ever; write our own whole or not at all."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path

__all__ = [
    "TEMPORARY_PREFIX",
    "check_regular",
    "failed_write",
    "is_settled",
    "open_regular",
    "stamp_of",
    "sync_file",
    "sync_folder",
    "write_whole",
]

TEMPORARY_PREFIX = ".tmp-"

# A file system's times may be as coarse as 2 s (FAT). A file that changed less than 2 s before it
# was read could change again and keep its stamp.
RACY_NS = 2_000_000_000

# Names of the kinds of file that are refused, because "invalid argument" helps nobody.
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(status: os.stat_result, path: str | Path) -> None:
    """Raise unless the status is a regular file's: reading any other kind may never end.

    Raises
    ------
    OSError
        If it is a folder, a pipe, a socket or a device.
    """
    if stat.S_ISREG(status.st_mode):
        return
    kind = next((name for test, name in _KINDS if test(status.st_mode)), "something else")
    raise OSError(errno.EINVAL, f"Not a regular file but {kind}", str(path))


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file for reading bytes; anything else is refused at once.

    Opening a pipe waits until somebody writes to it, and opening a device may set it off:
    so the name is looked at first, and what was opened is looked at again.

    Parameters
    ----------
    path : str or Path
        The file; links to files are followed.

    Returns
    -------
    binary file
        Open for reading.

    Raises
    ------
    OSError
        If there is no such file, or it is no regular one.
    """
    check_regular(os.stat(path), path)  # noqa: PTH116 (60,000 Path objects would take longer)
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    try:
        check_regular(os.fstat(file.fileno()), path)
    except BaseException:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    # Regular files don't know the flag; Windows has neither it nor such pipes.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def stamp_of(status: os.stat_result) -> str:
    """Text that is another one once a file was changed or replaced: inode, size and times.

    Parameters
    ----------
    status : stat_result
        Of the file.
    """
    # As text: inodes and devices may be unsigned 64-bit and more, SQLite's integers are not.
    s = status
    return f"{s.st_dev}:{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"


def is_settled(status: os.stat_result, now: int) -> bool:
    """Whether every change to a file after a time will show in its stamp.

    Parameters
    ----------
    status : stat_result
        Of the file.
    now : int
        The time, ns since 1970.
    """
    return max(status.st_mtime_ns, status.st_ctime_ns) + RACY_NS <= now


def write_whole(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write a file that exists whole or not at all, whenever the process or machine dies.

    Parameters
    ----------
    path : Path
        Where the file will be; what is there is replaced in one step.
    parts : iterable of bytes-like
        The file's content, in order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not `tempfile`: its files are readable by their owner alone, and stores are shared.
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename is not None:
            raise
        reason = f"{error.strerror}; what was stored before is kept"
        raise OSError(error.errno, reason, str(path.parent)) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def failed_write(path: Path, error: OSError, what: str = "") -> OSError:
    """Error that names what can't be written: a full disk names no file, or a temporary one.

    Parameters
    ----------
    path : Path
        What should have been written.
    error : OSError
        Why it wasn't.
    what : str
        What it is, in a word.

    Returns
    -------
    OSError
        To be raised; with the number of the first.
    """
    kept = "; what is there already is kept" if path.exists() else ""
    reason = error.strerror or str(error)
    told = type(error)(f"could not write {what} {str(path)!r}: {reason}{kept}".replace("  ", " "))
    told.errno = error.errno
    return told


def sync_file(path: Path) -> None:
    """Flush a written file to the disk, which must happen before it gets its final name.

    Raises
    ------
    OSError
        If the disk is full or fails: some file systems only tell now.
    """
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets folders be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
