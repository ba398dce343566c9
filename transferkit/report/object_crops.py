"""Cut-outs of an image around what was found wrongly, and around what was missed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from transferkit.annotations import Annotations
from transferkit.images import Frame, corners_of_oriented, upright_of_oriented
from transferkit.metrics import BOXES, MASKS, ORIENTED, Shapes, found_and_missed
from transferkit.report.page import Picture
from transferkit.report.text import printable
from transferkit.report.thumbnails import thumbnail

__all__ = ["false_crops", "missed_crops"]

Array = NDArray[Any]
Box = tuple[int, int, int, int]

_SIDE = 240
# The cut-out's side in sides of the object, its least one in px, and the most that px are enlarged.
_AROUND, _LEAST, _ENLARGED = 2.2, 40, 6.0
_THICK, _THIN = 4, 2
# Two colours that are told apart by most people (Okabe and Ito, 2008).
_FOUND, _TRUE, _DARK = (255, 176, 0), (86, 200, 255), (0, 0, 0)
# Overlaps from which on an object is found, and from which on two things are near.
_HIT, _NEAR = 0.5, 0.1


def false_crops(
    photo: Image.Image,
    found: Annotations,
    truth: Annotations,
    classes: tuple[str, ...],
    n: int,
    name: str,
) -> list[tuple[float, Picture]]:
    """Cut out the surest detections that find no object, each with what is near it.

    Parameters
    ----------
    photo : PIL.Image.Image
        The image.
    found, truth : Annotations
        What is believed of it, and what is there.
    classes : tuple of str
        Names of the classes, by number.
    n : int
        How many.
    name : str
        The image's.

    Returns
    -------
    list of (float, Picture)
        Each with its score.
    """
    shapes, overlaps = _overlaps(found, truth)
    _, is_false = found_and_missed(found, truth, shapes=shapes)
    assert found.scores is not None
    assert found.labels is not None
    assert truth.labels is not None
    order = np.flatnonzero(is_false)
    pictures = []
    for d in order[np.argsort(-found.scores[order], kind="stable")][:n].tolist():
        image = _cut(photo, _upright(found, shapes)[d], shapes, found=found, truth=truth, thick=d)
        label, score = int(found.labels[d]), float(found.scores[d])
        near = overlaps[d]
        reason = _why_false(near, truth.labels == label, truth.labels, classes)
        title = f"{classes[label]} {score:.2f}"
        pictures.append((score, Picture(image, printable(title), [reason, printable(name)])))
    return pictures


def missed_crops(
    photo: Image.Image,
    found: Annotations,
    truth: Annotations,
    classes: tuple[str, ...],
    n: int,
    name: str,
    threshold: float,
) -> list[tuple[float, Picture]]:
    """Cut out the largest objects that nobody found, each with what is near it.

    Parameters
    ----------
    photo, truth, classes, n, name
        As for `false_crops`.
    found : Annotations
        All that was found on the image, whatever its score.
    threshold : float
        Score from which on it is believed.

    Returns
    -------
    list of (float, Picture)
        Each with the share of the image that the object's box covers.
    """
    assert found.scores is not None
    assert found.labels is not None
    assert truth.labels is not None
    believed = found.select(found.scores >= threshold)
    shapes, overlaps = _overlaps(found, truth)
    is_missed, _ = found_and_missed(believed, truth, shapes=shapes)
    boxes = _upright(truth, shapes)
    sides = boxes[:, 2:] - boxes[:, :2]
    shares = _areas(truth, shapes, sides) / float(np.prod(truth.size))
    order = np.flatnonzero(is_missed)
    pictures = []
    for k in order[np.argsort(-shares[order], kind="stable")][:n].tolist():
        image = _cut(photo, boxes[k], shapes, found=believed, truth=truth, thick=k, of_truth=True)
        label = int(truth.labels[k])
        reason = _why_missed(overlaps[:, k], found.labels, found.scores, label, classes)
        width, height = sides[k].round().astype(int).tolist()
        title = printable(f"{classes[label]}, {width} × {height} px")
        pictures.append((float(shares[k]), Picture(image, title, [reason, printable(name)])))
    return pictures


# ---- why ----------------------------------------------------------------------------


def _why_false(near: Array, is_same: Array, labels: Array, classes: tuple[str, ...]) -> str:
    """Why a detection finds no object, by its overlaps with all of them."""
    same, other = (float(near[part].max(initial=0.0)) for part in (is_same, ~is_same))
    if same >= _HIT:
        return "a second one for an object"
    if other >= _HIT:
        k = int(np.where(is_same, -1.0, near).argmax())
        return printable(f"annotated as {classes[int(labels[k])]}")
    if same >= _NEAR:
        return f"overlaps its object by {same:.2f} only"
    if other >= _NEAR:
        return f"overlaps another class by {other:.2f}"
    return "nothing is annotated here"


def _why_missed(
    near: Array, labels: Array, scores: Array, label: int, classes: tuple[str, ...]
) -> str:
    """Why an object isn't found, by the overlaps of all detections with it."""
    is_same, is_hit = labels == label, near >= _HIT
    if (is_same & is_hit).any():
        return f"found with a score of {scores[is_same & is_hit].max():.2f}"
    if is_hit.any():
        d = int(np.where(is_hit, scores, -1.0).argmax())
        return printable(f"taken for {classes[int(labels[d])]} ({scores[d]:.2f})")
    best = float(near.max(initial=0.0))
    if best >= _NEAR:
        d = int(near.argmax())
        return f"nearest: overlap {best:.2f}, score {scores[d]:.2f}"
    return "nothing is found here"


# ---- where --------------------------------------------------------------------------


def _overlaps(found: Annotations, truth: Annotations) -> tuple[Shapes, Array]:
    """What objects are held in, and how much each detection overlaps with each of them."""
    shapes = next(
        (
            one
            for one in (MASKS, ORIENTED)
            if getattr(found, one.held) is not None and getattr(truth, one.held) is not None
        ),
        BOXES,
    )
    assert truth.labels is not None
    return shapes, shapes.overlaps(found, truth, np.zeros(len(truth.labels), dtype=bool))


def _upright(objects: Annotations, shapes: Shapes) -> Array:
    """Upright boxes around objects, px."""
    if shapes.held == "masks":
        assert objects.masks is not None
        return objects.masks.boxes
    if shapes.held == "oriented":
        assert objects.oriented is not None
        return upright_of_oriented(objects.oriented)
    assert objects.boxes is not None
    return np.asarray(objects.boxes, dtype=float)


def _areas(objects: Annotations, shapes: Shapes, sides: Array) -> Array:
    """Areas of the objects' boxes, turned ones if there are; px²."""
    if shapes.held != "oriented":
        areas: Array = sides.prod(axis=1)
        return areas
    assert objects.oriented is not None
    turned: Array = objects.oriented[:, 2:4].prod(axis=1)
    return turned


def _window(box: Array, size: tuple[int, int]) -> Box:
    """Left, top, right and bottom px of a square around a box, as far as it is in the image."""
    side = max(int(np.ceil(_AROUND * max(box[2] - box[0], box[3] - box[1]))), _LEAST)
    height, width = size
    edges = []
    for low, high, limit in ((box[0], box[2], width), (box[1], box[3], height)):
        # Moved inwards at the image's edge, so that the picture stays a square if it can.
        start = min(max(int((low + high - side) / 2), 0), max(limit - side, 0))
        edges.append((start, min(start + side, limit)))
    (left, right), (top, bottom) = edges
    return left, top, max(right, left + 1), max(bottom, top + 1)


# ---- drawing ------------------------------------------------------------------------


def _cut(
    photo: Image.Image,
    box: Array,
    shapes: Shapes,
    *,
    found: Annotations,
    truth: Annotations,
    thick: int,
    of_truth: bool = False,
) -> bytes:
    """Cut a box out of an image, with the outlines of what is found and of what is there."""
    window = _window(box, (photo.height, photo.width))
    left, top, right, bottom = window
    scale = min(_SIDE / max(right - left, bottom - top), _ENLARGED)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    picture = photo.crop(window).resize(size, Image.Resampling.BICUBIC)
    frame = Frame((scale, scale), (-left * scale, -top * scale))
    draw = ImageDraw.Draw(picture)
    for is_thick in (False, True):  # what it is about comes last, on top
        for objects, colour, is_own in ((truth, _TRUE, of_truth), (found, _FOUND, not of_truth)):
            boxes = _upright(objects, shapes)
            is_seen = (boxes[:, :2] < (right, bottom)).all(1) & (boxes[:, 2:] > (left, top)).all(1)
            is_it = (np.arange(len(boxes)) == thick) & is_own
            chosen = objects.select(np.flatnonzero(is_seen & (is_it == is_thick)))
            for outline in _outlines(chosen, shapes, frame, (size[1], size[0])):
                _draw(draw, outline, colour, _THICK if is_thick else _THIN, shapes)
    return thumbnail(picture, _SIDE)


def _outlines(
    objects: Annotations, shapes: Shapes, frame: Frame, size: tuple[int, int]
) -> Iterator[Array]:
    """Corners of the boxes of objects in the cut-out, or the pixels of each mask's border."""
    moved = objects.moved(frame, size)
    if shapes.held == "masks":
        assert moved.masks is not None
        for region in moved.masks.regions:
            padded = np.pad(region.pixels, 1)
            inner = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
            rows, columns = np.nonzero(region.pixels & ~inner)
            yield np.stack([columns + region.left, rows + region.top], axis=1)
    elif shapes.held == "oriented":
        assert moved.oriented is not None
        yield from corners_of_oriented(moved.oriented)
    else:
        assert moved.boxes is not None
        for left, top, right, bottom in moved.boxes.tolist():
            yield np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _draw(
    draw: ImageDraw.ImageDraw,
    outline: Array,
    colour: tuple[int, int, int],
    width: int,
    shapes: Shapes,
) -> None:
    if shapes.held != "masks":
        points = [tuple(point) for point in outline.clip(-2000, 2000).tolist()]
        closed = [*points, points[0], points[1]]
        draw.line(closed, fill=_DARK, width=width + 2)
        draw.line(closed, fill=colour, width=width, joint="curve")
        return
    before = (width - 1) // 2
    for grown, fill in ((1, _DARK), (0, colour)):
        low, high = before + grown, width - 1 - before + grown
        for x, y in outline.tolist():
            draw.rectangle((x - low, y - low, x + high, y + high), fill=fill)
