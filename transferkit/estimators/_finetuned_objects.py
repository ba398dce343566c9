"""Base class of the estimators that find objects and train the backbone too."""

from __future__ import annotations

from typing import Any, ClassVar

from transferkit.dense.detection import Suppression
from transferkit.estimators._finetuned_network import FineTunedNetwork
from transferkit.estimators._maps import Usable
from transferkit.estimators._objects import ObjectEstimator
from transferkit.finetune.dense.objects import ObjectPixels
from transferkit.finetune.dense.recipe import LiveDetectionRecipe
from transferkit.finetune.dense.run import TunedNetwork

__all__ = ["FineTunedObjects"]


class FineTunedObjects(FineTunedNetwork, ObjectEstimator):
    """Base class: it stands before the estimator of the same task that trains the head alone."""

    live_kind: ClassVar[type[LiveDetectionRecipe]] = LiveDetectionRecipe
    shared_settings: ClassVar[tuple[str, ...]] = ("mirrored", "zoomed", "turned", "seed")

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
