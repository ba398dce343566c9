"""`Source` describes the functions that a file of this folder offers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from transferkit.backbones._backbone import Backbone
from transferkit.maps import LayerInfo
from transferkit.spec import BackboneSpec, Preprocess

__all__ = ["BackboneInfo", "Overrides", "Source"]


@dataclass(frozen=True)
class BackboneInfo:
    """Description of a backbone, made without its weights.

    Parameters
    ----------
    name : str
        Architecture, without tag.
    tags : tuple of str
        Its pretrained weights; the first is the default.
    image_size : (int, int)
        Default input, height and width in px.
    n_parameters : int, optional
        Parameters, the classifier included; None where it wasn't built.
    gmacs : float, optional
        10⁹ multiply-adds for one image of the default size.
    layers : mapping of str to LayerInfo
        What features can be taken from.
    """

    name: str
    tags: tuple[str, ...]
    image_size: tuple[int, int]
    n_parameters: int | None
    gmacs: float | None
    layers: Mapping[str, LayerInfo]


@dataclass(frozen=True)
class Overrides:
    """Preprocessing settings that the user gave. None keeps the backbone's own.

    Parameters
    ----------
    image_size : (int, int), optional
        Input height and width, px.
    crop_pct, crop_mode, interpolation : optional
        See `Preprocess`.
    exif : bool, default=False
        Whether to apply the EXIF orientation.
    decode : str, default="exact"
        Decode mode.
    in_chans : int, optional
        How many channels images have.
    mean, std : tuple of float, optional
        Per channel, or one number for all.
    value_range, window, bands, layout
        See `Preprocess`.
    """

    image_size: tuple[int, int] | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None
    exif: bool = False
    decode: str = "exact"
    in_chans: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    value_range: tuple[float, ...] = ()
    window: bool = False
    bands: tuple[int, ...] = ()
    layout: str = "HWC"

    def with_defaults(self, **defaults: Any) -> Overrides:
        """Fill in values that the user didn't give."""
        unset = {name: v for name, v in defaults.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **unset)

    def preprocess(
        self,
        *,
        image_size: Sequence[int],
        crop_pct: float,
        crop_mode: str,
        interpolation: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> Preprocess:
        """Preprocessing of a backbone that has these values by default.

        Examples
        --------
        >>> own = {"image_size": (224, 224), "crop_pct": 0.875, "crop_mode": "center"}
        >>> own |= {"interpolation": "bicubic", "mean": (0.5,) * 3, "std": (0.5,) * 3}
        >>> Overrides(image_size=(64, 96), exif=True).preprocess(**own).image_size
        (64, 96)
        """
        chosen = self.with_defaults(
            image_size=image_size,
            crop_pct=crop_pct,
            crop_mode=crop_mode,
            interpolation=interpolation,
        )
        values = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(self)}
        n_channels = values.pop("in_chans") or len(mean)
        height, width = values["image_size"]
        values |= {
            "image_size": (int(height), int(width)),
            "crop_pct": float(values["crop_pct"]),
            "exif": bool(values["exif"]),
            "mean": _per_channel("mean", self.mean, mean, n_channels),
            "std": _per_channel("std", self.std, std, n_channels),
        }
        return Preprocess(**values)


def _per_channel(
    what: str, given: Sequence[float] | None, own: Sequence[float], n_channels: int
) -> tuple[float, ...]:
    """The numbers of a backbone's channels: those that the user gave, or its own."""
    values = tuple(float(value) for value in (own if given is None else given))
    if given is not None and len(values) == 1:
        values *= n_channels
    if len(values) != n_channels:
        was = f"{what} is {tuple(values)!r}" if given is not None else f"no {what} was given"
        raise ValueError(
            f"{was}, and the backbone takes {n_channels} channel{'s' * (n_channels != 1)}; give "
            f"{what} (--{what}): one number for all channels, or {n_channels}, for values scaled "
            "to [0, 1]"
        )
    return values


class Source(Protocol):
    """The functions of a file of this folder, which is used as ``source:model``.

    `tests/backbones/test_sources.py` tries every one by its example.

    Attributes
    ----------
    EXAMPLE : str
        Name of a small backbone, as the user writes it: ``"source:model"``.
    """

    EXAMPLE: str

    def resolve(
        self,
        name: str,
        *,
        pretrained: bool,
        weights: Path | None,
        seed: int,
        overrides: Overrides,
        arguments: Mapping[str, Any],
    ) -> BackboneSpec:
        """Resolve a name to everything that decides the numbers, without building anything.

        Parameters
        ----------
        name : str
            The model, without the source's own name; may be empty.
        pretrained : bool
            False draws random weights.
        weights : Path, optional
            A file that the user gave.
        seed : int
            Of random weights.
        overrides : Overrides
            What the user wants of the preprocessing.
        arguments : mapping
            Creation arguments of the network.

        Raises
        ------
        ValueError
            If there's no such model, or it doesn't take an argument.
        OSError
            If the weights can't be downloaded or read.
        """
        ...

    def build(self, spec: BackboneSpec, *, layers: tuple[str, ...] | None) -> Backbone:
        """Build the network of a spec whose `source` is this one.

        Parameters
        ----------
        spec : BackboneSpec
            From `resolve`.
        layers : tuple of str, optional
            The layers that will be asked for; None for all.
        """
        ...

    def layers(self, spec: BackboneSpec) -> dict[str, LayerInfo]:
        """Layers of the network that `build` makes of a spec, found without its weights.

        Raises
        ------
        ValueError
            If the network doesn't take an argument, or gives no maps.
        """
        ...

    def search(self, pattern: str, details: int) -> list[BackboneInfo]:
        """Models whose name, written as ``source:model``, matches a shell-style pattern.

        Parameters
        ----------
        pattern : str
            A part of a name is enough.
        details : int
            Up to so many matches are described in full, with parameters and layers.
        """
        ...
