"""Views of images: what is done to the network's input before it goes through the network.

The features of a view are rows like any other, under a key in which the view's number stands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transferkit.images import Frame, warped
from transferkit.spec import Preprocess

__all__ = ["MIRRORED", "View", "mirrored", "turned", "zoomed"]

MIRRORED = 1000
"""Number of the mirrored view.

It reads as the numbers of `transferkit.finetune`: the fourth digit from the right is 1 for a
flip, and the last three count random views. These count from 001 to 999 and here are 000, so no
random view has this number. The other views of this module are further multiples of 1000.
"""

# Smallest and largest factor of a zoom, by the thousands of the view's number.
_FACTORS = {2: (0.5, 0.9), 4: (1.1, 1.6)}


@dataclass(frozen=True)
class View:
    """A changed view of every image.

    Parameters
    ----------
    number : int
        Stands in the key, and so must tell all that decides the view's pixels.
    change : callable
        From an image's row id and pixels ``(H, W, C)`` to the view's, of the same shape and type.
        It is called in several threads at a time.
    frame : callable, optional
        From an image's row id to the `Frame` that maps the px of the plain input to the view's:
        a crop that is resized, a flip. Without it nothing is known of where the view's pixels
        come from.
    """

    number: int
    change: Callable[[bytes, np.ndarray], np.ndarray]
    frame: Callable[[bytes], Frame] | None = None


def mirrored(preprocess: Preprocess) -> View:
    """Mirror the network's input, left to right, of every image in the same way.

    Heads on cached maps can't flip images any more, because a network's map of a mirrored image
    isn't the mirrored map. The flip is a second row instead.

    Parameters
    ----------
    preprocess : Preprocess
        Of the backbone: the width of its input decides the frame.

    Examples
    --------
    A point 10 px from the input's left edge is 10 px from the right edge of the mirrored one:

    >>> preprocess = Preprocess((224, 320), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    >>> view = mirrored(preprocess)
    >>> view.frame(b"any image").forward_points([[10, 5]])
    array([[310.,   5.]])
    """
    return View(MIRRORED, _mirror, functools.partial(_frame, preprocess.image_size[1]))


def _mirror(row: bytes, pixels: np.ndarray) -> np.ndarray:
    # A copy, because torch takes no negative strides.
    return np.ascontiguousarray(pixels[:, ::-1])


def _frame(width: int, row: bytes) -> Frame:
    return Frame.flip(width)


def zoomed(preprocess: Preprocess, direction: str, *, is_mirrored: bool = False) -> View:
    """Zoom the network's input out or in, each image by a factor and to a place of its own.

    Objects of other sizes and at other places are what a detector on cached maps would never
    see otherwise. The factor, even on a logarithmic scale, and the place are drawn from the
    image's row id, so a view of an image is always the same.

    Parameters
    ----------
    preprocess : Preprocess
        Of the backbone: the size of its input, and the mean colour, which fills what is bare.
    direction : {"out", "in"}
        Whether the input is shrunk to 0.5 to 0.9 of its size, or enlarged to 1.1 to 1.6, of
        which a part is seen.
    is_mirrored : bool, default=False
        Whether it is mirrored, left to right, afterwards. Factor and place are other ones.

    Examples
    --------
    >>> preprocess = Preprocess((224, 320), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    >>> frame = zoomed(preprocess, "out").frame(b"any image")
    >>> 0.5 <= frame.scale[0] == frame.scale[1] <= 0.9
    True
    """
    if direction not in ("out", "in"):
        raise ValueError(f"direction is {direction!r}; give 'out' or 'in'")
    thousands = 2 if direction == "out" else 4
    number = 1000 * (thousands + is_mirrored)
    size, factors = preprocess.image_size, _FACTORS[thousands]
    frame = functools.partial(_zoom, number, size, factors, is_mirrored)
    return View(number, functools.partial(_apply, frame, _mean_colour(preprocess)), frame)


def _zoom(
    number: int, size: tuple[int, int], factors: tuple[float, float], is_mirrored: bool, row: bytes
) -> Frame:
    rng = np.random.default_rng([number, *row])
    factor = math.exp(rng.uniform(*np.log(factors)))
    height, width = size
    left, top = rng.uniform(size=2) * (width - factor * width, height - factor * height)
    frame = Frame((factor, factor), (float(left), float(top)))
    return frame.then(Frame.flip(width)) if is_mirrored else frame


def turned(preprocess: Preprocess, quarters: int, *, is_mirrored: bool = False) -> View:
    """Turn the network's input counter-clockwise by a multiple of 90 degrees.

    Objects seen from above lie in any direction. An input that isn't square no longer fits after
    a quarter turn: it is shrunk by a factor, from 1 to that at which it fits, and put at a place,
    both drawn from the image's row id, so a view of an image is always the same.

    Parameters
    ----------
    preprocess : Preprocess
        Of the backbone: the size of its input, and the mean colour, which fills what is bare.
    quarters : {1, 2, 3}
        How many quarter turns.
    is_mirrored : bool, default=False
        Whether it is mirrored, left to right, afterwards. Factor and place are other ones.

    Examples
    --------
    >>> preprocess = Preprocess((224, 224), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    >>> turned(preprocess, 1).frame(b"any image").forward_oriented([[10, 5, 8, 2, 30]]).round()
    array([[  5., 214.,   8.,   2., -60.]])
    """
    if quarters not in (1, 2, 3):
        raise ValueError(f"quarters is {quarters!r}; give 1, 2 or 3")
    number = 1000 * (4 + 2 * quarters + is_mirrored)
    frame = functools.partial(_turn, number, preprocess.image_size, quarters, is_mirrored)
    return View(number, functools.partial(_apply, frame, _mean_colour(preprocess)), frame)


def _turn(
    number: int, size: tuple[int, int], quarters: int, is_mirrored: bool, row: bytes
) -> Frame:
    height, width = size
    frame = Frame.turn(quarters, size)
    if quarters % 2 and height != width:
        rng = np.random.default_rng([number, *row])
        factor = min(height, width) / max(height, width)
        factor = math.exp(rng.uniform(math.log(factor), 0))
        # What was its height is its width now.
        left, top = rng.uniform(size=2) * (width - factor * height, height - factor * width)
        frame = frame.then(Frame((factor, factor), (float(left), float(top))))
    return frame.then(Frame.flip(width)) if is_mirrored else frame


def _mean_colour(preprocess: Preprocess) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in preprocess.mean)


def _apply(
    frame: Callable[[bytes], Frame], colour: tuple[int, ...], row: bytes, pixels: np.ndarray
) -> np.ndarray:
    height, width = pixels.shape[:2]
    return warped(pixels, frame(row), (height, width), colour)
