"""Annotations of images: a class for every pixel, boxes, masks; true or predicted.

A file of this folder is a format that they are read from and written to.
"""

from transferkit.annotations._annotations import VOID, Annotations, AnnotationSet

__all__ = ["VOID", "AnnotationSet", "Annotations"]
