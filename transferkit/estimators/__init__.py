"""Estimators of images: an extractor of features, classifiers and regressors."""

from pathlib import Path
from typing import Any

from transferkit import artifacts
from transferkit.estimators._dense import suited_size
from transferkit.estimators.activation import (
    ActivationMaps,
    NoActivationMaps,
    class_activation_maps,
)
from transferkit.estimators.anomaly import AnomalyDetector
from transferkit.estimators.classifier import TransferClassifier
from transferkit.estimators.detector import TransferDetector
from transferkit.estimators.extractor import FeatureExtractor, side_by_side
from transferkit.estimators.finetuned import FineTuneClassifier, FineTuneRegressor
from transferkit.estimators.finetuned_detector import FineTuneDetector
from transferkit.estimators.finetuned_instances import FineTuneInstanceSegmenter
from transferkit.estimators.finetuned_oriented import FineTuneOrientedDetector
from transferkit.estimators.finetuned_segmenter import FineTuneSegmenter
from transferkit.estimators.folds import FoldModels, fit_folds
from transferkit.estimators.instances import TransferInstanceSegmenter
from transferkit.estimators.oriented import TransferOrientedDetector
from transferkit.estimators.regressor import TransferRegressor
from transferkit.estimators.segmenter import TransferSegmenter
from transferkit.estimators.targets import targets_of
from transferkit.tasks import dense, task_of

__all__ = [
    "ActivationMaps",
    "AnomalyDetector",
    "FeatureExtractor",
    "FineTuneClassifier",
    "FineTuneDetector",
    "FineTuneInstanceSegmenter",
    "FineTuneOrientedDetector",
    "FineTuneRegressor",
    "FineTuneSegmenter",
    "FoldModels",
    "NoActivationMaps",
    "TransferClassifier",
    "TransferDetector",
    "TransferInstanceSegmenter",
    "TransferOrientedDetector",
    "TransferRegressor",
    "TransferSegmenter",
    "class_activation_maps",
    "dense_estimator_of",
    "estimator_of",
    "fit_folds",
    "load_estimator",
    "side_by_side",
    "suited_size",
    "targets_of",
]


def load_estimator(path: str | Path, **options: Any) -> Any:
    """Load a saved model as the estimator of its task.

    Parameters
    ----------
    path : path
        The folder that ``save`` wrote.
    **options
        As for `TransferClassifier.load`.

    See Also
    --------
    TransferClassifier.save : Writes the folder.
    transferkit.artifacts.describe : Tells what a saved model is, without loading it.
    """
    task = artifacts.task_of(path)
    if task in dense.names():
        return dense_estimator_of(task).load(path, **options)
    return estimator_of(task).load(path, **options)


def estimator_of(task: str) -> type[TransferClassifier | TransferRegressor]:
    """Return the class of estimator that learns a task from frozen features.

    Parameters
    ----------
    task : str
        One of `transferkit.tasks.names`.

    Examples
    --------
    >>> estimator_of("multilabel").__name__
    'TransferClassifier'
    """
    kind: type[TransferClassifier | TransferRegressor] = globals()[task_of(task).estimator]
    return kind


def dense_estimator_of(task: str) -> type[Any]:
    """Return the class of estimator that learns a dense task from frozen maps.

    Parameters
    ----------
    task : str
        One of `transferkit.tasks.dense.names`.

    Examples
    --------
    >>> dense_estimator_of("segmentation").__name__
    'TransferSegmenter'
    """
    kind: type[Any] = globals()[dense.dense_task_of(task).estimator]
    return kind
