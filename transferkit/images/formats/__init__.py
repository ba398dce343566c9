"""Formats of images that PIL doesn't read, or reads with 8 bits: one file each.

A file of this folder has the functions that `ArrayFormat` describes.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

from transferkit import registry
from transferkit.images.values import ImageValues

__all__ = ["ArrayFormat", "format_of"]


class ArrayFormat(Protocol):
    """The functions of a file of this folder.

    Attributes
    ----------
    SUFFIXES : tuple of str
        How its files' names end.
    IS_PIL_FIRST : bool
        Whether PIL reads such files too, and does where images become 8-bit RGB.
    """

    SUFFIXES: tuple[str, ...]
    IS_PIL_FIRST: bool

    def accepts(self, data: bytes) -> bool:
        """Whether a file's bytes, of which the first 132 are enough, are of this format."""
        ...

    def shape(self, data: bytes, layout: str) -> tuple[int, int, int]:
        """Height, width and number of channels, from the header."""
        ...

    def read(self, data: bytes, layout: str) -> ImageValues:
        """Decode a file's bytes.

        Raises
        ------
        ImageError
            If the file is damaged, or of a kind that isn't read; or if the library isn't
            installed, with the command that installs it.
        """
        ...


def format_of(data: bytes) -> ArrayFormat | None:
    """Format of a file's bytes, of which the first 132 are enough; None if it is PIL's."""
    return next((form for form in _formats() if form.accepts(data)), None)


@functools.cache
def _formats() -> tuple[ArrayFormat, ...]:
    loaded: list[Any] = [
        registry.load(__name__, name, "image format") for name in registry.names(__name__)
    ]
    return tuple(loaded)
