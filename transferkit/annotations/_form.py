"""`AnnotationForm`: what a file format of annotations offers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._classes import ClassTable
from transferkit.images import ImageSet

__all__ = ["AnnotationForm"]


class AnnotationForm(Protocol):
    """The functions that a file of this folder offers.

    ``SUMMARY`` says what it is, for messages, such as ``"a folder of mask files"``. A form that
    is only written offers `write` alone, and one that is only read everything else. ``GIVES``
    names what can be read of it: ``"map"``, ``"boxes"``, ``"masks"``, ``"oriented"``, or
    ``"good"`` where it tells which images are good.
    """

    SUMMARY: str
    GIVES: frozenset[str]

    def accepts(self, given: Path) -> bool:
        """Whether a path is of this form. This is quick: no file is read."""

    def found(self, images: ImageSet) -> list[Path]:
        """Places in or beside the images' folder where annotations of this form stand."""

    def read(
        self, given: Sequence[Path], images: ImageSet, classes: ClassTable | None
    ) -> AnnotationSet:
        """List the annotations of the images; they are read when they are asked for.

        Parameters
        ----------
        given : sequence of Path
            What `accepts` says yes to, or what was `found`.
        images : ImageSet
            The images; the annotations come in their order.
        classes : ClassTable, optional
            Names, values and colours of the classes.
        """

    def write(
        self,
        path: Path,
        names: Iterable[str],
        annotations: Iterable[Annotations],
        classes: Sequence[str],
        **options: Any,
    ) -> None:
        """Write annotations, one image after the other.

        Parameters
        ----------
        path : Path
            The folder or file.
        names : iterable of str
            The images' names, as an `ImageSet` has them.
        annotations : iterable of Annotations
            One per name; no more than one of them is held in memory.
        classes : sequence of str
            Names of the classes, by number.
        **options
            What the form alone knows.
        """
