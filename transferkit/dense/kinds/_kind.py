"""`ObjectKind`: how objects are told, as targets of a head and as annotations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transferkit.annotations import Annotations
from transferkit.images import Frame
from transferkit.metrics import Shapes

__all__ = ["ObjectKind"]


@dataclass(frozen=True)
class ObjectKind:
    """What a task that finds objects makes of annotations and of detections.

    Parameters
    ----------
    held : callable
        ``held(annotations)``: what is kept in memory of an image's annotations while a network
        is trained, of which `target` makes the targets of all its views.
    target : callable
        ``target(held, frame, size)``: a target as the task's heads take it, a dict with
        ``boxes`` and ``labels`` at least. The frame takes the image's px to the input's, of a
        height and width ``size``.
    found : callable
        ``found(detections, i, frame, size)``: the detections of the i-th image of a batch as
        annotations in the image's px; the frame takes the image's px to the input's, and
        ``size`` is the image's.
    truth : callable
        ``truth(target, size)``: a target as annotations, in the input's px.
    shifted : callable
        ``shifted(target, x, y, size)``: a target as that of a larger input, of which the former
        one, of a height and width ``size``, is the part that begins x px from the left and y px
        from the top.
    united : callable
        ``united(annotations)``: the pieces of one object, the best first, as one: what is
        around all of them. Its label and its score are the first one's.
    shapes : Shapes
        What overlap and area are measured on.
    """

    held: Callable[[Annotations], Any]
    target: Callable[[Any, Frame, tuple[int, int]], Any]
    found: Callable[[Any, int, Frame, tuple[int, int]], Annotations]
    truth: Callable[[Any, tuple[int, int]], Annotations]
    shifted: Callable[[Any, float, float, tuple[int, int]], Any]
    united: Callable[[Annotations], Annotations]
    shapes: Shapes
