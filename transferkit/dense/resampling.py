"""Take scores of the network's px to the image's px."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from transferkit.annotations import VOID
from transferkit.images import Frame

__all__ = ["classes_in_image", "scores_in_image"]

# Values that are computed at a time, so that many classes of a large image need little memory.
_AT_ONCE = 1 << 24


def classes_in_image(
    scores: Tensor, frame: Frame, input_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Class of the highest score at every pixel of an image.

    Parameters
    ----------
    scores : Tensor of shape (n_classes, h, w)
        On the whole of the network's input.
    frame : Frame
        From the image's px to the input's.
    input_size, size : (int, int)
        Height and width of the input and of the image, px.

    Returns
    -------
    ndarray of int, shape (height, width)
        `VOID` where the network didn't see the image.
    """
    classes = np.empty(size, dtype=np.int16 if len(scores) < 1 << 15 else np.int32)
    for rows, part, is_seen in _strips(scores, frame, input_size, size):
        classes[rows] = np.where(is_seen, part.argmax(0).cpu().numpy(), VOID)
    return classes


def scores_in_image(
    scores: Tensor, frame: Frame, input_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Score at every pixel of an image; 0 where the network didn't see it.

    Parameters
    ----------
    scores : Tensor of shape (h, w)
        On the whole of the network's input.
    frame, input_size, size
        As for `classes_in_image`.

    Returns
    -------
    ndarray of float32, shape (height, width)
    """
    values = np.empty(size, dtype=np.float32)
    for rows, part, is_seen in _strips(scores[None], frame, input_size, size):
        values[rows] = np.where(is_seen, part[0].cpu().numpy(), 0)
    return values


def _strips(
    scores: Tensor, frame: Frame, input_size: tuple[int, int], size: tuple[int, int]
) -> Iterator[tuple[slice, Tensor, np.ndarray]]:
    """Strips of the image: its rows, their scores, and whether the network saw the pixels."""
    scores = scores.float()[None]
    # A point of the input at share s of an axis is where grid_sample has 2 s - 1.
    x, y = (
        (scale * (np.arange(n) + 0.5) + offset) / extent
        for scale, offset, n, extent in zip(
            frame.scale, frame.offset, size[::-1], input_size[::-1], strict=True
        )
    )
    height = max(_AT_ONCE // (scores.shape[1] * size[1]), 1)
    at_x = torch.from_numpy(2 * x - 1).to(scores)
    for top in range(0, size[0], height):
        rows = slice(top, min(top + height, size[0]))
        at_y = torch.from_numpy(2 * y[rows] - 1).to(scores)
        grid = torch.stack(torch.meshgrid(at_x, at_y, indexing="xy"), dim=-1)[None]
        part = grid_sample(
            scores, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        inside_y, inside_x = ((v >= 0) & (v <= 1) for v in (y[rows], x))
        yield rows, part[0], inside_y[:, None] & inside_x
