"""Images as their own values, of any range and number of channels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.images.decode import ImageError

if TYPE_CHECKING:
    from transferkit.spec import Preprocess

__all__ = ["ImageValues", "arranged", "check_size", "rgb_of_values", "scaled_channels"]

# What the upper end of the range becomes, as in 8-bit pixels.
FULL = 255.0

_SAY_RANGE = "value_range=(LOW, HIGH) (--value-range LOW HIGH)"


@dataclass(frozen=True, eq=False)
class ImageValues:
    """The values of an image as they are in its file.

    Parameters
    ----------
    values : ndarray of shape (H, W, C)
        Whole numbers or floats.
    window : (float, float), optional
        What the file itself says is shown as 0 and 1.
    is_inverted : bool, default=False
        Whether the smallest value is white.
    """

    values: NDArray[Any]
    window: tuple[float, float] | None = None
    is_inverted: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.values.shape[0], self.values.shape[1]


def arranged(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """View of an array as ``(H, W, C)``.

    Parameters
    ----------
    array : ndarray of shape (H, W), (H, W, C) or (C, H, W)
        Of these the last if the layout says so.
    layout : {"HWC", "CHW"}
        Where the channels are.

    Examples
    --------
    >>> arranged(np.zeros((5, 30, 40)), "CHW").shape
    (30, 40, 5)
    """
    if array.ndim == 2:
        return array[:, :, np.newaxis]
    return array.transpose(1, 2, 0) if layout == "CHW" else array


def check_size(shape: tuple[int, ...]) -> None:
    """Raise an ImageError if an image has more values than PIL's limit of RGB pixels lets it.

    Parameters
    ----------
    shape : tuple of int
        Height, width and channels, in any order.
    """
    limit = Image.MAX_IMAGE_PIXELS
    n_values = math.prod(shape)
    if limit is not None and n_values > 3 * 2 * limit:
        raise ImageError(
            f"{n_values / 1e6:,.1f} million values, above the limit of {6 * limit / 1e6:,.0f} "
            "million (a decompression bomb? if it is genuine, increase "
            "PIL.Image.MAX_IMAGE_PIXELS, or --max-megapixels on the command line)"
        )


def scaled_channels(image: ImageValues, preprocess: Preprocess) -> Iterator[NDArray[np.float32]]:
    """Channels that the network takes, one by one, scaled from the stated range to 0 to 255.

    Parameters
    ----------
    image : ImageValues
        The image.
    preprocess : Preprocess
        Range, bands, and how many channels the network takes.

    Yields
    ------
    ndarray of float32, shape (H, W)
        In [0, 255]: what lies outside the range is clipped.

    Raises
    ------
    ImageError
        If the range isn't stated and the values aren't 8-bit, if values are NaN or infinite,
        or if the channels aren't those that the network takes.
    """
    chosen = _chosen(image.values, preprocess)
    _check_finite(image.values, chosen)
    low, high = _range(image, preprocess)
    for i in chosen:
        # In float64 where float32 would round: 32-bit integers near one another.
        is_short = image.values.dtype.itemsize <= 2
        channel: Any = image.values[:, :, i].astype(np.float32 if is_short else np.float64)
        channel -= low
        channel *= FULL / (high - low)
        clipped = np.clip(channel, 0, FULL).astype(np.float32, copy=False)
        yield np.float32(FULL) - clipped if image.is_inverted else clipped


def rgb_of_values(image: ImageValues, preprocess: Preprocess | None = None) -> Image.Image:
    """Picture of an image: its first three channels in the stated range, or the first as grey.

    Parameters
    ----------
    image : ImageValues
        The image.
    preprocess : Preprocess, optional
        Range and bands. By default the image has to be 8-bit grey or RGB already.

    Raises
    ------
    ImageError
        See `scaled_channels`.
    """
    if preprocess is None:
        pixels = image.values
        if pixels.dtype != np.uint8:
            raise ImageError(_unstated(pixels))
        if pixels.shape[2] not in (1, 3):
            raise ImageError(
                f"{pixels.shape[2]} channels; for a backbone that takes RGB choose some, such as "
                "bands=(3, 2, 1) (--bands 3,2,1), or give in_chans (--in-chans)"
            )
        pixels = 255 - pixels if image.is_inverted else pixels
    else:
        channels = [c for c, _ in zip(scaled_channels(image, preprocess), range(3), strict=False)]
        shown = channels if len(channels) == 3 else channels[:1]
        pixels = np.stack(shown, axis=2).round().astype(np.uint8)
    grey_or_rgb = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(grey_or_rgb)).convert("RGB")


def _chosen(values: NDArray[Any], preprocess: Preprocess) -> list[int]:
    """Positions of the channels that the network takes; that of grey three times, for RGB."""
    n = values.shape[2]
    chosen = [band - 1 for band in preprocess.bands] or list(range(n))
    if max(chosen) >= n:
        raise ImageError(f"{_channels(n)}, and band {max(chosen) + 1} was asked for (bands)")
    if len(chosen) == 1 and preprocess.in_chans == 3:
        return chosen * 3
    if len(chosen) == preprocess.in_chans:
        return chosen
    advice = f"choose some with bands (--bands), or give in_chans={n} (--in-chans {n})"
    if preprocess.layout == "HWC" and values.shape[0] == preprocess.in_chans:
        advice = "if the first axis is that of channels, give layout='CHW' (--layout CHW)"
    raise ImageError(
        f"{_channels(n)} (shape {' × '.join(map(str, values.shape))}), and the backbone takes "
        f"{preprocess.in_chans}; {advice}"
    )


def _channels(n: int) -> str:
    return f"{n:,} channel{'s' * (n != 1)}"


def _check_finite(values: NDArray[Any], chosen: list[int]) -> None:
    if values.dtype.kind != "f":
        return
    bad = np.zeros(values.shape[:2], dtype=bool)
    for i in set(chosen):
        bad |= ~np.isfinite(values[:, :, i])
    if n := int(bad.sum()):
        raise ImageError(
            f"{n:,} of {bad.size:,} pixels are NaN or infinite; replace them by a number of the "
            "range, or leave the image out"
        )


def _range(image: ImageValues, preprocess: Preprocess) -> tuple[float, float]:
    """Values that become 0 and 1."""
    if preprocess.window:
        if image.window is None:
            raise ImageError(f"no window in the file, as DICOM files have it; give {_SAY_RANGE}")
        return image.window
    if preprocess.value_range:
        low, high = preprocess.value_range
        return low, high
    if image.values.dtype != np.uint8:
        raise ImageError(_unstated(image.values))
    return 0.0, FULL


def _unstated(values: NDArray[Any]) -> str:
    """Say which option tells the range, and what values there are."""
    seen = values
    if values.dtype.kind == "f":
        seen = values[np.isfinite(values)]
    least, most = (f"{v:g}" for v in (seen.min(), seen.max())) if seen.size else ("NaN", "NaN")
    return (
        f"{values.dtype} values from {least} to {most} have no range of their own; say what "
        f"becomes 0 and 1 with {_SAY_RANGE}, or convert the image to 8 bits"
    )
