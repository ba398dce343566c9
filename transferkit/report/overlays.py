"""Pictures of annotations over their image: classes, objects, scores, beside the truth."""

from __future__ import annotations

import colorsys
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from transferkit.annotations import Annotations, is_background
from transferkit.images import read_rgb
from transferkit.metrics import found_and_missed
from transferkit.report.boxes import draw_boxes
from transferkit.report.masks import draw_masks
from transferkit.report.plates import CROWD, RGB

__all__ = ["class_colours", "heat", "overlay", "pair"]

# Colours that are told apart by most people, also by those who can't tell red from green
# (Okabe and Ito, 2008, "Color universal design"); further classes turn around the hues.
_COLOURS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178)),
    *((213, 94, 0), (204, 121, 167)),
)
_VOID_COLOUR = (128, 128, 128)
# A side of the picture is shrunk or enlarged to about this.
_LARGEST, _SMALLEST = 1600, 320
_FILL, _EDGE = 0.45, 1.0
_LEGEND_CLASSES = 24
# Contours of classes over a heat map, in a colour that the map doesn't have.
_OVER_HEAT = (0, 255, 255)
# What is drawn of annotations; of objects the first that there is.
_DRAWN = ("map", "masks", "oriented", "boxes")
# Dark violet, magenta, orange, light yellow, evenly spaced: the darker, the less.
_HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))


def class_colours(classes: Sequence[str]) -> list[RGB | None]:
    """Colours of classes; None for a background at 0, which isn't coloured.

    Parameters
    ----------
    classes : sequence of str
        Names of the classes, by number.

    Examples
    --------
    >>> class_colours(["background", "sky", "sea"])
    [None, (230, 159, 0), (86, 180, 233)]
    >>> class_colours(["sky", "sea"])
    [(230, 159, 0), (86, 180, 233)]
    """
    first: list[RGB | None] = [None] if classes and _stays_clear(classes[0]) else []
    colours = [*first, *_COLOURS]
    for i in range(len(colours), len(classes)):
        # A golden section of the circle on from the last hue: never near the last ones.
        hue = (i * 0.618034) % 1
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.8, (1.0, 0.75, 0.5)[i % 3])
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours[: len(classes)]


def _stays_clear(name: str) -> bool:
    return is_background(name) or name == "good"


def heat(scores: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Colour scores from dark to light.

    Parameters
    ----------
    scores : ndarray of float, shape (height, width)
        Larger is stranger; what isn't finite counts as `low`.
    low, high : float
        Scores that get the first and the last colour.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
    """
    span = high - low if high > low else 1.0
    share = np.nan_to_num((np.asarray(scores, dtype=np.float64) - low) / span, nan=0.0).clip(0, 1)
    stops = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(share, stops, [colour[c] for colour in _HEAT]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def overlay(
    image: Any,
    annotations: Annotations,
    classes: Sequence[str],
    *,
    truth: Annotations | None = None,
    score_range: tuple[float, float] | None = None,
    threshold: float = 0.0,
) -> Image.Image:
    """Draw annotations over their image, with a legend.

    Classes are colours with contours, and void is grey; a background at 0 stays as it is.
    Objects are filled, and those that touch have different shades, or have boxes; with their
    class and score. Scores of pixels are a heat map. With the truth the image itself, the truth
    and what was predicted stand beside one another; objects are dashed or hatched that nobody
    found, and those that are where no object of their class is.

    Parameters
    ----------
    image : path, bytes, PIL.Image.Image or ndarray
        The image, as `read_rgb` takes it.
    annotations : Annotations
        Of this image, in its px.
    classes : sequence of str
        Names of the classes, by number.
    truth : Annotations, optional
        What should have been found.
    score_range : (float, float), optional
        Scores that get the first and the last colour of the heat map; those of this image
        if not given, so that only pictures with one range can be compared.
    threshold : float, default=0
        Predicted objects of a lower score aren't drawn.

    Returns
    -------
    PIL.Image.Image
        RGB; its longer side is 320 px or more, with many objects 640, and 1,600 px or less before
        the parts are set side by side and the legend is added.

    Raises
    ------
    ValueError
        If the annotations are of another size than the image.

    Examples
    --------
    >>> import numpy as np
    >>> one = Annotations((40, 60), map=np.eye(40, 60, dtype=int))
    >>> overlay(np.zeros((40, 60, 3), np.uint8), one, ["background", "line"]).mode
    'RGB'
    """
    photo = _photo(image, annotations, truth)
    if annotations.scores is not None and annotations.labels is not None:
        annotations = annotations.select(annotations.scores >= threshold)
    truth = None if truth is None else _alike(truth, annotations)
    shown = [one for one in (annotations, truth) if one is not None]
    scale = _scale(photo, shown)
    missed, is_false = _not_paired(annotations, truth)
    how = "dashed" if annotations.masks is None else "hatched"
    parts = [_drawn(photo, annotations, classes, scale, score_range, is_false)]
    captions = [_caption("predicted", is_false, f"false ({how})") if truth is not None else ""]
    if truth is not None:
        true = _drawn(photo, truth, classes, scale, None, missed)
        parts = [_resized(photo, scale), true, *parts]
        captions = ["image", _caption("truth", missed, f"missed ({how})"), *captions]
    if annotations.score is not None:
        what = "confidence" if annotations.score_map is None else "score"
        captions[-1] = f"{captions[-1]} {what} {annotations.score:.3g}".strip()
    return _with_legend(_beside(parts, captions), _legend(shown, classes))


def pair(
    image: Any,
    annotations: Annotations,
    classes: Sequence[str],
    truth: Annotations | None,
    *,
    score_range: tuple[float, float] | None = None,
    largest: int = 480,
) -> Image.Image:
    """Draw the truth and what was predicted as one picture without words, for pages.

    The truth is on the left, or above where the image is much wider than it is high.

    Parameters
    ----------
    image, annotations, classes, score_range
        As for `overlay`.
    truth : Annotations or None
        What should have been found; None shows the image itself.
    largest : int, default=480
        The longer side of either part, px.

    Raises
    ------
    ValueError
        As `overlay` does.

    Examples
    --------
    >>> import numpy as np
    >>> one = Annotations((40, 60), map=np.eye(40, 60, dtype=int))
    >>> pair(np.zeros((40, 60, 3), np.uint8), one, ["background", "line"], one, largest=60).size
    (60, 84)
    """
    photo = _photo(image, annotations, truth)
    true = Annotations(annotations.size) if truth is None else _alike(truth, annotations)
    scale = min(largest / max(photo.size), _scale(photo, [annotations, true]))
    missed, is_false = _not_paired(annotations, true)
    parts = (
        _drawn(photo, true, classes, scale, None, missed),
        _drawn(photo, annotations, classes, scale, score_range, is_false),
    )
    (width, height), gap = parts[0].size, 4
    is_stacked = width > 1.4 * height
    step = (0, height + gap) if is_stacked else (width + gap, 0)
    sheet = Image.new("RGB", (width + step[0], height + step[1]), _VOID_COLOUR)
    for i, part in enumerate(parts):
        sheet.paste(part, (i * step[0], i * step[1]))
    return sheet


def _photo(image: Any, annotations: Annotations, truth: Annotations | None) -> Image.Image:
    """The image, if it is the one that the annotations are of."""
    photo = read_rgb(image)
    for what, one in (("annotations", annotations), ("truth", truth)):
        if one is not None and tuple(one.size) != (photo.height, photo.width):
            raise ValueError(
                f"{what} of {one.size[0]} × {one.size[1]} px for an image of {photo.height} × "
                f"{photo.width}; give those of this image"
            )
    return photo


def _alike(truth: Annotations, predicted: Annotations) -> Annotations:
    """The truth without what wasn't predicted: files of masks tell of boxes and of classes too."""
    absent: dict[str, Any] = {name: None for name in _DRAWN if getattr(predicted, name) is None}
    return dataclasses.replace(truth, **absent)


def _not_paired(
    annotations: Annotations, truth: Annotations | None
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Whether each true object is missed, and each predicted one false; None without objects."""
    if truth is None or truth.labels is None or annotations.scores is None:
        return None, None
    return found_and_missed(annotations, truth)


def _caption(what: str, is_odd: NDArray[np.bool_] | None, why: str) -> str:
    return what if is_odd is None else f"{what}: {is_odd.sum():,} of {len(is_odd):,} {why}"


# ---- one picture ------------------------------------------------------------------------


def _scale(photo: Image.Image, shown: Sequence[Annotations]) -> float:
    longer = max(photo.size)
    # Many objects need room between their lines.
    is_crowded = any(one.labels is not None and len(one.labels) > CROWD for one in shown)
    smallest = 2 * _SMALLEST if is_crowded else _SMALLEST
    return min(_LARGEST / longer, max(1.0, float(-(-smallest // longer))))


def _resized(photo: Image.Image, scale: float) -> Image.Image:
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return photo if size == photo.size else photo.resize(size, how)


def _nearest(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Values of a picture (width, height), each that of the nearest pixel."""
    rows = (np.arange(size[1]) + 0.5) * values.shape[0] / size[1]
    columns = (np.arange(size[0]) + 0.5) * values.shape[1] / size[0]
    nearest: NDArray[Any] = values[np.ix_(rows.astype(int), columns.astype(int))]
    return nearest


def _drawn(
    photo: Image.Image,
    one: Annotations,
    classes: Sequence[str],
    scale: float,
    score_range: tuple[float, float] | None,
    is_odd: NDArray[np.bool_] | None,
) -> Image.Image:
    colours = class_colours(classes)
    small = _resized(photo, scale)
    canvas = np.asarray(small).astype(np.float32)
    if one.score_map is not None:
        canvas = _heated(canvas, _nearest(one.score_map, small.size), score_range)
    if one.map is not None and one.masks is None:
        shown = _nearest(one.map, small.size)
        canvas = _coloured(canvas, shown, colours, has_heat=one.score_map is not None)
    picture = Image.fromarray(canvas.round().clip(0, 255).astype(np.uint8))
    if one.masks is not None and one.labels is not None:
        draw_masks(picture, one, classes, colours, is_hatched=is_odd)
    elif one.labels is not None and (one.oriented is not None or one.boxes is not None):
        draw_boxes(picture, one, classes, colours, scale, is_dashed=is_odd)
    return picture


def _heated(
    canvas: NDArray[np.float32],
    scores: NDArray[Any],
    score_range: tuple[float, float] | None,
) -> NDArray[np.float32]:
    """Lay scores over a picture: the higher they are, the less of it can be seen."""
    known = scores[np.isfinite(scores)]
    if score_range is None:
        score_range = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    low, high = score_range
    share = np.nan_to_num((scores - low) / (high - low if high > low else 1.0)).clip(0, 1)
    strength = (0.25 + 0.6 * share)[..., None]
    # The photo is grey beneath, or its colours would be taken for scores.
    mixed: NDArray[Any] = (
        canvas.mean(2, keepdims=True) * (1 - strength) + heat(scores, low, high) * strength
    )
    return mixed.astype(np.float32)


def _coloured(
    canvas: NDArray[np.float32],
    shown: NDArray[Any],
    colours: Sequence[RGB | None],
    *,
    has_heat: bool,
) -> NDArray[np.float32]:
    """Lay the colours of classes over a picture; over a heat map their contours alone."""
    palette = np.array([c or (0, 0, 0) for c in [*colours, _VOID_COLOUR]], dtype=np.float32)
    fills = np.array([0.0 if c is None else _FILL for c in [*colours, _VOID_COLOUR]])
    numbers = np.where(shown < 0, len(colours), shown)
    painted, strength = palette[numbers], fills[numbers]
    # The contour is drawn on the side of the classes, not on those of background and void.
    is_edge = _edges(shown) & (strength > 0) & (shown >= 0)
    strength = np.where(is_edge, _EDGE, 0.0 if has_heat else strength)
    if has_heat:
        painted = np.where(is_edge[..., None], np.array(_OVER_HEAT), painted)
    mixed: NDArray[Any] = canvas * (1 - strength[..., None]) + painted * strength[..., None]
    return mixed.astype(np.float32)


def _edges(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of which a neighbour above, below, left or right has another value."""
    edge = np.zeros(values.shape, dtype=bool)
    down, right = values[1:] != values[:-1], values[:, 1:] != values[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


# ---- captions and legend ----------------------------------------------------------------


def _beside(parts: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Set pictures of one size side by side, each under its caption."""
    font = _font()
    top = 22 if any(captions) else 0
    gap = 8
    width, height = parts[0].size
    sheet = Image.new("RGB", (len(parts) * width + (len(parts) - 1) * gap, height + top), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (part, caption) in enumerate(zip(parts, captions, strict=True)):
        sheet.paste(part, (i * (width + gap), top))
        draw.text((i * (width + gap) + 2, 3), caption, fill="black", font=font)
    return sheet


def _font() -> Any:
    return ImageFont.load_default(14)


def _legend(shown: Sequence[Annotations], classes: Sequence[str]) -> list[tuple[str, RGB]]:
    """Names and colours of the classes that occur; those in most pixels, if there are many."""
    counts = np.zeros(len(classes), dtype=np.int64)
    has_void = False
    for one in shown:
        if one.map is not None:
            counts += np.bincount(one.map[one.map >= 0].ravel(), minlength=len(classes))
            has_void |= bool((one.map < 0).any())
        if one.labels is not None:
            counts += np.bincount(np.asarray(one.labels, dtype=int), minlength=len(classes))
    most = sorted(np.argsort(-counts, kind="stable")[:_LEGEND_CLASSES].tolist())
    colours = class_colours(classes)
    named = [(classes[i], c) for i in most if counts[i] and (c := colours[i]) is not None]
    return [*named, ("void", _VOID_COLOUR)] if has_void else named


def _with_legend(picture: Image.Image, entries: Sequence[tuple[str, RGB]]) -> Image.Image:
    """Write the classes' names below a picture, in as many lines as they need."""
    if not entries:
        return picture
    font, line, swatch = _font(), 22, 14
    places, left, top = [], 4, 0
    for name, _ in entries:
        width = swatch + 10 + round(font.getlength(name[:40])) + 10
        if left > 4 and left + width > picture.width:
            left, top = 4, top + line
        places.append((left, top))
        left += width
    sheet = Image.new("RGB", (picture.width, picture.height + top + line + 2), "white")
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for (name, colour), (x, y) in zip(entries, places, strict=True):
        at = picture.height + y + 4
        draw.rectangle((x, at, x + swatch, at + swatch), fill=colour, outline="black")
        draw.text((x + swatch + 5, at - 1), name[:40], fill="black", font=font)
    return sheet
