"""`FineTuneDetector` trains the backbone too, and not only neck and head."""

from __future__ import annotations

from transferkit.estimators._finetuned_objects import FineTunedObjects
from transferkit.estimators.detector import TransferDetector

__all__ = ["FineTuneDetector"]


class FineTuneDetector(FineTunedObjects, TransferDetector):
    """Find objects with a backbone that is trained together with neck and head.

    First neck and head are trained on the frozen backbone's stored maps, as `TransferDetector`
    does it. Then the whole network is trained on pixels. The result is a model like any other:
    a backbone with weights of its own, a neck and a head.

    Parameters
    ----------
    backbone, head, neck, features, image_size, head_options, neck_options, suppression
        As for `TransferDetector`. With `init` the backbone may be left out, and a start that
        fits brings its own head and neck.
    strategy : str, default="lp-ft"
        What is trained of the backbone: ``lp-ft`` and ``full`` all of it, the latter with a
        fresh head; ``norm-only``, ``bias-only``, ``lora``.
    recipe : mapping, optional
        Settings of `transferkit.finetune.dense.LiveDetectionRecipe` that differ from its
        defaults. Mirrored and zoomed images and the seed are the head's too when it is trained
        first; for the rest that is `TransferDetector`'s default.
    init : path, optional
        A saved detector to start from. Its neck and head are the start if its classes are those
        of the annotations; else they are trained anew, on its backbone's maps.
    folder : path, optional
        For the checkpoints, the curves and the tuned weights; by default one in the user's
        cache directory.
    store, device, batch_size, progress
        As for `FeatureExtractor`.
    tensorboard : bool, default=False
        Whether TensorBoard's files are written too.

    Attributes
    ----------
    recipe_ : LiveDetectionRecipe
        All settings of the training of the whole network.
    history_ : list of dict
        One line for each of its epochs, the start first: losses, and the average precision of
        what is held out.
    best_epoch_ : int
        The epoch whose weights were kept; 0 is the head on the frozen backbone.
    folder_ : Path
        Where the curves and the tuned weights are.
    classes_, network_, suppression_, threshold_, extractor_, failures_, train_ids_
        As for `TransferDetector`; the extractor's backbone is the tuned one.

    See Also
    --------
    TransferDetector : Trains neck and head only.

    References
    ----------
    Kumar, Raghunathan, Jones, Ma, Liang (2022), "Fine-tuning can distort pretrained features
    and underperform out-of-distribution": the head first, then everything.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit import FeatureExtractor
    >>> from transferkit.annotations import Annotations
    >>> images = np.zeros((6, 64, 64, 3), dtype=np.uint8)
    >>> images[:, 16:48, 24:56] = 255  # a white square
    >>> square = np.array([[24.0, 16.0, 56.0, 48.0]])
    >>> truth = [Annotations((64, 64), boxes=square, labels=np.array([1]))] * 6
    >>> extractor = FeatureExtractor(
    ...     "test_resnet", pretrained=False, image_size=64, crop_pct=1.0, store=False
    ... )
    >>> model = FineTuneDetector(extractor, "full", head="fcos", recipe={"epochs": 2})
    >>> model.fit(images, truth).predict(images)[0].boxes.shape[1]
    4
    """

    trained_as = TransferDetector
