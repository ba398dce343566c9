"""Mask R-CNN: Faster R-CNN, and of each object a mask within its box.

References
----------
He, Gkioxari, Dollár, Girshick (2017), "Mask R-CNN", section 3 and figure 4 (right); with norms
in the mask head: Wu, He (2018), "Group normalization", section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from transferkit.dense.detection import Suppression, suppressed
from transferkit.dense.detection._regions import RegionAlign, boxes_of_images
from transferkit.dense.detection.faster_rcnn import (
    NECK,
    FasterRCNNHead,
    Regions,
    suited_options,
)
from transferkit.dense.instances._coverage import read_at
from transferkit.dense.instances._detections import InstanceDetections
from transferkit.maps import FeatureMaps

__all__ = ["NECK", "Head", "MaskRCNNHead", "suited_options"]

# Height and width of the features of a region, and of its mask.
_CELLS, _MASK_CELLS = 14, 28
# Regions whose masks are computed at a time, of which each takes half a megabyte.
_AT_A_TIME = 256


class MaskRCNNHead(FasterRCNNHead):
    """Boxes as `FasterRCNNHead` finds them, then a mask for each of those that stay.

    Parameters
    ----------
    channels, strides, n_classes, width, sizes, ratios, box_head, box_width, per_level
        As for `FasterRCNNHead`.
    n_proposals, n_drawn
        As for `FasterRCNNHead`.
    mask_width : int, default=64
        Of the layers of the mask head.
    mask_depth : int, default=4
        Number of its convolutions in front of the deconvolution.
    n_masks : int, default=8
        Objects' regions of an image that masks are learnt from in a step, of those that are drawn.
    is_class_agnostic : bool, default=False
        Whether a region has one mask, whatever its class, and not one for each class.

    Raises
    ------
    ValueError
        If a value isn't allowed.

    Examples
    --------
    >>> maps = FeatureMaps({"fine": torch.zeros(2, 16, 8, 8)}, {"fine": 8})
    >>> head = MaskRCNNHead([16], [8], n_classes=3, n_proposals=50)
    >>> head.detected(maps, (64, 64), Suppression(limit=7)).masks.shape
    torch.Size([2, 7, 28, 28])
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[float],
        n_classes: int,
        *,
        width: int = 64,
        sizes: Sequence[Sequence[float]] | None = None,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        box_head: str = "fc",
        box_width: int = 256,
        per_level: int = 256,
        n_proposals: int = 256,
        n_drawn: int = 64,
        mask_width: int = 64,
        mask_depth: int = 4,
        n_masks: int = 8,
        is_class_agnostic: bool = False,
    ) -> None:
        super().__init__(
            channels,
            strides,
            n_classes,
            width=width,
            sizes=sizes,
            ratios=ratios,
            box_head=box_head,
            box_width=box_width,
            per_level=per_level,
            n_proposals=n_proposals,
            n_drawn=n_drawn,
        )
        counts = {"mask_width": mask_width, "mask_depth": mask_depth, "n_masks": n_masks}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; give 1 or more")
        self.n_masks = n_masks
        self.mask_regions = RegionAlign(strides, _CELLS)
        n = 1 if is_class_agnostic else n_classes - 1
        self.mask_head = _mask_head(width, mask_width, mask_depth, n)

    def loss_of_regions(
        self,
        levels: Sequence[Tensor],
        size: tuple[int, int],
        regions: Regions,
        targets: Sequence[Any],
    ) -> Tensor:
        """Loss of classes and boxes, and of the masks of objects' regions."""
        loss = super().loss_of_regions(levels, size, regions, targets)
        return loss + self.loss_of_masks(levels, size, regions, targets)

    def loss_of_masks(
        self,
        levels: Sequence[Tensor],
        size: tuple[int, int],
        regions: Regions,
        targets: Sequence[Any],
    ) -> Tensor:
        """Cross-entropy of the masks' cells, mean over them; see `loss_of_regions`.

        Only the mask of the true class is asked for, so that classes don't compete for pixels.
        """
        rows, labels, true = [], [], []
        for i, target in enumerate(targets):
            at = (regions.objects[i] >= 0).nonzero()[:, 0][: self.n_masks]
            objects, boxes = regions.objects[i][at], regions.boxes[i][at]
            rows.append(torch.cat((boxes.new_full((len(at), 1), i), boxes), 1))
            labels.append(regions.labels[i][at])
            true.append(
                read_at(target["masks"][objects], target["spans"][objects], boxes, _MASK_CELLS)
            )
        logits = self._masks_of(levels, size, torch.cat(rows), torch.cat(labels))
        losses = binary_cross_entropy_with_logits(logits, torch.cat(true), reduction="sum")
        # Without any region the mask head has a gradient too, of 0.
        return losses / max(logits.numel(), 1)

    def detected(
        self, maps: FeatureMaps, size: tuple[int, int], rule: Suppression
    ) -> InstanceDetections:
        """What stays after suppression, with masks; see `ObjectHead.detected`."""
        levels = self.equally_wide(maps)
        found = suppressed(self.candidates_of(levels, size), rule)
        regions, labels = boxes_of_images(found.boxes), found.labels.flatten()
        if torch.compiler.is_compiling():
            # How many boxes there are is known only when it runs; so each place has a mask.
            masks = self._masks_of(levels, size, regions, labels.clamp(min=1)).sigmoid()
            masks = masks * (labels > 0)[:, None, None]
        else:
            masks = torch.zeros(len(labels), _MASK_CELLS, _MASK_CELLS, device=labels.device)
            for some in torch.split((labels > 0).nonzero()[:, 0], _AT_A_TIME):
                masks[some] = self._masks_of(levels, size, regions[some], labels[some]).sigmoid()
        return InstanceDetections(*found, masks.reshape(*found.labels.shape, *masks.shape[1:]))

    def _masks_of(
        self, levels: Sequence[Tensor], size: tuple[int, int], regions: Tensor, labels: Tensor
    ) -> Tensor:
        """Logits of the mask of each region's class, float32."""
        logits: Tensor = self.mask_head(self.mask_regions(levels, regions, size)).float()
        if logits.shape[1] == 1:
            return logits[:, 0]
        at = (labels - 1)[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        return logits.gather(1, at)[:, 0]


def _mask_head(channels: int, width: int, depth: int, n: int) -> nn.Sequential:
    """Convolutions, a deconvolution to twice as many cells, and n logits for each of them."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.GroupNorm(1, width),
            nn.ReLU(),
        ]
        channels = width
    return nn.Sequential(
        *layers, nn.ConvTranspose2d(width, width, 2, stride=2), nn.ReLU(), nn.Conv2d(width, n, 1)
    )


Head = MaskRCNNHead
