"""Published evaluation protocols. Each file of this folder trains and selects a probe by one.

A file of this folder exposes its frozen dataclass of the published settings as `Protocol`, and a
function `fit` that trains the probe; the file's name is the protocol's. Where a protocol has
a number of neighbours to choose, that is part of the name: ``dino-knn20``.

A protocol takes rows and class numbers and returns scores. It knows nothing of images or the
store, and never sees the split that is reported.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit import registry
from transferkit.datasets import draw_share
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["Geometry", "Named", "Parts", "Probe", "create_protocol", "protocol_names"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Geometry:
    """A protocol's way to resize and crop images. None leaves a setting to the backbone.

    Parameters
    ----------
    image_size : int, optional
        Height and width of the input, px.
    crop_pct : float, optional
        Input size over the size that the image is resized to.
    crop_mode, interpolation : str, optional
        As in `transferkit.spec.Preprocess`.
    """

    image_size: int | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None

    def options(self) -> dict[str, Any]:
        """Settings that the protocol fixes, as options of `resolve_backbone`."""
        return {k: v for k, v in dataclasses.asdict(self).items() if v is not None}


@dataclass(frozen=True, eq=False)
class Parts:
    """Training rows, and validation rows if the dataset has them.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Training features.
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Class numbers from 0, each of which occurs; or 0 and 1 for several labels.
    validation : (ndarray, ndarray) or None
        The official validation part.
    """

    X: Array
    y: Array
    validation: tuple[Array, Array] | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes, or of labels."""
        return int(self.y.shape[1]) if self.y.ndim == 2 else int(self.y.max()) + 1

    def merged(self) -> tuple[Array, Array]:
        """Training and validation rows together. Every call returns the same arrays."""
        return self._merged

    def divided(
        self, share: float, seed: int, held: Array | None = None
    ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Rows to train on, and those to choose by: the official part, or a drawn share.

        Parameters
        ----------
        share : float
            Of each class, where there is no official part.
        seed : int
            Of the draw.
        held : ndarray of bool, optional
            Which rows to choose by, instead of a draw.
        """
        if self.validation is not None:
            return (self.X, self.y), self.validation
        held = draw_share(self.y, share, seed) if held is None else held
        return (self.X[~held], self.y[~held]), (self.X[held], self.y[held])

    @cached_property
    def statistics(self) -> FeatureStatistics:
        """Statistics of the merged rows, which all probes on these parts share."""
        return FeatureStatistics(self.merged()[0])

    @cached_property
    def _merged(self) -> tuple[Array, Array]:
        if self.validation is None:
            return self.X, self.y
        X, y = self.validation
        return np.concatenate([self.X, X]), np.concatenate([self.y, y])


@dataclass(frozen=True, eq=False)
class Probe:
    """A trained probe, with its hyper-parameters.

    Parameters
    ----------
    scores : callable
        Function from features to scores of shape (n_samples, n_classes). The class with the
        largest score is the prediction.
    chosen : dict
        All hyper-parameters used, chosen or fixed.
    on_edge : bool or None
        Whether the chosen value is at an end of its grid; None if nothing is chosen.
    converged : bool or None
        Whether the solver converged; None if nothing is iterated.
    has_probabilities : bool
        Whether the softmax of the scores (sigmoid, for several labels) is a probability.
    held : (ndarray, ndarray) or None
        Scores and targets of rows that the chosen probe wasn't trained on, before any refit.
    """

    scores: Callable[[Array], Array]
    chosen: dict[str, Any]
    on_edge: bool | None = None
    converged: bool | None = None
    has_probabilities: bool = True
    held: tuple[Array, Array] | None = None


@dataclass(frozen=True, eq=False)
class Named:
    """A protocol under its full name.

    Parameters
    ----------
    name : str
        Name in reports, with k if there is one.
    settings : dataclass
        The `Protocol` of its file, with at least ``geometry``, ``feature`` and ``shots``.
    function : callable
        The `fit` of its file.
    """

    name: str
    settings: Any
    function: Callable[[Any, Parts, int], Probe]

    def fit(self, parts: Parts, seed: int = 0) -> Probe:
        """Train and select a probe.

        Parameters
        ----------
        parts : Parts
            Rows; the reported split isn't among them.
        seed : int, default=0
            Seed of the protocol's own draws.
        """
        return self.function(self.settings, parts, seed)


def protocol_names() -> list[str]:
    """Names of all protocols, sorted. A number of neighbours, k, isn't part of these names.

    Examples
    --------
    >>> "transfer-logreg" in protocol_names()
    True
    """
    return registry.names(__name__)


def create_protocol(name: str) -> Named:
    """Find a protocol by its published name.

    Parameters
    ----------
    name : str
        Such as ``"transfer-logreg"`` or ``"dino-knn20"``.

    Raises
    ------
    ValueError
        If there is none of that name, or k is missing or not a published one.

    See Also
    --------
    protocol_names : Names of the protocols.
    transferkit.benchmark.benchmark : Measures backbones under protocols.
    transferkit.heads.create_head : Makes a head, which needn't follow a publication.

    Examples
    --------
    >>> create_protocol("dino-knn20").settings.k
    20
    """
    stem, digits = name, ""
    if name not in protocol_names() and (found := re.fullmatch(r"(.*knn)(\d+)", name)):
        stem, digits = found[1], found[2]
    module = registry.load(__name__, stem, "protocol")
    published = getattr(module, "KS", ())
    if bool(digits) != bool(published) or (digits and int(digits) not in published):
        known = ", ".join(f"{stem}{k}" for k in published) or stem
        raise ValueError(f"protocol {name!r}: the number of neighbours is published; use {known}")
    settings = module.Protocol(k=int(digits)) if digits else module.Protocol()
    return Named(name, settings, module.fit)
