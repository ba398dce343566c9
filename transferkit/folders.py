"""The user's cache folder, and whether a folder can be written."""

import os
import sys
from pathlib import Path

__all__ = ["cache_folder", "check_folder", "user_cache_folder"]


def cache_folder() -> Path:
    """Folder for files that may be deleted at any time. It may not exist yet.

    ``$TRANSFERKIT_CACHE`` if set, else ``transferkit`` in the user's cache directory.
    """
    chosen = os.environ.get("TRANSFERKIT_CACHE")
    return Path(chosen).expanduser() if chosen else user_cache_folder()


def user_cache_folder() -> Path:
    """``transferkit`` in the user's cache directory, whatever ``$TRANSFERKIT_CACHE`` says."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "transferkit"


def check_folder(folder: Path, what: str) -> None:
    """Raise early if a folder can't be written to, rather than after hours of work.

    Parameters
    ----------
    folder : Path
        Will be made if it doesn't exist.
    what : str
        Beginning of the sentence: what can't be done.

    Raises
    ------
    OSError
        If the folder, or the nearest one above it, is no folder or not writable.
    """
    nearest = folder.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise NotADirectoryError(f"{what}: {str(nearest)!r} is a file; choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{what}: {str(nearest)!r} isn't writable; choose another place")
