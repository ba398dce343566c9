"""How masks tell classes: by values, by white and black, by places in a palette or by colours."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.annotations._annotations import VOID
from transferkit.annotations._classes import ClassTable, is_background
from transferkit.annotations._pixels import MaskPixels, pack, unpack

__all__ = ["MaskCoding", "MaskSample", "coding_of", "sample_of"]

_UNKNOWN = -2
_SHOWN = 8
# A grey mask whose edges are blurred has many values, and nearly all pixels at both ends.
_MANY_VALUES, _NEARLY_ALL, _LIGHT = 8, 0.9, 200
# Fewer of the values up to the largest than this, and they are hardly numbers of classes.
_MIN_SHARE, _FEW_CLASSES = 0.25, 32
# Void in the palette of Pascal VOC (Everingham et al., 2010), where its place is 255.
_VOC_VOID = 0xE0E0C0
# Void in masks of 8 and of 16 bits.
_VOIDS = (255, 65_535)

logger = logging.getLogger(__name__)


@dataclass
class MaskSample:
    """What stands in some of the masks.

    Parameters
    ----------
    grey, palette, colour : Counter
        Number of pixels of each value that occurs, by the kind of mask.
    depth : int
        Largest value that a pixel can have.
    is_lossy : bool
        Whether any mask's format changes values.
    """

    grey: Counter[int] = field(default_factory=Counter)
    palette: Counter[int] = field(default_factory=Counter)
    colour: Counter[int] = field(default_factory=Counter)
    depth: int = 1
    is_lossy: bool = False

    @property
    def colours(self) -> set[int]:
        """Colours that aren't grey, as numbers."""
        return {code for code in self.colour if len(set(unpack(code))) > 1}

    @property
    def values(self) -> Counter[int]:
        """Pixels by value; of masks of colours, by red, which grey ones have in all channels."""
        every = self.grey + self.palette
        for code, n in self.colour.items():
            every[unpack(code)[0]] += n
        return every

    @property
    def is_blurred(self) -> bool:
        """Whether the masks are black and white, with something between at the edges."""
        if self.palette or self.colours:
            return False
        values = self.values
        between = {value: n for value, n in values.items() if value not in (0, 255)}
        n_between = sum(between.values())
        # Numbers of classes are small ones, and void isn't more than all of them together.
        is_spread = len(between) > _MANY_VALUES and max(between) >= _LIGHT
        return is_spread and n_between < min(values[255], (1 - _NEARLY_ALL) * values.total())

    @property
    def is_black_and_white(self) -> bool:
        """Whether nearly all pixels are about black or about white, and some are white."""
        values = self.values
        n_light = sum(n for value, n in values.items() if value >= _LIGHT)
        n_dark = sum(n for value, n in values.items() if value < 255 - _LIGHT)
        has_colour = any(max(unpack(c)) - min(unpack(c)) > 255 - _LIGHT for c in self.colour)
        is_clear = n_light + n_dark >= _NEARLY_ALL * values.total()
        return is_clear and n_light > 0 and not has_colour


def sample_of(masks: Iterable[MaskPixels]) -> MaskSample:
    """Count the values in some masks."""
    sample = MaskSample()
    for mask in masks:
        # Neighbours are mostly alike, so that runs of them are much fewer than pixels.
        flat = mask.values.ravel()
        starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
        lengths = np.diff(np.append(starts, len(flat)))
        values, place = np.unique(flat[starts], return_inverse=True)
        counts = np.bincount(place, weights=lengths).astype(np.int64)
        counter: Counter[int] = getattr(sample, mask.kind)
        counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        sample.depth = max(sample.depth, mask.depth)
        sample.is_lossy |= mask.is_lossy
    return sample


@dataclass(frozen=True, eq=False)
class MaskCoding:
    """From what stands in masks to classes.

    Parameters
    ----------
    names : tuple of str
        Names of the classes.
    values : mapping of int to int
        Class, or `VOID`, of a value in masks of one channel.
    colours : mapping of int to int
        The same of a colour, as a number.
    by_palette : bool, default=False
        Whether masks with a palette are read by its colours, not by their places in it.
    threshold : int, optional
        Value from which on a pixel is of class 1 and below which of class 0, whatever
        `values` says: of masks that are black and white with blurred edges.
    """

    names: tuple[str, ...]
    values: Mapping[int, int]
    colours: Mapping[int, int]
    by_palette: bool = False
    threshold: int | None = None

    def map_of(self, mask: MaskPixels) -> NDArray[Any]:
        """Return the class of every pixel.

        Raises
        ------
        ValueError
            If a value or a colour stands for no class.
        """
        dtype = np.int16 if len(self.names) < 2**15 else np.int32
        values, kind = mask.values, mask.kind
        if self.threshold is not None:
            if kind == "colour":
                values = values >> 16
            return (values >= (1 if mask.depth == 1 else self.threshold)).astype(dtype)
        if kind == "palette" and self.by_palette and mask.palette is not None:
            # Places behind the palette's end have no colour: they stay unknown.
            palette = np.full(256, -1, dtype=np.int64)
            palette[: len(mask.palette)] = mask.palette
            values, kind = palette[values], "colour"
        table = self.colours if kind == "colour" else self.values
        classes = _looked_up(values, table, dtype)
        if (unknown := classes == _UNKNOWN).any():
            raise ValueError(self._complaint(values[unknown], kind))
        return classes

    def _complaint(self, unknown: NDArray[Any], kind: str) -> str:
        values, counts = np.unique(unknown, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_SHOWN]
        shown = ", ".join(f"{_shown(values[i], kind)} ({counts[i]:,} px)" for i in order)
        table = self.colours if kind == "colour" else self.values
        known = [
            f"{_shown(value, kind)} {self.names[number] if number != VOID else 'void'}"
            for value, number in list(table.items())[:_SHOWN]
        ]
        more = " …" * (len(table) > _SHOWN)
        what = "colour" if kind == "colour" else "value"
        return (
            f"{what} {shown} stands for no class; known are {', '.join(known)}{more}; "
            f"correct the mask, or add it to the class table (classes)"
        )


def _shown(value: int, kind: str) -> str:
    return str(unpack(value)) if kind == "colour" and value >= 0 else str(value)


def _looked_up(values: NDArray[Any], table: Mapping[int, int], dtype: Any) -> NDArray[Any]:
    if values.dtype == np.uint8:
        lookup = np.full(256, _UNKNOWN, dtype=dtype)
        for value, number in table.items():
            if 0 <= value < 256:
                lookup[value] = number
        looked_up: NDArray[Any] = lookup[values]
        return looked_up
    keys = np.array(sorted(table), dtype=np.int64)
    numbers = np.array([table[key] for key in keys.tolist()], dtype=dtype)
    at = np.searchsorted(keys, values).clip(0, len(keys) - 1)
    return np.where(keys[at] == values, numbers[at], np.array(_UNKNOWN, dtype))


# ---- which coding ---------------------------------------------------------------------


def coding_of(sample: MaskSample, table: ClassTable | None) -> MaskCoding:
    """Find out how masks tell classes.

    Parameters
    ----------
    sample : MaskSample
        Of all of the masks, or of many.
    table : ClassTable, optional
        The classes, if they were given.

    Raises
    ------
    ValueError
        If it can't be told from the masks alone.
    """
    is_of_two = table is None or len(table.names) <= 2
    if sample.is_lossy and not (is_of_two and sample.is_black_and_white):
        raise ValueError(
            "some masks are JPEGs, whose values aren't exact, and they aren't black and white; "
            "save the masks as PNG"
        )
    if is_of_two and (sample.is_lossy or sample.is_blurred):
        return _black_and_white(table)
    return _without_table(sample) if table is None else _with_table(sample, table)


def _black_and_white(table: ClassTable | None) -> MaskCoding:
    names = ("background", "foreground") if table is None else table.names
    if len(names) == 1:
        names = ("background", *names)
    return MaskCoding(names, {0: 0, 255: 1}, {}, threshold=128)


def _without_table(sample: MaskSample) -> MaskCoding:
    if sample.colours:
        found = ", ".join(str(unpack(code)) for code in sorted(sample.colours)[:_SHOWN])
        raise ValueError(
            f"the masks tell classes by colours ({found}), and nothing names them; give a class "
            "table with a line 'name red green blue' for each (classes)"
        )
    if (white := _white_of(sample)) is not None:
        return _named(("background", "foreground"), {0: 0, white: 1})
    largest = _largest(sample)
    values = {v for v in sample.values if v == largest or v not in (VOID, *_VOIDS)}
    if min(values, default=0) < 0 or (
        largest >= _FEW_CLASSES and len(values) < _MIN_SHARE * (largest + 1)
    ):
        shown = ", ".join(map(str, sorted(sample.values)[:_SHOWN]))
        raise ValueError(
            f"the masks hold the values {shown}, which don't look like numbers of classes from 0; "
            "give a class table with the value of each (classes={'name': value})"
        )
    n = max(2, largest + 1)
    several = ("background", *(f"class {i}" for i in range(1, n)))
    names = several if n > 2 else ("background", "foreground")
    return _named(names, {**_void_values(n), **{i: i for i in range(n)}})


def _white_of(sample: MaskSample) -> int | None:
    """Value of white in masks that hold nothing but black and white; None in all others."""
    values = set(sample.values)
    is_white = not sample.palette and bool(values) and values <= {0, max(values)}
    return max(values) if is_white and max(values) in _VOIDS else None


def _largest(sample: MaskSample) -> int:
    """Largest value that is no void; 255 is a class where larger ones are."""
    beside = [value for value in sample.values if value not in _VOIDS]
    return max(beside, default=0)


def _void_values(n_classes: int) -> dict[int, int]:
    """Values that mean void beside a number of classes."""
    return dict.fromkeys((VOID, 65_535, *((255,) if n_classes <= 255 else ())), VOID)


def _named(names: tuple[str, ...], values: dict[int, int]) -> MaskCoding:
    """Coding by values, which masks of grey colours hold in each channel."""
    colours = {value * 0x010101: number for value, number in values.items() if 0 <= value < 256}
    return MaskCoding(names, values, {**colours, _VOC_VOID: VOID})


def _with_table(sample: MaskSample, table: ClassTable) -> MaskCoding:
    names = table.names
    kept = iter(range(len(names)))
    numbers = [VOID if entry.is_void else next(kept) for entry in table.entries]
    by_value = _values_of(sample, table, numbers)
    if max(by_value.values(), default=0) == len(names):
        names = ("background", *names)
        logger.info("%s names the classes from 1 on; 0 is called background", table.source)
    by_value = {**_void_values(len(names)), **by_value}
    by_colour = {
        int(pack(np.array(entry.colour))): number
        for entry, number in zip(table.entries, numbers, strict=True)
        if entry.colour is not None
    }
    if not by_colour:
        return _named(names, by_value)
    # Grey masks beside a table of colours: by colour, if all that occur are in it.
    greys = {value * 0x010101: value for value in sample.grey}
    if greys and set(greys) <= set(by_colour):
        by_value = {value: by_colour[code] for code, value in greys.items()}
    colours = {_VOC_VOID: VOID, **by_colour}
    return MaskCoding(names, by_value, colours, by_palette=not table.has_values)


def _values_of(sample: MaskSample, table: ClassTable, numbers: list[int]) -> dict[int, int]:
    """Class of each value: as the table says, or else by the place in it.

    Where only the classes beside a background are named, it is added as class 0.
    """
    names_background = any(map(is_background, table.names))
    shifted = [number if number == VOID else number + 1 for number in numbers]
    if table.has_values:
        values = [entry.value for entry in table.entries]
        adds = 0 not in values and 0 in sample.values and not names_background
        pairs = zip(values, shifted if adds else numbers, strict=True)
        found = {value: number for value, number in pairs if value is not None}
        return {0: 0, **found} if adds else found
    white = _white_of(sample)
    if white is not None and len(table.entries) <= 2 and not table.has_colours:
        return {0: 0, white: 1}
    if _largest(sample) == len(numbers) and not names_background and not table.has_colours:
        return {0: 0, **{i + 1: number for i, number in enumerate(shifted)}}
    return dict(enumerate(numbers))
