"""A folder is the registry: each name stands for the file of that name.

Heads, commands, protocols and backbone sources are added by adding a file to the
folder of their kind. No list has to be edited.
"""

import difflib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable
from types import ModuleType

__all__ = ["load", "names", "unknown"]


def names(package: str) -> list[str]:
    """Names of a folder's entries, sorted.

    Parameters
    ----------
    package : str
        Dotted name of the folder, such as ``"transferkit.heads"``.

    Returns
    -------
    list of str
        One name per file; files whose name begins with ``_`` are not entries, and neither
        are folders. An underscore in a file's name is a hyphen in the entry's.

    Examples
    --------
    >>> "linear" in names("transferkit.heads")
    True
    """
    found = pkgutil.iter_modules(_places(package))
    files = [m.name for m in found if not (m.ispkg or m.name.startswith("_"))]
    return sorted(name.replace("_", "-") for name in files)


def _places(package: str) -> Iterable[str]:
    """Folders of a package, which isn't imported for it: some of them import torch."""
    if package in sys.modules:
        return list(sys.modules[package].__path__)
    spec = importlib.util.find_spec(package)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(f"there is no package {package!r}", name=package)
    return list(spec.submodule_search_locations)


def load(package: str, name: str, kind: str) -> ModuleType:
    """Import one entry of a folder.

    Parameters
    ----------
    package : str
        Dotted name of the folder.
    name : str
        The entry's name, as `names` gives it.
    kind : str
        What the entry is, for the error message: ``"head"``, ``"command"``.

    Returns
    -------
    module
        The entry's module, imported now.

    Raises
    ------
    ValueError
        If the folder has no such entry; the message lists those that exist.
    """
    entries = names(package)
    if name not in entries:
        raise unknown(kind, name, entries)
    return importlib.import_module(f"{package}.{name.replace('-', '_')}")


def unknown(kind: str, given: object, allowed: Iterable[str], hint: str = "") -> ValueError:
    """Make the error for a name that doesn't exist: it lists the names and suggests the nearest.

    Parameters
    ----------
    kind : str
        What the name should have named.
    given : object
        What was given.
    allowed : iterable of str
        The names that exist; more than 20 are not listed.
    hint : str, default=""
        What to do next, as the end of the sentence.

    Returns
    -------
    ValueError
        To be raised by the caller.

    Examples
    --------
    >>> print(unknown("head", "linaer", ["linear", "mlp"]))
    unknown head 'linaer'; did you mean 'linear'? known: linear, mlp.
    """
    allowed = list(allowed)
    close = difflib.get_close_matches(str(given), allowed, n=3, cutoff=0.6)
    message = f"unknown {kind} {given!r}"
    if close:
        message += f"; did you mean {' or '.join(repr(c) for c in close)}?"
    if len(allowed) <= 20:
        message += f"{'' if close else ';'} known: {', '.join(allowed) or 'none'}"
    elif not close:
        message += f"; none of the {len(allowed)} known names is like it"
    return ValueError(f"{message}{'' if message.endswith('?') else '.'} {hint}".rstrip())
