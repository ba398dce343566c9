"""`FineTuneSegmenter` trains the backbone too, and not only neck and head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.backbones import Backbone
from transferkit.dense.samples import class_maps
from transferkit.estimators._finetuned_network import FineTunedNetwork
from transferkit.estimators._maps import Usable
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.estimators.segmenter import TransferSegmenter
from transferkit.finetune.dense.recipe import LiveRecipe
from transferkit.finetune.dense.samples import MaskedPixels
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore

__all__ = ["FineTuneSegmenter"]


class FineTuneSegmenter(FineTunedNetwork, TransferSegmenter):
    """Segment images with a backbone that is trained together with neck and head.

    First neck and head are trained on the frozen backbone's stored maps, as `TransferSegmenter`
    does it. Then the whole network is trained on pixels. The result is a model like any other:
    a backbone with weights of its own, a neck and a head.

    Parameters
    ----------
    backbone, head, neck, features, image_size, head_options, neck_options
        As for `TransferSegmenter`. With `init` the backbone may be left out, and a start that
        fits brings its own head and neck.
    strategy : str, default="lp-ft"
        What is trained of the backbone: ``lp-ft`` and ``full`` all of it, the latter with a
        fresh head; ``norm-only``, ``bias-only``, ``lora``.
    recipe : mapping, optional
        Settings of `transferkit.finetune.dense.LiveRecipe` that differ from its defaults. Loss,
        class weights, label smoothing, mirrored images and the seed are the head's too when it
        is trained first; for the rest that is `TransferSegmenter`'s default.
    init : path, optional
        A saved segmenter to start from. Its neck and head are the start if its classes are
        those of the annotations; else they are trained anew, on its backbone's maps.
    folder : path, optional
        For the checkpoints, the curves and the tuned weights; by default one in the user's
        cache directory.
    store, device, batch_size, progress
        As for `FeatureExtractor`.
    tensorboard : bool, default=False
        Whether TensorBoard's files are written too.

    Attributes
    ----------
    recipe_ : LiveRecipe
        All settings of the training of the whole network.
    history_ : list of dict
        One line for each of its epochs, the start first: losses, and the held-out mean IoU.
    best_epoch_ : int
        The epoch whose weights were kept; 0 is the head on the frozen backbone.
    folder_ : Path
        Where the curves and the tuned weights are.
    classes_, network_, extractor_, failures_, train_ids_
        As for `TransferSegmenter`; the extractor's backbone is the tuned one.

    See Also
    --------
    TransferSegmenter : Trains neck and head only.

    References
    ----------
    Kumar, Raghunathan, Jones, Ma, Liang (2022), "Fine-tuning can distort pretrained features
    and underperform out-of-distribution": the head first, then everything.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((6, 64, 64, 3), dtype=np.uint8)
    >>> images[:, :, 32:] = 255  # the right half is white
    >>> maps = [(image[:, :, 0] > 0).astype(int) for image in images]
    >>> extractor = FeatureExtractor(
    ...     "test_resnet", pretrained=False, image_size=64, crop_pct=1.0, store=False
    ... )
    >>> recipe = {"epochs": 5, "learning_rate": 0.01}
    >>> model = FineTuneSegmenter(extractor, head="linear", recipe=recipe)
    >>> model.fit(images, maps).predict(images)[0].map[0, [0, 63]].tolist()
    [0, 1]
    """

    trained_as = TransferSegmenter
    live_kind = LiveRecipe
    shared_settings = ("loss", "class_weights", "label_smoothing", "mirrored", "seed")

    def __init__(
        self,
        backbone: str | Backbone | BackboneSpec | FeatureExtractor | None = None,
        strategy: str = "lp-ft",
        *,
        head: str = "unet",
        neck: str | None = None,
        features: str | Sequence[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        head_options: Mapping[str, Any] | None = None,
        neck_options: Mapping[str, Any] | None = None,
        recipe: Mapping[str, Any] | None = None,
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
        self.init = init
        self.folder = folder
        self.store = store
        self.device = device
        self.batch_size = batch_size
        self.tensorboard = tensorboard
        self.progress = progress

    def _pixels(self, usable: Usable, at: Any, recipe: Any) -> MaskedPixels:
        images, annotations = usable.select(at)
        assert annotations is not None
        targets = class_maps(annotations, self._frames(images), self.input_size_)
        return MaskedPixels(images, targets, self.extractor_.resolve().preprocess, recipe)
