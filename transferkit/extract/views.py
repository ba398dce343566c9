"""Views of images: what is done to the network's input before it goes through the network.

The features of a view are rows like any other, under a key in which the view's number stands.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from transferkit.images import Frame
from transferkit.spec import Preprocess

__all__ = ["MIRRORED", "View", "mirrored", "zoomed"]

MIRRORED = 1000
"""Number of the mirrored view.

It reads as the numbers of `transferkit.finetune`: the fourth digit from the right is 1 for a
flip, and the last three count random views. These count from 001 to 999 and here are 000, so no
random view has this number.
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
        From an image's row id and pixels ``(H, W, 3)``, uint8, to the view's of the same shape.
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
    colour = tuple(round(255 * value) for value in preprocess.mean)
    frame = functools.partial(_zoom, number, size, factors, is_mirrored)
    return View(number, functools.partial(_apply, frame, colour), frame)


def _zoom(
    number: int, size: tuple[int, int], factors: tuple[float, float], is_mirrored: bool, row: bytes
) -> Frame:
    rng = np.random.default_rng([number, *row])
    factor = math.exp(rng.uniform(*np.log(factors)))
    height, width = size
    left, top = rng.uniform(size=2) * (width - factor * width, height - factor * height)
    frame = Frame((factor, factor), (float(left), float(top)))
    return frame.then(Frame.flip(width)) if is_mirrored else frame


def _apply(
    frame: Callable[[bytes], Frame], colour: tuple[int, ...], row: bytes, pixels: np.ndarray
) -> np.ndarray:
    (scale_x, scale_y), (x, y) = frame(row).scale, frame(row).offset
    height, width = pixels.shape[:2]
    # PIL asks, for a point of the result, where it lies in the source.
    back = (1 / scale_x, 0, -x / scale_x, 0, 1 / scale_y, -y / scale_y)
    image = Image.fromarray(pixels).transform(
        (width, height), Image.Transform.AFFINE, back, Image.Resampling.BICUBIC, fillcolor=colour
    )
    return np.array(image)
