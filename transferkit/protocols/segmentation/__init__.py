"""Published protocols of segmentation: heads on frozen maps, trained as their authors train them.

A file of this folder exposes its frozen dataclass of the published settings as `Protocol`, and a
function `fit` that trains the head; the file's name is the protocol's.

A protocol takes maps with a class for every pixel of the network's input. It knows nothing of
images or the store, and never sees the split that is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transferkit import registry
from transferkit.dense.samples import DenseSamples
from transferkit.protocols.segmentation._head import ProbeHead

__all__ = [
    "NamedSegmentation",
    "ProbeHead",
    "SegmentationProbe",
    "create_segmentation_protocol",
    "segmentation_protocol_names",
]


@dataclass(frozen=True, eq=False)
class SegmentationProbe:
    """A trained head, with its settings.

    Parameters
    ----------
    head : ProbeHead
        In evaluation mode.
    chosen : dict
        What the training came to: steps, and the mean loss of the last ones.
    """

    head: ProbeHead
    chosen: dict[str, Any]


@dataclass(frozen=True, eq=False)
class NamedSegmentation:
    """A protocol under its name.

    Parameters
    ----------
    name : str
        Name in reports.
    settings : dataclass
        The `Protocol` of its file. Of these, ``geometry`` says how images are resized,
        ``feature`` which maps are taken (``"pyramid"`` or a layer's), ``mirrored`` whether their
        mirror images are trained on too, ``deviates`` what isn't as published.
    function : callable
        The `fit` of its file.
    """

    name: str
    settings: Any
    function: Callable[..., SegmentationProbe]

    def fit(
        self, samples: DenseSamples, n_classes: int, seed: int = 0, *, device: str = "cpu"
    ) -> SegmentationProbe:
        """Train a head.

        Parameters
        ----------
        samples : DenseSamples
            Maps with targets; the reported split isn't among them.
        n_classes : int
            Number of classes.
        seed : int, default=0
            Of the start, the order, and the views that are drawn.
        device : str, default="cpu"
            Where it is trained.

        Raises
        ------
        ValueError
            If no pixel of the training images has a class.
        """
        return self.function(self.settings, samples, n_classes, seed, device)


def segmentation_protocol_names() -> list[str]:
    """Names of all protocols of segmentation, sorted.

    Examples
    --------
    >>> "dinov2-linear-seg" in segmentation_protocol_names()
    True
    """
    return registry.names(__name__)


def create_segmentation_protocol(name: str) -> NamedSegmentation:
    """Find a protocol of segmentation by its name.

    Parameters
    ----------
    name : str
        One of `segmentation_protocol_names`.

    Raises
    ------
    ValueError
        If there is none of that name.

    Examples
    --------
    >>> create_segmentation_protocol("torchgeo-seg-fpn").settings.epochs
    10
    """
    module: Any = registry.load(__name__, name, "segmentation protocol")
    return NamedSegmentation(name, module.Protocol(), module.fit)
