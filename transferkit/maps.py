"""`FeatureMaps`, the form in which every backbone returns its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FeatureMaps", "LayerInfo"]


@dataclass(frozen=True)
class LayerInfo:
    """A layer that features can be taken from.

    Parameters
    ----------
    channels : int
        Width, D.
    stride : int
        Nominal input px per map px; 0 for a layer that is a vector.
    has_class_token : bool, default=False
        Whether the layer carries a class token.
    """

    channels: int
    stride: int
    has_class_token: bool = False

    @property
    def is_map(self) -> bool:
        """Whether the layer is a map, to be pooled, and not a vector."""
        return self.stride > 0


@dataclass(frozen=True)
class FeatureMaps:
    """The outputs of one forward pass: maps, prefix tokens and vectors by layer name.

    Parameters
    ----------
    maps : mapping of str to Tensor
        Layer name to map ``(B, D, H, W)``, fine to coarse, for convolutional nets and
        transformers alike: ``stageN`` or ``blockN``, and ``final``, after the last norm.
    strides : mapping of str to float
        Layer name to nominal stride, input px per map px; 3.5 is one of patches of 14 px.
    prefix : mapping of str to Tensor, default={}
        Layer name to prefix tokens ``(B, P, D)``, the class token first where there is one.
    pre_logits : Tensor, optional
        ``(B, D)``, the input of the network's own classifier.
    logits : Tensor, optional
        ``(B, n_classes)``.
    """

    maps: Mapping[str, Tensor]
    strides: Mapping[str, float]
    prefix: Mapping[str, Tensor] = field(default_factory=dict)
    pre_logits: Tensor | None = None
    logits: Tensor | None = None
