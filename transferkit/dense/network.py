"""`DenseNetwork`, a neck and a head as one module on the maps of some layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.dense.detection import Suppression, create_detection_head
from transferkit.dense.instances import create_instance_head
from transferkit.dense.objects import ObjectHead
from transferkit.dense.oriented import create_oriented_head
from transferkit.dense.pyramid import pyramid_neck
from transferkit.dense.segmentation import SegmentationHead, create_segmentation_head
from transferkit.maps import FeatureMaps

__all__ = [
    "DenseNetwork",
    "DetectionNetwork",
    "InstanceNetwork",
    "Level",
    "ObjectNetwork",
    "OrientedNetwork",
    "SegmentationNetwork",
]


class Level(NamedTuple):
    """A level of maps: the layer's name, its width, and its nominal stride, input px."""

    name: str
    channels: int
    stride: int


class DenseNetwork(nn.Module):
    """Base class: a neck and a head, with random weights.

    Parameters
    ----------
    levels : sequence of Level
        The maps that it is given, fine to coarse.
    n_classes : int
        Number of classes.
    head : str
        Name of a head of its task.
    neck : str
        One of `neck_names`.
    head_options, neck_options : mapping, default={}
        As the head and `pyramid_neck` take them.

    Attributes
    ----------
    arguments : dict
        What makes the same network again, as JSON takes it.
    """

    head: nn.Module

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
        self.head = self._new_head(
            head,
            self.neck.out_channels,
            self.neck.strides,
            n_classes,
            **self.arguments["head_options"],
        )

    @staticmethod
    @abstractmethod
    def _new_head(
        name: str, channels: Sequence[int], strides: Sequence[float], n_classes: int, **options: Any
    ) -> nn.Module:
        """Make a head of the network's task."""

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

    def pyramid(self, levels: Sequence[Tensor]) -> FeatureMaps:
        """Levels behind the neck, fine to coarse.

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
        maps = self.neck(FeatureMaps(named, {n: s for n, _, s in self.levels}))
        assert isinstance(maps, FeatureMaps)
        return maps


class SegmentationNetwork(DenseNetwork):
    """A neck and a segmentation head, one of `segmentation_heads`; see `DenseNetwork`.

    Examples
    --------
    >>> import torch
    >>> levels = [Level("stage1", 8, 4), Level("stage2", 16, 8)]
    >>> network = SegmentationNetwork(levels, 3, head="linear", neck="none")
    >>> network([torch.zeros(2, 8, 9, 7), torch.zeros(2, 16, 5, 4)]).shape
    torch.Size([2, 3, 9, 7])
    """

    head: SegmentationHead

    _new_head = staticmethod(create_segmentation_head)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Scores of the classes ``(B, n_classes, h, w)`` at the finest level's size or finer.

        Parameters
        ----------
        levels : sequence of Tensor
            A map ``(B, D, H, W)`` for each level, of any numeric type.
        """
        scores = self.head(self.pyramid(levels))
        assert isinstance(scores, Tensor)
        return scores


class ObjectNetwork(DenseNetwork):
    """Base class: a neck and a head that finds objects; see `DenseNetwork`.

    The number of classes counts the background, which is number 0.
    """

    head: ObjectHead

    def forward(
        self,
        levels: Sequence[Tensor],
        size: tuple[int, int],
        targets: Sequence[Any] | None = None,
        rule: Suppression | None = None,
    ) -> Any:
        """Loss of a batch if there are targets, else what is detected.

        Parameters
        ----------
        levels : sequence of Tensor
            A map ``(B, D, H, W)`` for each level, of any numeric type.
        size : (int, int)
            Height and width of the network's input, px.
        targets : sequence of Target, optional
            One per image.
        rule : Suppression, optional
            How objects that say the same are suppressed; without it they are all returned, as
            the head's candidates.
        """
        maps = self.pyramid(levels)
        if targets is not None:
            return self.head.loss(maps, size, targets)
        if rule is not None:
            return self.head.detected(maps, size, rule)
        return self.head.candidates(maps, size)


class DetectionNetwork(ObjectNetwork):
    """A neck and a detection head, one of `detection_heads`; see `ObjectNetwork`."""

    _new_head = staticmethod(create_detection_head)


class InstanceNetwork(ObjectNetwork):
    """A neck and an instance head, one of `instance_heads`; see `ObjectNetwork`."""

    _new_head = staticmethod(create_instance_head)


class OrientedNetwork(ObjectNetwork):
    """A neck and a head that finds oriented boxes, one of `oriented_heads`; see `ObjectNetwork`."""

    _new_head = staticmethod(create_oriented_head)
