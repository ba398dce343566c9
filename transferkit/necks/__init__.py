"""Necks turn the maps of a backbone into a pyramid whose levels know of one another.

A file of this folder is one neck. It takes any number of levels, of any size.

Backbone, neck and head are torch modules that follow one another, and whose ``out_channels`` and
``strides`` say what the next one is given. So they may be trained in a loop of your own; here
the backbone learns too, with a tenth of the others' rate:

>>> import torch
>>> from transferkit import create_backbone
>>> from transferkit.dense.segmentation import create_segmentation_head
>>> backbone = create_backbone(
...     "test_resnet", pretrained=False, image_size=(64, 96),
...     features_only=True, output_indices=(1, 2, 3, 4), trainable=True,
... )
>>> neck = create_neck("fpn", backbone.out_channels, backbone.strides, width=32)
>>> head = create_segmentation_head("linear", neck.out_channels, neck.strides, n_classes=3)
>>> optimizer = torch.optim.AdamW(
...     [{"params": [*neck.parameters(), *head.parameters()]},
...      {"params": backbone.parameters(), "lr": 1e-4}],
...     lr=1e-3,
... )

Batch norm keeps its means and variances, unless ``freeze_statistics=False``.

>>> pixels = torch.randint(256, (2, 3, 64, 96), dtype=torch.uint8)
>>> truth = torch.randint(3, (2, 64, 96))
>>> scores = head(neck(backbone.maps(backbone.normalize(pixels))))
>>> scores.shape
torch.Size([2, 3, 16, 24])
>>> scores = torch.nn.functional.interpolate(scores, truth.shape[1:], mode="bilinear")
>>> loss = torch.nn.functional.cross_entropy(scores, truth)
>>> loss.backward()
>>> optimizer.step()

`transferkit.dense.backbone` puts a neck on a backbone in one call, for torchvision's detectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from transferkit import registry
from transferkit.necks._chain import NeckChain
from transferkit.necks._neck import Neck

__all__ = ["Neck", "NeckChain", "create_neck", "neck_names"]


def neck_names() -> list[str]:
    """Names of the necks, sorted.

    Examples
    --------
    >>> "none" in neck_names()
    True
    """
    return registry.names(__name__)


def create_neck(
    name: str, channels: Sequence[int], strides: Sequence[float], **options: Any
) -> Neck:
    """Make a neck by its name, with random weights.

    Parameters
    ----------
    name : str
        One of `neck_names`.
    channels : sequence of int
        Width of each level that it is given, fine to coarse.
    strides : sequence of float
        Nominal stride of each, px of the network's input.
    **options
        Of the neck, such as ``width``.

    Raises
    ------
    ValueError
        If there is no such neck or option, or it can't take these levels.

    Examples
    --------
    >>> neck = create_neck("none", [64, 128], [8, 16])
    >>> neck.out_channels, neck.strides
    ((64, 128), (8, 16))
    """
    module: Any = registry.load(__name__, name, "neck")
    allowed = list(signature(module.Neck).parameters)[2:]
    for option in options:
        if option not in allowed:
            raise registry.unknown(f"option of the neck {name!r}:", option, allowed)
    neck = module.Neck(channels, strides, **options)
    assert isinstance(neck, Neck)
    return neck
