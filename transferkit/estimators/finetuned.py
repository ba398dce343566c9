"""`FineTuneClassifier` and `FineTuneRegressor` train the backbone too, and not only a head."""

from __future__ import annotations

from transferkit.estimators._finetuned import FineTuneEstimator
from transferkit.estimators.classifier import TransferClassifier
from transferkit.estimators.regressor import TransferRegressor

__all__ = ["FineTuneClassifier", "FineTuneRegressor"]


class FineTuneClassifier(FineTuneEstimator, TransferClassifier):
    """Classify images with a backbone that is trained together with a linear head.

    First the linear head is trained on frozen features from the store. Then the network and the
    head are trained together. The result is a model like any other: a backbone with weights of
    its own, and a head.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor, optional
        The backbone to train, or an extractor that holds more options. It may be left out if
        `init` is given.
    strategy : str, default="lp-ft"
        What is trained: ``lp-ft``, ``full``, ``norm-only``, ``bias-only``, ``lora``, or
        ``last-N-stages`` on cached activations.
    recipe : mapping, optional
        Settings of `transferkit.finetune.Recipe` that differ from those chosen for the number
        of images; each is a parameter ``recipe__NAME`` too.
    init : path, optional
        A saved model whose backbone is trained further. Its head is the start too, if it fits.
    folder : path, optional
        For the checkpoint, the curves and the tuned weights; by default one in the user's
        cache directory.
    store, device : optional
        As for `FeatureExtractor`.
    tensorboard : bool, default=False
        Whether TensorBoard's files are written too.
    progress : bool, default=False
        Whether a progress bar is shown on stderr.

    Attributes
    ----------
    recipe_ : Recipe
        The recipe with all settings that were used.
    history_ : list of dict
        One line for each epoch, the start first: losses, and the held-out metric.
    best_epoch_ : int
        The epoch whose weights were kept; 0 is the probe before any training of the network.
    folder_ : Path
        Where the curves and the tuned weights are.
    classes_, is_multilabel_, head_, extractor_, failures_, train_ids_
        As for `TransferClassifier`; the extractor's backbone is the tuned one.

    See Also
    --------
    TransferClassifier : Trains a head only, which takes seconds.
    transferkit.finetune.Recipe : The settings of the training.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit import FeatureExtractor
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    >>> images[:10] //= 4  # ten dark ones
    >>> extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=32, store=False)
    >>> tuned = FineTuneClassifier(extractor, recipe={"epochs": 1})
    >>> tuned.fit(images, ["dark"] * 10 + ["light"] * 10).predict(images[[0, 15]]).tolist()
    ['dark', 'light']
    """

    default_task = "classification"


class FineTuneRegressor(FineTuneEstimator, TransferRegressor):
    """Predict numbers from images with a backbone that is trained together with a linear head.

    Parameters
    ----------
    backbone, strategy, recipe, init, folder, store, device, tensorboard, progress
        As for `FineTuneClassifier`.

    Attributes
    ----------
    target_names_, head_, extractor_, failures_, train_ids_
        As for `TransferRegressor`.
    recipe_, history_, best_epoch_, folder_
        As for `FineTuneClassifier`.

    See Also
    --------
    TransferRegressor : Trains a head only, which takes seconds.
    FineTuneClassifier : Learns classes.
    """

    default_task = "regression"
