"""Views of images: what is done to the network's input before it goes through the network.

The features of a view are rows like any other, under a key in which the view's number stands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transferkit.images import Frame
from transferkit.spec import Preprocess

__all__ = ["MIRRORED", "View", "mirrored"]

MIRRORED = 1000
"""Number of the mirrored view.

It reads as the numbers of `transferkit.finetune`: the fourth digit from the right is 1 for a
flip, and the last three count random views. These count from 001 to 999 and here are 000, so no
random view has this number.
"""


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
