"""Annotations of images: a class for every pixel, boxes, oriented or not, masks; true or predicted.

A file of this folder is a format that they are read from and written to, and is found by being
here; it offers what `AnnotationForm` says.
"""

from transferkit.annotations._annotations import VOID, Annotations, AnnotationSet
from transferkit.annotations._classes import ClassEntry, ClassTable, class_table, is_background
from transferkit.annotations._faults import (
    FaultyAnnotations,
    annotation_faults,
    annotation_remarks,
    inspected,
)
from transferkit.annotations._form import AnnotationForm
from transferkit.annotations._masks import Masks
from transferkit.annotations._places import written_name
from transferkit.annotations._reading import (
    NoAnnotations,
    annotation_forms,
    read_annotations,
    write_annotations,
)
from transferkit.annotations._regions import Region

__all__ = [
    "VOID",
    "AnnotationForm",
    "AnnotationSet",
    "Annotations",
    "ClassEntry",
    "ClassTable",
    "FaultyAnnotations",
    "Masks",
    "NoAnnotations",
    "Region",
    "annotation_faults",
    "annotation_forms",
    "annotation_remarks",
    "class_table",
    "inspected",
    "is_background",
    "read_annotations",
    "write_annotations",
    "written_name",
]
