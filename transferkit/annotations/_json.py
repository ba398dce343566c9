"""Read large JSON files of lists, one element at a time."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transferkit.files import open_regular

__all__ = ["MAX_JSON_BYTES", "JsonElement", "elements", "read_text"]

MAX_JSON_BYTES = 2**31
"""Largest file that is read."""

JsonElement = tuple[str, Any, str]
"""Key of the outermost object, one element of the list that it holds, and the element's text."""

_BLANK = re.compile(r"[ \t\n\r]*")


def read_text(path: Path) -> str:
    """Read a file of bounded size.

    Raises
    ------
    ValueError
        If it is too large, or no text.
    OSError
        If it can't be read.
    """
    with open_regular(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if n_bytes > MAX_JSON_BYTES:
            raise ValueError(
                f"{str(path)!r} has {n_bytes / 2**30:.1f} GiB; the limit is "
                f"{MAX_JSON_BYTES / 2**30:.0f} GiB: write a file for each part of the images"
            )
        data = file.read(MAX_JSON_BYTES)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is no JSON: {error}") from error


def elements(text: str) -> Iterator[JsonElement]:
    """Go through the lists that an object holds; other values are one element each.

    Only one element is held at a time: all at once would take ten times the text's memory.

    Parameters
    ----------
    text : str
        A JSON object.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> list(elements('{"a": [1, {"b": 2}], "c": "d"}'))
    [('a', 1, '1'), ('a', {'b': 2}, '{"b": 2}'), ('c', 'd', '"d"')]
    """
    decoder = json.JSONDecoder()
    try:
        yield from _members(text, decoder)
    except RecursionError as error:
        raise ValueError("the JSON is nested too deeply") from error


def _members(text: str, decoder: json.JSONDecoder) -> Iterator[JsonElement]:
    at = _expect(text, 0, "{")
    if text[at : at + 1] == "}":
        return
    while True:
        key, at = decoder.raw_decode(text, at)
        if not isinstance(key, str):
            raise ValueError(f"a key of the outermost object is {key!r}; it has to be a text")
        at = _expect(text, at, ":")
        if text[at : at + 1] == "[":
            at = _expect(text, at, "[")
            while text[at : at + 1] != "]":
                value, end = decoder.raw_decode(text, at)
                yield key, value, text[at:end]
                at = _skip(text, end)
                if text[at : at + 1] != "]":
                    at = _expect(text, at, ",")
            at += 1
        else:
            value, end = decoder.raw_decode(text, at)
            yield key, value, text[at:end]
            at = end
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return
        at = _expect(text, at, ",")


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _expect(text: str, at: int, mark: str) -> int:
    """Position of what follows a mark."""
    at = _skip(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(
            f"{mark!r} is expected at character {at:,}, and {text[at : at + 20]!r} found"
        )
    return _skip(text, at + 1)
