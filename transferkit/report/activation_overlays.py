"""Pictures of what a score comes from: heat over the image, at the places that it belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.images import Frame
from transferkit.report.overlays import heat

__all__ = ["activation_overlay", "beside", "scores_at"]

_WEAKEST, _STRONGEST = 0.2, 0.75
# What of the image's light is left where the network saw nothing of it.
_UNSEEN = 0.2
_GAP = 4


def scores_at(
    scores: NDArray[Any],
    frame: Frame,
    image_size: tuple[int, int],
    size: tuple[int, int],
    shown: tuple[int, int],
) -> NDArray[np.float64]:
    """Scores of the pixels of a picture, between those of the map's places.

    Parameters
    ----------
    scores : ndarray of shape (H, W)
        Of places that lie evenly over the network's input.
    frame : Frame
        From the image's px to those of the network's input.
    image_size : (int, int)
        Height and width of the network's input, px.
    size : (int, int)
        Height and width of the image, px.
    shown : (int, int)
        Height and width of the picture, px, which shows the whole image.

    Returns
    -------
    ndarray of shape (height, width)
        NaN for pixels that were cropped away before the network.

    Examples
    --------
    An image of 4 × 8 px, of which the network sees the middle half:

    >>> frame = Frame.crop((2, 0, 6, 4), (4, 4))
    >>> scores_at(np.array([[1.0, 2.0]]), frame, (4, 4), (4, 8), (1, 4)).tolist()
    [[nan, 1.0, 2.0, nan]]
    """
    rows, columns = ((np.arange(n) + 0.5) * whole / n for n, whole in zip(shown, size, strict=True))
    x = columns * frame.scale[0] + frame.offset[0]
    y = rows * frame.scale[1] + frame.offset[1]
    between = _weights(y, image_size[0], scores.shape[0])
    across = _weights(x, image_size[1], scores.shape[1])
    placed: NDArray[np.float64] = between @ np.asarray(scores, np.float64) @ across.T
    placed[(y < 0) | (y > image_size[0])] = np.nan
    placed[:, (x < 0) | (x > image_size[1])] = np.nan
    return placed


def _weights(at: NDArray[Any], length: int, n: int) -> NDArray[np.float64]:
    """Weights of n places, each the middle of its share of a length, for points along it."""
    place = np.clip(at / length * n - 0.5, 0, n - 1)
    weights: NDArray[np.float64] = 1 - np.abs(place[:, None] - np.arange(n))
    return weights.clip(0)


def activation_overlay(picture: Image.Image, placed: NDArray[Any]) -> Image.Image:
    """Lay scores over a picture: dark where they are least, light where they are largest.

    Parameters
    ----------
    picture : PIL.Image.Image
        RGB.
    placed : ndarray of shape (height, width)
        From `scores_at`, of the picture's size. What is NaN becomes dark.
    """
    known = placed[np.isfinite(placed)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    share = np.nan_to_num((placed - low) / (high - low if high > low else 1.0)).clip(0, 1)
    strength = (_WEAKEST + (_STRONGEST - _WEAKEST) * share)[..., None]
    # The photo is grey beneath, or its colours would be taken for scores.
    grey = np.asarray(picture.convert("L"), np.float64)[..., None]
    mixed = grey * (1 - strength) + heat(placed, low, high) * strength
    mixed = np.where(np.isfinite(placed)[..., None], mixed, grey * _UNSEEN)
    return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))


def beside(pictures: list[Image.Image]) -> Image.Image:
    """Set pictures of one size side by side."""
    width, height = pictures[0].size
    sheet = Image.new("RGB", (len(pictures) * (width + _GAP) - _GAP, height), (128, 128, 128))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i * (width + _GAP), 0))
    return sheet
