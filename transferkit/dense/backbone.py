"""`PyramidBackbone`: a backbone and a neck in one module, for networks of your own.

It is what ``torchvision.models.detection`` calls a backbone:

>>> import torch
>>> from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
>>> from torchvision.models.detection.anchor_utils import AnchorGenerator
>>> from torchvision.ops import MultiScaleRoIAlign
>>> from transferkit import create_backbone
>>> stages = create_backbone(
...     "test_resnet", pretrained=False, features_only=True, output_indices=(2, 3, 4),
...     trainable=True,
... )
>>> backbone = with_neck(stages, "fpn", width=32)
>>> backbone.out_channels, backbone.strides
(32, (8, 16, 32))
>>> n = len(backbone.strides)
>>> sizes = tuple((4 * stride,) for stride in backbone.strides)
>>> pixels = {"image_mean": stages.mean, "image_std": stages.std, "min_size": 64, "max_size": 96}
>>> detectors = [
...     FasterRCNN(
...         backbone,
...         num_classes=3,
...         rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * n),
...         box_roi_pool=MultiScaleRoIAlign([str(i) for i in range(n)], 7, 2),
...         **pixels,
...     ),
...     RetinaNet(backbone, 3, anchor_generator=AnchorGenerator(sizes, ((1.0,),) * n), **pixels),
...     FCOS(backbone, 3, anchor_generator=AnchorGenerator(sizes, ((1.0,),) * n), **pixels),
... ]
>>> images = [torch.rand(3, 64, 96), torch.rand(3, 60, 80)]
>>> truth = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 30.0]]), "labels": torch.tensor([1])}
>>> for detector in detectors:
...     optimizer = torch.optim.SGD([p for p in detector.parameters() if p.requires_grad], 1e-3)
...     losses = detector.train()(images, [truth, truth])
...     sum(losses.values()).backward()
...     optimizer.step()
...     found = detector.eval()(images)
...     print(len(found), sorted(found[0]))
2 ['boxes', 'labels', 'scores']
2 ['boxes', 'labels', 'scores']
2 ['boxes', 'labels', 'scores']

A head of ours stands on it too:

>>> from transferkit.dense.detection import Suppression, create_detection_head, suppressed
>>> head = create_detection_head("fcos", [32] * n, backbone.strides, n_classes=3)
>>> pixels = torch.randint(256, (2, 3, 64, 96), dtype=torch.uint8)
>>> maps = backbone.maps(stages.normalize(pixels))
>>> head.loss(maps, (64, 96), [truth, truth]).backward()
>>> suppressed(head.candidates(maps, (64, 96)), Suppression(limit=10)).boxes.shape
torch.Size([2, 10, 4])

torchvision's SSD takes the bare backbone, whose ``out_channels`` are several. A network whose
input has a fixed size, such as Swin, wants ``fixed_size=(width, height)`` in all of them.
torchvision's anchors stand apart by the input's size over the map's, rounded down; where that isn't
the stride, as with Inception and patches of 14 px, they drift away, and those of our heads don't.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from transferkit.backbones import FeatureBackbone
from transferkit.dense.pyramid import pyramid_neck
from transferkit.maps import FeatureMaps
from transferkit.necks import Neck

__all__ = ["PyramidBackbone", "with_neck"]


class PyramidBackbone(nn.Module):
    """A backbone and a neck, from normalised images to the levels of a pyramid.

    Parameters
    ----------
    backbone : FeatureBackbone
        From `create_backbone` with ``features_only=True``.
    neck : Neck
        Made for its maps.

    Attributes
    ----------
    out_channels : int or tuple of int
        Width of the levels: one number if it is the same of all, as torchvision wants it.
    strides : tuple of float
        Nominal stride of each, px of the input.

    Raises
    ------
    ValueError
        If the neck is made for maps of other widths.
    """

    def __init__(self, backbone: FeatureBackbone, neck: Neck) -> None:
        super().__init__()
        if neck.in_channels != backbone.out_channels:
            raise ValueError(
                f"the neck is made for widths {list(neck.in_channels)}, and the backbone's maps "
                f"have {list(backbone.out_channels)}; make it for these"
            )
        self.backbone, self.neck = backbone, neck
        widths = neck.out_channels
        self.out_channels: int | tuple[int, ...] = widths[0] if len({*widths}) == 1 else widths
        self.strides = neck.strides

    def maps(self, images: Tensor) -> FeatureMaps:
        """Compute the levels as a head of ours takes them; see `forward`."""
        maps = self.neck(self.backbone.maps(images))
        assert isinstance(maps, FeatureMaps)
        return maps

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Compute the levels ``(B, D, H, W)``, fine to coarse, called ``"0"``, ``"1"``, ….

        torchvision's RoI pooling and anchors count on these names.

        Parameters
        ----------
        images : Tensor
            As `FeatureBackbone.forward` takes them.
        """
        levels = self.maps(images).maps.values()
        return OrderedDict((str(i), level) for i, level in enumerate(levels))


def with_neck(backbone: FeatureBackbone, neck: str = "fpn", **options: Any) -> PyramidBackbone:
    """Put a neck with random weights on a backbone.

    Parameters
    ----------
    backbone : FeatureBackbone
        From `create_backbone` with ``features_only=True``.
    neck : str, default="fpn"
        One of `neck_names`. If the backbone has one map, as a plain transformer, the simple
        pyramid is put in front.
    **options
        Of the neck, such as ``width``.

    Raises
    ------
    ValueError
        If there is no such neck or option, or it can't take the backbone's maps.

    Examples
    --------
    >>> from transferkit import create_backbone
    >>> one = create_backbone("test_vit", pretrained=False, features_only=True)
    >>> with_neck(one, "fpn", width=32).strides
    (4, 8, 16, 32)
    """
    made = pyramid_neck(neck, backbone.out_channels, backbone.strides, **options)
    return PyramidBackbone(backbone, made)
