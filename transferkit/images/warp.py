"""Warp decoded images: put their pixels where a frame says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.images.frames import Frame

__all__ = ["warped"]


def warped(
    pixels: NDArray[Any],
    frame: Frame,
    size: tuple[int, int],
    colour: tuple[int, ...],
    *,
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> NDArray[Any]:
    """Draw an image that is shrunk, enlarged, moved, mirrored or turned by quarters.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, C)
        The image: uint8 RGB, or float32 from 0 to 255 with any number of channels.
    frame : Frame
        From its px to those of the result.
    size : (int, int)
        Height and width of the result, px.
    colour : tuple of int
        Fills what is bare.
    resample : Image.Resampling, default=BICUBIC
        How a pixel is made of those around it. Nothing is averaged, so shrinking by more than
        half leaves pixels out.

    Returns
    -------
    ndarray of shape (*size, C)
        Of the same type.

    Examples
    --------
    A quarter turn puts the right upper corner at the left:

    >>> image = np.zeros((2, 3, 3), dtype=np.uint8)
    >>> image[0, 2] = 200
    >>> warped(image, Frame.turn(1, (2, 3)), (3, 2), (0, 0, 0))[..., 0].tolist()
    [[200, 0], [0, 0], [0, 0]]
    """
    # PIL asks, for a point of the result, where it lies in the source.
    back = frame.inverse
    (a, b), (x, y) = back.scale, back.offset
    rows = (0, a, x, b, 0, y) if back.is_transposed else (a, 0, x, 0, b, y)

    def transformed(part: NDArray[Any], fill: int | tuple[int, ...]) -> NDArray[Any]:
        image = Image.fromarray(part).transform(
            (size[1], size[0]), Image.Transform.AFFINE, rows, resample, fillcolor=fill
        )
        return np.array(image)

    if pixels.dtype == np.uint8:
        return transformed(pixels, colour)
    channels = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    drawn = [transformed(one, fill) for one, fill in zip(channels, colour, strict=True)]
    return np.stack(drawn, axis=2).clip(0, 255)
