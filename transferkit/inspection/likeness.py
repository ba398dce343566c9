"""Compare two images pixel by pixel, to tell whether one is a changed copy of the other.

Both are shrunk to a small grey square, and what is smooth or is noise is taken away: in the edges
that are left, two photos of like things have little in common, whereas a copy keeps nearly all of
them if it is compressed, mirrored or slightly cropped. A cropped copy fits a window of the other
image: windows of many sizes and places are tried, in both directions, by normalised
cross-correlation (J. P. Lewis, Fast Normalized Cross-Correlation, 1995).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

__all__ = ["Likeness", "edges_of", "likeness"]

Array = NDArray[Any]
SIDE = 64
"""Height and width at which images are compared, px."""
# Standard deviations, px, of what is taken for noise and of what is smooth.
_NOISE, _SMOOTH = 0.8, 4.0
# Heights and widths of a window, as shares of the image; the step to those between them; and the
# smallest of these.
_SHARES = (1.0, 0.95, 0.9, 0.85)
_COARSE_SHARES = (1.0, 0.92, 0.84)
_STEP = 0.025
_LEAST_SHARE = 0.8
# Edges weaker than this, in grey levels, are compression's own: such an image is like any other.
_FAINT = 0.5
# Below this correlation at half the size two images aren't looked at more closely: copies have 0.9.
_LEAST_COARSE = 0.75


@dataclass(frozen=True)
class Likeness:
    """How alike two images are, where they fit best.

    Parameters
    ----------
    score : float
        Correlation of their edges, at most 1.
    is_mirrored : bool, default=False
        Whether one of them is mirrored there.
    share : float, default=1.0
        Area of the window of one image that the whole other one fits.
    """

    score: float
    is_mirrored: bool = False
    share: float = 1.0

    def described(self) -> str:
        """How one image was made of the other, in a word or two."""
        words = ["mirrored"] * self.is_mirrored
        words += [f"cropped to {self.share:.0%}"] * (self.share < 1)
        return " and ".join(words) or "the same view"


def edges_of(image: Image.Image, side: int = SIDE) -> Array:
    """Edges of an image, ``(side, side)``, of sum 0 and length 1; all 0 if it has none."""
    small = image.convert("L").resize((side, side), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float32)
    edges = gaussian_filter(grey, _NOISE) - gaussian_filter(grey, _SMOOTH)
    edges -= edges.mean()
    if edges.std() < _FAINT:
        return np.zeros((side, side), dtype=np.float32)
    return np.asarray(edges / np.linalg.norm(edges), dtype=np.float32)


def likeness(first: Array, second: Array) -> Likeness:
    """Compare the edges of two images at all windows of one that the other may fit.

    Parameters
    ----------
    first, second : ndarray of shape (side, side)
        From `edges_of`.

    Examples
    --------
    >>> noise = np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8)
    >>> edges = edges_of(Image.fromarray(noise).resize((90, 90)))
    >>> likeness(edges, edges[:, ::-1]).described()
    'mirrored'
    """
    if not (first.any() and second.any()):
        return Likeness(0.0)
    coarse = _best(_halved(first), _halved(second), _best_coarse_window, [False, True])
    if coarse.score < _LEAST_COARSE:
        return coarse
    return _best(first, second, _best_window, [coarse.is_mirrored])


def _halved(edges: Array) -> Array:
    """Means of 2 × 2 px."""
    side = len(edges) // 2
    return np.asarray(edges.reshape(side, 2, side, 2).mean(axis=(1, 3)))


def _best(
    first: Array,
    second: Array,
    best_window: Callable[[Array, Array], tuple[float, float]],
    mirrored: list[bool],
) -> Likeness:
    found = []
    for is_mirrored in mirrored:
        other = second[:, ::-1] if is_mirrored else second
        for whole, inner in ((first, other), (other, first)):
            score, share = best_window(whole, inner)
            found.append(Likeness(score, is_mirrored, share))
    return max(found, key=lambda one: (one.score, one.share))


def _best_coarse_window(whole: Array, inner: Array) -> tuple[float, float]:
    sizes = list(itertools.product(_COARSE_SHARES, _COARSE_SHARES))
    scores = _correlations(whole, inner, sizes)
    best = int(np.argmax(scores))
    return float(scores[best]), sizes[best][0] * sizes[best][1]


def _best_window(whole: Array, inner: Array) -> tuple[float, float]:
    """Correlation and area of the window of `whole` that all of `inner` fits best."""
    sizes = list(itertools.product(_SHARES, _SHARES))
    scores = _correlations(whole, inner, sizes)
    at = sizes[int(np.argmax(scores))]
    near = [
        (at[0] + dy, at[1] + dx)
        for dy, dx in itertools.product((-_STEP, 0, _STEP), repeat=2)
        if (dy or dx)
        and min(at[0] + dy, at[1] + dx) >= _LEAST_SHARE
        and max(at[0] + dy, at[1] + dx) <= 1
    ]
    sizes += near
    scores = np.concatenate([scores, _correlations(whole, inner, near)])
    best = int(np.argmax(scores))
    return float(scores[best]), sizes[best][0] * sizes[best][1]


def _correlations(whole: Array, inner: Array, sizes: list[tuple[float, float]]) -> Array:
    """Correlation with the best place of a window, for windows of several sizes."""
    side = len(whole)
    pixels = [(round(side * height), round(side * width)) for height, width in sizes]
    templates = np.zeros((len(sizes), side, side), dtype=np.float32)
    source = Image.fromarray(np.ascontiguousarray(inner))
    for template, (height, width) in zip(templates, pixels, strict=True):
        small = np.asarray(source.resize((width, height), Image.Resampling.BILINEAR))
        template[:height, :width] = small / max(float(np.linalg.norm(small)), 1e-12)
    # Places where the window would leave the image wrap round it, and aren't looked at.
    spectrum = np.fft.rfft2(whole)[None] * np.fft.rfft2(templates).conj()
    products = np.fft.irfft2(spectrum, s=(side, side))
    energy = np.zeros((side + 1, side + 1))
    energy[1:, 1:] = (whole.astype(np.float64) ** 2).cumsum(0).cumsum(1)
    best = np.empty(len(sizes))
    for i, (height, width) in enumerate(pixels):
        inside = energy[height:, width:] - energy[:-height, width:]
        inside = inside - energy[height:, :-width] + energy[:-height, :-width]
        places = products[i, : side - height + 1, : side - width + 1]
        best[i] = (places / np.sqrt(np.maximum(inside, 1e-6))).max()
    return best
