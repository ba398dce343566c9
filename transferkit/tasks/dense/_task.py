"""`DenseTask` describes a task whose predictions are `Annotations`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DenseTask"]


@dataclass(frozen=True)
class DenseTask:
    """One kind of annotation that can be learnt from images.

    Parameters
    ----------
    name : str
        The file's name.
    summary : str
        Short description of a model of this task, with ``{n}`` for the number of its classes.
    estimator : str
        Name of the estimator in `transferkit.estimators` that learns it from frozen maps.
    heads : str
        Folder of its heads, a dotted name.
    needs : {"map", "boxes", "good"}
        What it learns from: a class for every pixel, objects with boxes, or images that are good.
    outputs : str
        What a model's outputs are called.
    default_head : str
        Head that is taken if none is named.
    hub_task : str or None, default=None
        The task's name on the model hub, if it has one there.
    """

    name: str
    summary: str
    estimator: str
    heads: str
    needs: str
    outputs: str
    default_head: str
    hub_task: str | None = None
