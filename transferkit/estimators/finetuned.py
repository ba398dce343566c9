"""`FineTuneClassifier` and `FineTuneRegressor`: estimators whose backbone learns too."""

from __future__ import annotations

from transferkit.estimators._finetuned import FineTuneEstimator
from transferkit.estimators.classifier import TransferClassifier
from transferkit.estimators.regressor import TransferRegressor

__all__ = ["FineTuneClassifier", "FineTuneRegressor"]


class FineTuneClassifier(FineTuneEstimator, TransferClassifier):
    """A classifier of images whose backbone learns too.

    A linear head is trained on frozen features, from the store; then the network and the head
    together. What comes of it is a model like any other: a backbone, with weights of its own,
    and a head.

    Parameters
    ----------
    backbone : str, Backbone, BackboneSpec or FeatureExtractor, optional
        What is tuned, or an extractor that holds more options; may be left out beside `init`.
    strategy : str, default="lp-ft"
        What is trained: ``lp-ft``, ``full``, ``norm-only``, ``bias-only``, ``lora``, or
        ``last-N-stages`` on cached activations.
    recipe : mapping, optional
        Settings of `transferkit.finetune.Recipe` that differ from those chosen for the number
        of images; each is a parameter ``recipe__NAME`` too.
    init : path, optional
        A saved model to start from; its head too, if it fits.
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
        As it was carried out.
    history_ : list of dict
        One line for each epoch, the start first: losses, and the held-out metric.
    best_epoch_ : int
        Whose weights were kept; 0 is the probe.
    folder_ : Path
        Where the curves and the tuned weights are.
    classes_, is_multilabel_, head_, extractor_, failures_, train_ids_
        As for `TransferClassifier`; the extractor's backbone is the tuned one.

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
    """A regressor of images whose backbone learns too.

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
    """

    default_task = "regression"
