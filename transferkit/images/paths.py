"""Find files by paths and patterns as users write them."""

import fnmatch
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

__all__ = ["in_either_form", "is_excluded", "why_missing"]


def in_either_form(path: Path) -> Path:
    """Return a path, or an existing one that differs from it only in Unicode's form.

    Tables are written on one system and read on another: macOS writes accents behind their
    letters (NFD), others as part of them (NFC), and most file systems tell the two apart.

    Parameters
    ----------
    path : Path
        Need not exist.

    Returns
    -------
    Path
        The given one if it is there, is plain ASCII, or is in neither form there.
    """
    text = os.fspath(path)
    if text.isascii() or os.path.lexists(text):
        return path
    found = Path(path.anchor)
    for part in path.parts[bool(path.anchor) :]:
        forms = dict.fromkeys([part, *(unicodedata.normalize(f, part) for f in ("NFC", "NFD"))])
        there = next((form for form in forms if os.path.lexists(found / form)), None)
        if there is None:
            return path
        found /= there
    return found


def is_excluded(name: str, patterns: Sequence[str]) -> bool:
    """Whether a pattern excludes an image.

    Parameters
    ----------
    name : str
        Its path below the folder, or as the table has it, in POSIX form.
    patterns : sequence of str
        Shell-style. One without a slash is compared with every part of the path, one with a
        slash with the path from its beginning, up to any of its folders.

    Examples
    --------
    >>> is_excluded("train_augmented/cat/1.jpg", ["*augmented*"])
    True
    >>> is_excluded("train/cat/1.jpg", ["train/c*", "dog"]), is_excluded("a/b.jpg", ["b"])
    (True, False)
    """
    parts = name.replace("\\", "/").removeprefix("./").split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return any(
        any(
            fnmatch.fnmatchcase(p, pattern.strip("/")) for p in (above if "/" in pattern else parts)
        )
        for pattern in patterns
    )


def why_missing(names: Sequence[str], folder: Path, suffixes: Sequence[str]) -> str:
    """Sentence on why none of a table's files is there.

    Parameters
    ----------
    names : sequence of str
        Paths as they are written.
    folder : Path
        What relative ones are relative to.
    suffixes : sequence of str
        Endings that images have.
    """
    name = names[0]
    here = Path.cwd()
    if "://" in name:
        return "they are URLs, and files are wanted: download them first"
    if name.startswith("~"):
        return "'~' isn't expanded in them: write the whole paths"
    if "\\" in name and (folder / name.replace("\\", "/")).exists():
        return "they are written with backslashes: write them with /"
    if name != name.strip() and (folder / name.strip()).exists():
        return "they have blanks around them: take these away"
    for suffix in suffixes:
        if (folder / f"{name}{suffix}").exists():
            return f"they lack their suffix: give it with --suffix {suffix} (suffix={suffix!r})"
    if not Path(name).is_absolute() and folder.resolve() != here and (here / name).exists():
        return (
            f"they are relative to the working directory, and {str(folder)!r} is where they are "
            f"looked for: --root . (root='.')"
        )
    if (folder / Path(name.replace("\\", "/")).name).exists():
        return f"files of these names stand in {str(folder)!r} itself: write the names alone"
    if Path(name).is_absolute():
        return "they are absolute paths, perhaps of another machine"
    return (
        f"they are looked for in {str(folder)!r}: --root DIR (root=) names the folder that they "
        f"are relative to"
    )
