"""Base class of the estimators that find objects and train the backbone too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from transferkit.backbones import Backbone
from transferkit.dense.detection import Suppression
from transferkit.estimators._finetuned_network import FineTunedNetwork
from transferkit.estimators._maps import Usable
from transferkit.estimators._objects import ObjectEstimator
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.finetune.dense.objects import ObjectPixels
from transferkit.finetune.dense.recipe import LiveDetectionRecipe
from transferkit.finetune.dense.run import TunedNetwork
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore

__all__ = ["FineTunedObjects"]


class FineTunedObjects(FineTunedNetwork, ObjectEstimator):
    """Base class: it stands before the estimator of the same task that trains the head alone."""

    live_kind: ClassVar[type[LiveDetectionRecipe]] = LiveDetectionRecipe
    shared_settings: ClassVar[tuple[str, ...]] = ("mirrored", "zoomed", "turned", "seed")

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor | None = None,
        strategy: str = "lp-ft",
        *,
        head: str | None = None,
        neck: str | None = None,
        features: str | Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        head_options: Mapping[str, Any] | None = None,
        neck_options: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
        suppression: Mapping[str, Any] | None = None,
        init: str | Path | None = None,
        folder: str | Path | None = None,
        store: FeatureStore | str | Path | bool | None = None,
        device: str | None = None,
        batch_size: int | None = None,
        tensorboard: bool = False,
        progress: bool = False,
    ) -> None:
        self.backbone: Any = backbone
        self.strategy = strategy
        self.head = head
        self.neck = neck
        self.features = features
        self.image_size = image_size
        self.head_options = head_options
        self.neck_options = neck_options
        self.recipe = recipe
        self.suppression = suppression
        self.init = init
        self.folder = folder
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.tensorboard = tensorboard
        self.progress = progress

    def _pixels(self, usable: Usable, at: Any, recipe: Any) -> ObjectPixels:
        images, annotations = usable.select(at)
        assert annotations is not None
        preprocess = self.extractor_.resolve().preprocess
        frames = self._frames(images)
        return ObjectPixels(images, annotations, frames, preprocess, recipe, self.kind)

    def _suppression(self, train: Any) -> Suppression:
        if self.suppression is None and self._initial is not None:
            suppression: Suppression = self._initial.suppression_
            return suppression
        return super()._suppression(train)

    def _take(self, tuned: TunedNetwork, held: Any) -> None:
        self._choose_threshold(tuned.whole, held)
