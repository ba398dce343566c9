"""Class tables: the names of classes, and the values or colours that stand for them in masks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transferkit.files import open_regular

__all__ = ["ClassEntry", "ClassTable", "class_table", "find_class_table", "is_background"]

MAX_TABLE_BYTES = 2**20
"""Largest class table that is read."""
MAX_CLASSES = 65_535
"""Most classes that a 16-bit mask can tell apart, beside void."""

# A class of this name is void: it is neither learnt nor measured.
_VOID_NAMES = frozenset(("void", "ignore", "ignored"))
_TABLE_NAMES = (
    *("segmentation_classes", "classes", "class_names", "class_dict", "label_colors"),
    *("label_colours", "labelmap", "label_map", "class_colors", "codes", "palette"),
)
_TABLE_SUFFIXES = (".txt", ".json", ".csv")
# Words of a table's first line that says what stands in its columns.
_HEADERS = frozenset(
    (
        *("name", "class", "class_name", "label", "id", "value", "index", "color", "colour"),
        *("r", "g", "b", "red", "green", "blue", "rgb"),
    )
)


@dataclass(frozen=True)
class ClassEntry:
    """One class of a table.

    Parameters
    ----------
    name : str
        What it is called.
    value : int, optional
        Value of its pixels in a mask of one channel.
    colour : (int, int, int), optional
        Red, green and blue of its pixels in a mask of colours, 0 to 255.
    """

    name: str
    value: int | None = None
    colour: tuple[int, int, int] | None = None

    @property
    def is_void(self) -> bool:
        """Whether its pixels are neither learnt nor measured."""
        return self.name.casefold() in _VOID_NAMES


@dataclass(frozen=True)
class ClassTable:
    """Classes in their order, as they were given.

    Parameters
    ----------
    entries : tuple of ClassEntry
        One per class, and perhaps some for void.
    source : str, default="classes"
        What messages call the table: its file.

    Raises
    ------
    ValueError
        If there are no classes, too many, or two of one name, value or colour.
    """

    entries: tuple[ClassEntry, ...]
    source: str = "classes"

    def __post_init__(self) -> None:
        if not 0 < len(self.entries) <= MAX_CLASSES:
            raise ValueError(
                f"{self.source} names {len(self.entries):,} classes; give 1 to {MAX_CLASSES:,}"
            )
        for what in ("name", "value", "colour"):
            every = [getattr(e, what) for e in self.entries if getattr(e, what) is not None]
            if len(set(every)) < len(every):
                twice = next(one for one in every if every.count(one) > 1)
                raise ValueError(f"{self.source} has the {what} {twice!r} twice; give each once")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes, without void."""
        return tuple(entry.name for entry in self.entries if not entry.is_void)

    @property
    def has_colours(self) -> bool:
        """Whether it tells any class by its colour."""
        return any(entry.colour is not None for entry in self.entries)

    @property
    def has_values(self) -> bool:
        """Whether values were given, so that places in the order don't stand for them."""
        return any(entry.value is not None for entry in self.entries)


def class_table(given: Any) -> ClassTable:
    """Make a class table of what a user gives.

    Parameters
    ----------
    given : ClassTable, path, mapping or sequence
        A text file with one class a line (``name``, ``name r g b``, ``r g b name``,
        ``value name``; commas, tabs, colons or blanks between), a ``.json`` file, a mapping
        from names to values or colours, or from values to names, or a sequence of names or of
        mappings with ``name``, ``id`` or ``value``, and ``color`` or ``colour``.

    Raises
    ------
    ValueError, TypeError
        If it can't be understood.

    Examples
    --------
    >>> class_table(["sky", "sea"]).names
    ('sky', 'sea')
    >>> class_table({"sky": (0, 0, 255), "void": (0, 0, 0)}).entries[0].colour
    (0, 0, 255)
    """
    if isinstance(given, ClassTable):
        return given
    if isinstance(given, str | os.PathLike):
        return _from_file(Path(given).expanduser())
    return ClassTable(_entries(given, "classes"))


def is_background(name: str) -> bool:
    """Whether a class is that of all pixels which belong to no other.

    Examples
    --------
    >>> is_background("Background"), is_background("sky")
    (True, False)
    """
    return name.casefold() in ("background", "_background_", "bg", "__background__")


def find_class_table(folders: Iterable[Path]) -> Path | None:
    """Find the file of a class table by its name, in the first of some folders that holds one.

    Parameters
    ----------
    folders : iterable of Path
        Such as that of the masks, and the one above it.

    Raises
    ------
    ValueError
        If a folder holds several.
    """
    for folder in folders:
        found = [
            path
            for name in _TABLE_NAMES
            for suffix in _TABLE_SUFFIXES
            if (path := folder / f"{name}{suffix}").is_file()
        ]
        if len(found) > 1:
            raise ValueError(
                f"{str(folder)!r} holds several class tables ("
                f"{', '.join(path.name for path in found)}); give the right one as classes"
            )
        if found:
            return found[0]
    return None


def _from_file(path: Path) -> ClassTable:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no class table {str(path)!r}; give a file with one class a line"
        ) from error
    if len(data) > MAX_TABLE_BYTES:
        raise ValueError(
            f"class table {str(path)!r} is larger than {MAX_TABLE_BYTES / 2**20:.0f} MiB; "
            "give one class a line"
        )
    try:
        text = data.decode("utf-8-sig")
        parsed = json.loads(text) if path.suffix.lower() == ".json" else None
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "text"
        raise ValueError(
            f"class table {str(path)!r} is no {kind} ({error}); give one class a line"
        ) from error
    source = f"class table {str(path)!r}"
    if path.suffix.lower() == ".json":
        return ClassTable(_entries(parsed, source), source)
    return ClassTable(_from_lines(text.splitlines(), source), source)


def _from_lines(lines: Sequence[str], source: str) -> tuple[ClassEntry, ...]:
    kept = [line.strip() for line in lines]
    kept = [line for line in kept if line and not line.startswith("#")]
    head = re.split(r"[,;\t: ]+", kept[0].casefold()) if kept else []
    if len(head) > 1 and set(head) <= _HEADERS:
        kept = kept[1:]
    return tuple(_from_line(line, source) for line in kept)


def _from_line(line: str, source: str) -> ClassEntry:
    """Understand ``name``, ``name r g b``, ``r g b name``, ``value name``, in any spelling."""
    colour = r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})"
    between = r"[\s,;:]+"
    patterns = (
        rf"(?P<value>\d+){between}(?P<name>\D.*?){between}{colour}\W*",
        rf"(?P<name>.*?\D){between}{colour}\W*",
        rf"{colour}{between}(?P<name>.*\S)",
        rf"(?P<value>\d+){between}(?P<name>\D.*)",
        r"(?P<name>.*)",
    )
    for pattern in patterns:
        if match := re.fullmatch(pattern, line):
            given = match.groupdict()
            numbers = [int(n) for n in match.groups() if n is not None and n.isdecimal()]
            rgb = numbers[-3:] if colour in pattern else None
            value = None if given.get("value") is None else int(given["value"])
            return _entry(given["name"].strip(" ,;:\t"), value, rgb, source)
    raise AssertionError("the last pattern fits every line")


def _entries(given: Any, source: str) -> tuple[ClassEntry, ...]:
    if isinstance(given, Mapping):
        return tuple(_from_pair(key, value, source) for key, value in given.items())
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return tuple(_from_one(one, source) for one in given)
    raise TypeError(
        f"{source} given as {type(given).__name__}; give names, a mapping from names to values "
        "or colours, or a file with one class a line"
    )


def _from_one(one: Any, source: str) -> ClassEntry:
    if isinstance(one, ClassEntry):
        return one
    if not isinstance(one, Mapping):
        return _entry(one, None, None, source)
    value = next((one[key] for key in ("id", "value", "index") if key in one), None)
    colour = next((one[key] for key in ("color", "colour", "rgb") if key in one), None)
    return _entry(one.get("name"), value, colour, source)


def _from_pair(key: Any, value: Any, source: str) -> ClassEntry:
    if isinstance(value, str) and not value.startswith("#"):
        return _entry(value, key, None, source)
    if isinstance(value, int) and not isinstance(value, bool):
        return _entry(key, value, None, source)
    return _entry(key, None, value, source)


def _entry(name: Any, value: Any, colour: Any, source: str) -> ClassEntry:
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{source} has the name {name!r}; give a text that isn't empty")
    if value is not None:
        try:
            value = int(value)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{source} gives {name!r} the value {value!r}; give a whole number"
            ) from error
        if not 0 <= value <= MAX_CLASSES:
            raise ValueError(f"{source} gives {name!r} the value {value}; give 0 to {MAX_CLASSES}")
    return ClassEntry(name.strip(), value, None if colour is None else _rgb(name, colour, source))


def _rgb(name: str, colour: Any, source: str) -> tuple[int, int, int]:
    if isinstance(colour, str) and re.fullmatch("#?[0-9a-fA-F]{6}", colour):
        digits = colour.removeprefix("#")
        colour = [int(digits[i : i + 2], 16) for i in (0, 2, 4)]
    try:
        red, green, blue = (int(part) for part in colour)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{source} gives {name!r} the colour {colour!r}; give red, green and blue, 0 to 255"
        ) from error
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise ValueError(f"{source} gives {name!r} the colour {colour!r}; give 0 to 255")
    return red, green, blue
