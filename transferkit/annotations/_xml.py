"""Read others' XML: files of bounded size, without entities, one part at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from transferkit.files import open_regular

__all__ = ["parts_of_xml"]

_CHUNK = 2**20
_MAX_DEPTH = 64


def parts_of_xml(path: Path, outermost: str, form: str, max_bytes: int) -> Iterator[Element]:
    """Give the elements that stand directly in the outermost one, without holding all of them.

    Parameters
    ----------
    path : Path
        The file.
    outermost : str
        What the outermost element has to be.
    form : str
        What messages call the format.
    max_bytes : int
        Largest file that is read.

    Raises
    ------
    ValueError
        If it is larger, is no XML, is of another format, declares a document type or is nested
        too deeply.
    """
    reader = _Reader(path.name, outermost, form)
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise ValueError(f"{path.name} is larger than {max_bytes // 2**20} MiB; is it {form}?")
        read = 0
        while True:
            chunk = file.read(min(_CHUNK, max_bytes - read))
            read += len(chunk)
            try:
                reader.parser.Parse(chunk, not chunk)
            except (expat.ExpatError, AssertionError, LookupError, UnicodeError) as error:
                raise ValueError(f"{path.name} is no XML: {error}") from error
            yield from reader.parts
            reader.parts.clear()
            if not chunk:
                return


class _Reader:
    """Builds a tree of each part, as the parser comes to it."""

    def __init__(self, name: str, outermost: str, form: str) -> None:
        self.name, self.outermost, self.form = name, outermost, form
        self.depth, self.parts = 0, list[Element]()
        self.builder = TreeBuilder()
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.data
        self.parser.StartDoctypeDeclHandler = self.refuse

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self.depth and tag != self.outermost:
            raise ValueError(
                f"{self.name} is no {self.form} file: it holds <{tag}>, not <{self.outermost}>"
            )
        if self.depth >= _MAX_DEPTH:
            raise ValueError(f"{self.name} has elements within elements, {_MAX_DEPTH} and more")
        if self.depth == 1:
            self.builder = TreeBuilder()
        if self.depth:
            self.builder.start(tag, attributes)
        self.depth += 1

    def end(self, tag: str) -> None:
        self.depth -= 1
        if self.depth:
            self.builder.end(tag)
        if self.depth == 1:
            self.parts.append(self.builder.close())

    def data(self, text: str) -> None:
        if self.depth > 1:
            self.builder.data(text)

    def refuse(self, *_: Any) -> None:
        # Entities that stand for one another can grow to any size, or name other files.
        raise ValueError(
            f"{self.name} declares a document type, which {self.form} files don't; remove it"
        )
