"""Models of dense tasks as one torch module each, from 8-bit pixels to what they say."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.nn.functional import interpolate

from transferkit.backbones import Backbone, build_backbone, layers_of
from transferkit.dense.network import SegmentationNetwork
from transferkit.estimators.anomaly import method_of
from transferkit.export._check import TOLERANCE, TOLERANCE_WITH_JUMPS
from transferkit.export._saved import Saved
from transferkit.maps import FeatureMaps

__all__ = ["Agreement", "Deployed", "DeployedAnomaly", "DeployedSegmenter", "Outputs"]


Outputs = Mapping[str, np.ndarray]


class Agreement(NamedTuple):
    """How far the outputs for some images are from what is expected.

    Parameters
    ----------
    differences : ndarray of shape (m,)
        The largest one counts.
    unit : float
        What they are measured in: the largest value, or 1.
    same : ndarray of bool, shape (n,)
        Whether the same is said of each image.
    """

    differences: np.ndarray
    unit: float
    same: np.ndarray


class Deployed(nn.Module):
    """Backbone and head of a dense task as one module, in float32.

    Parameters
    ----------
    saved : Saved
        The model.
    """

    kind: ClassVar[str] = "scores"
    outputs: ClassVar[dict[str, str]]
    backbone: Backbone

    def __init__(self, saved: Saved) -> None:
        super().__init__()
        self.layers = [feature.source for feature in saved.features]
        self.is_rounded = saved.model.storage == "float16"
        self.is_exact = saved.model.storage == "float32"
        self.backbone = build_backbone(saved.model.backbone, layers=self.layers)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Compute the outputs.

        Parameters
        ----------
        pixels : Tensor
            uint8, ``(B, H, W, 3)``.
        """
        images = self.backbone.normalize(pixels.permute(0, 3, 1, 2))
        maps = self.backbone(images, self.layers)
        levels = [maps.maps[layer] for layer in self.layers]
        if self.is_rounded:  # as the maps that the head was trained on
            levels = [level.half().float() for level in levels]
        return self.of_levels(levels, (pixels.shape[1], pixels.shape[2]))

    @abstractmethod
    def of_levels(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Compute the `outputs` from the maps, for an input of a size."""

    @abstractmethod
    def agreement(self, found: Outputs, expected: Outputs) -> Agreement:
        """Compare outputs, by name, of the same images."""

    @property
    def tolerance(self) -> float:
        """Largest difference that is allowed by default."""
        return TOLERANCE if self.is_exact else TOLERANCE_WITH_JUMPS

    def largest(self, differences: np.ndarray) -> float:
        """The difference that counts, of those for all images."""
        return float(differences.max(initial=0.0))

    @property
    def facts(self) -> dict[str, Any]:
        """What else its metadata tell, in values that JSON takes."""
        return {}


class DeployedSegmenter(Deployed):
    """Backbone, neck and head as one module, in float32.

    Its outputs are the class of every pixel, int64 ``(B, H, W)``, and the scores of the classes,
    float32 ``(B, n_classes, H, W)``.

    Parameters
    ----------
    saved : Saved
        A model of segmentation.
    """

    outputs: ClassVar[dict[str, str]] = {
        "classes": "int64 (n, height, width), position in names, of every pixel of the input",
        "scores": "float32 (n, names, height, width), before softmax",
    }

    def __init__(self, saved: Saved) -> None:
        super().__init__(saved)
        self.network = SegmentationNetwork.restored(
            saved.model.head.arguments, saved.model.head.tensors
        )
        self.eval()

    def of_levels(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Classes and scores; see the class."""
        scores = interpolate(self.network(levels), size, mode="bilinear", align_corners=False)
        return scores.argmax(1), scores

    def agreement(self, found: Outputs, expected: Outputs) -> Agreement:
        """Compare the scores; images are the same where nearly all pixels have the same class."""
        same = found["classes"] == expected["classes"]
        return _of_scores(found["scores"], expected["scores"], same.mean((1, 2)) > 1 - TOLERANCE)


class DeployedAnomaly(Deployed):
    """Backbone and anomaly method as one module, in float32.

    Its outputs are the score of every patch, float32 ``(B, h, w)``, and that of the image,
    ``(B,)``.

    Parameters
    ----------
    saved : Saved
        A model of anomaly detection.
    """

    outputs: ClassVar[dict[str, str]] = {
        "score_map": "float32 (n, h, w), score of every patch: the larger, the stranger",
        "score": "float32 (n,), score of the image; threshold is in head.arguments",
    }

    def __init__(self, saved: Saved) -> None:
        super().__init__(saved)
        self.method = method_of(saved.model.head)
        self.threshold = float(saved.model.head.arguments["threshold"])
        known = layers_of(saved.model.backbone)
        self.strides = {layer: known[layer.removesuffix("_norm")].stride for layer in self.layers}
        self.eval()

    def of_levels(self, levels: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, ...]:
        """Scores of patches and images; see the class."""
        named = dict(zip(self.layers, levels, strict=True))
        patches, images = self.method(FeatureMaps(named, self.strides))
        return patches, images

    def agreement(self, found: Outputs, expected: Outputs) -> Agreement:
        """Compare the scores of the images; they are the same on one side of the threshold."""
        here, there = found["score"], expected["score"]
        return _of_scores(here, there, (here > self.threshold) == (there > self.threshold))


def _of_scores(found: np.ndarray, expected: np.ndarray, same: np.ndarray) -> Agreement:
    difference = np.abs(found - expected).max()
    return Agreement(np.array([difference]), float(np.abs(expected).max()), same)
