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
    needs : {"map", "boxes", "masks", "oriented", "good"}
        What it learns from: a class for every pixel, objects with boxes, masks or oriented boxes,
        or images that are good.
    outputs : str
        What a model's outputs are called.
    default_head : str
        Head that is taken if none is named.
    forms : tuple of str
        Forms of annotations that predictions are written in, the usual one first.
    first_class : int, default=0
        Number of the first class that is told of; 1 where 0 is a background that isn't.
    fine_tuner : str or None, default=None
        Name of the estimator that trains the backbone too, if there is one.
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
    forms: tuple[str, ...]
    first_class: int = 0
    fine_tuner: str | None = None
    hub_task: str | None = None

    @property
    def has_objects(self) -> bool:
        """Whether it finds objects, each with a class and a score."""
        return self.needs in ("boxes", "masks", "oriented")

    @property
    def has_network(self) -> bool:
        """Whether it learns a neck and a head with gradients, from annotations."""
        return self.needs != "good"
