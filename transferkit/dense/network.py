"""`DenseNetwork`, a neck and a segmentation head as one module on the maps of some layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.dense.pyramid import pyramid_neck
from transferkit.dense.segmentation import create_segmentation_head
from transferkit.maps import FeatureMaps

__all__ = ["DenseNetwork", "Level"]


class Level(NamedTuple):
    """A level of maps: the layer's name, its width, and its nominal stride, input px."""

    name: str
    channels: int
    stride: int


class DenseNetwork(nn.Module):
    """A neck and a segmentation head, with random weights.

    Parameters
    ----------
    levels : sequence of Level
        The maps that it is given, fine to coarse.
    n_classes : int
        Number of classes.
    head : str
        One of `segmentation_heads`.
    neck : str
        One of `neck_names`.
    head_options, neck_options : mapping, default={}
        As `create_segmentation_head` and `pyramid_neck` take them.

    Attributes
    ----------
    arguments : dict
        What makes the same network again, as JSON takes it.

    Examples
    --------
    >>> import torch
    >>> levels = [Level("stage1", 8, 4), Level("stage2", 16, 8)]
    >>> network = DenseNetwork(levels, 3, head="linear", neck="none")
    >>> network([torch.zeros(2, 8, 9, 7), torch.zeros(2, 16, 5, 4)]).shape
    torch.Size([2, 3, 9, 7])
    """

    def __init__(
        self,
        levels: Sequence[Level],
        n_classes: int,
        *,
        head: str,
        neck: str,
        head_options: Mapping[str, Any] | None = None,
        neck_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.levels = [Level(*level) for level in levels]
        self.arguments: dict[str, Any] = {
            "levels": [list(level) for level in self.levels],
            "n_classes": n_classes,
            "head": head,
            "neck": neck,
            "head_options": dict(head_options or {}),
            "neck_options": dict(neck_options or {}),
        }
        channels = [level.channels for level in self.levels]
        strides = [level.stride for level in self.levels]
        self.neck = pyramid_neck(neck, channels, strides, **self.arguments["neck_options"])
        self.head = create_segmentation_head(
            head,
            self.neck.out_channels,
            self.neck.strides,
            n_classes,
            **self.arguments["head_options"],
        )

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> Self:
        """Make the network that has these `arguments`.

        Raises
        ------
        ValueError
            If they make none.
        """
        try:
            own = dict(arguments)
            levels = [Level(str(n), int(c), int(s)) for n, c, s in own.pop("levels")]
            return cls(levels, int(own.pop("n_classes")), **own)
        except (TypeError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
            raise ValueError(f"its arguments make no dense network ({error})") from error

    @classmethod
    def restored(cls, arguments: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Self:
        """Make the network again from its arguments and what it has learnt.

        Raises
        ------
        ValueError
            If they don't belong together.
        """
        network = cls.from_arguments(arguments)
        try:
            network.load_state_dict({n: torch.from_numpy(t) for n, t in tensors.items()})
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"its tensors aren't those of its arguments ({error})") from error
        return network.eval()

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Scores of the classes ``(B, n_classes, h, w)`` at the finest level's size or finer.

        Parameters
        ----------
        levels : sequence of Tensor
            A map ``(B, D, H, W)`` for each level, of any numeric type.
        """
        weight = next(self.parameters())
        named = {
            level.name: tensor.to(weight.dtype)
            for level, tensor in zip(self.levels, levels, strict=True)
        }
        scores = self.head(self.neck(FeatureMaps(named, {n: s for n, _, s in self.levels})))
        assert isinstance(scores, Tensor)
        return scores
