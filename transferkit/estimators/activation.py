"""Class-activation maps: what of an image a linear head's score comes from.

If a feature is the mean of a map over its places, a score that is linear in the feature is the
mean of the scores of the places: ``w . mean(map) + b = mean(w . map + b)``. So the map of the
places' scores is no estimate: it is the score, before it was averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from transferkit.backbones import Backbone, layers_of
from transferkit.heads import linear_map
from transferkit.images import Frame, ImageSet, frame_of, list_images
from transferkit.pooling import VECTOR_LAYERS, FeatureName, parse_feature
from transferkit.registry import unknown

__all__ = ["ActivationMaps", "NoActivationMaps", "class_activation_maps"]

# Largest difference between the mean of a map and the row, relative to the row's largest value,
# by the row's numeric class: what computing in another order may move, with room to spare.
_TOLERANCE = {"float32": 1e-4, "fp16": 1e-2, "bf16": 5e-2, "float16": 5e-3, "int8": 1e-2}


class NoActivationMaps(ValueError):
    """A model's scores aren't means over the places of a map. The message says why."""


@dataclass(frozen=True, eq=False)
class ActivationMaps:
    """Scores of the places of images, and where in the images they are.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, H, W)
        The score of one class at each place, the intercept included: their mean is the score
        of the image.
    frames : list of Frame
        From the px of each image to those of the network's input.
    sizes : list of (int, int)
        Height and width of each image, px.
    image_size : (int, int)
        Height and width of the network's input, px, over which the places lie evenly.
    """

    scores: NDArray[np.float64]
    frames: list[Frame]
    sizes: list[tuple[int, int]]
    image_size: tuple[int, int]


def class_activation_maps(model: Any, images: Any, classes: Sequence[Any]) -> ActivationMaps:
    """Compute what each place of images adds to the score of a class.

    Parameters
    ----------
    model : TransferClassifier or TransferRegressor
        Fitted, with a head that is linear in its one feature, which is the mean of a map:
        ``final.avg``, ``stage3.avg``, or ``pre_logits`` of networks that average their last map.
    images
        Anything that `list_images` takes.
    classes : sequence
        For each image the class (or the label, or the target) whose score is wanted, out of
        ``model.output_names_``.

    Returns
    -------
    ActivationMaps
        The mean of an image's map is its score: what ``decision_function`` gives, or
        ``predict`` of a regressor. Of two classes the second has the score, and the first its
        negative.

    Raises
    ------
    NoActivationMaps
        If the scores aren't means over the places of a map, with the reason.
    UnreadableImages
        If images can't be read.
    ValueError
        If there is no such class, or not one for each image.

    References
    ----------
    Zhou, Khosla, Lapedriza, Oliva and Torralba (2016), "Learning deep features for
    discriminative localization", equations 1 and 2.

    Examples
    --------
    >>> from transferkit import FeatureExtractor, TransferClassifier
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    >>> images[:10] //= 4  # ten dark ones
    >>> extractor = FeatureExtractor("resnet18", pretrained=False, image_size=64, store=False)
    >>> model = TransferClassifier(extractor).fit(images, ["dark"] * 10 + ["light"] * 10)
    >>> found = class_activation_maps(model, images[:3], ["light"] * 3)
    >>> found.scores.shape
    (3, 2, 2)
    >>> scores = model.decision_function(images[:3])
    >>> bool(np.allclose(found.scores.mean((1, 2)), scores, rtol=1e-4))
    True
    """
    check_is_fitted(model)
    feature = _pooled_feature(model)
    coefficients = linear_map(model.head_)
    if coefficients is None:
        head = type(model.head_).__name__
        raise NoActivationMaps(f"the scores of its head ({head}) aren't linear in the features")
    coef, intercept = _of_classes(model, *coefficients, classes)
    listed = list_images(images)
    if len(classes) != len(listed):
        raise ValueError(f"{len(listed)} images and {len(classes)} classes; give one for each")
    if not (listed.n_images == 1).all():
        raise NoActivationMaps("its rows are of several images each")
    maps, sizes = _maps(model.extractor_, feature, listed)
    scores = np.einsum("nd,ndhw->nhw", coef, maps.astype(np.float64))
    preprocess = model.extractor_.resolve().preprocess
    frames = [frame_of(size, preprocess) for size in sizes]
    return ActivationMaps(scores + intercept[:, None, None], frames, sizes, preprocess.image_size)


def _pooled_feature(model: Any) -> FeatureName:
    """The model's one feature, if it may be the mean of a map."""
    names = model.extractor_.feature_names
    if len(names) > 1:
        raise NoActivationMaps(
            f"its rows are {len(names)} features side by side ({', '.join(names)}), not the mean "
            f"of one map"
        )
    feature = parse_feature(names[0])
    if feature.layer == "logits" or feature.pooling not in ("", "avg"):
        raise NoActivationMaps(f"its feature {str(feature)!r} isn't the mean of a map")
    return feature


def _of_classes(
    model: Any, coef: NDArray[Any], intercept: NDArray[Any], classes: Sequence[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Coefficients and intercept of the class of each image."""
    known = model.output_names_.tolist()
    wrong = [label for label in classes if label not in known]
    if wrong:
        raise unknown("class", str(wrong[0]), [str(label) for label in known])
    if len(known) == 2 and len(coef) == 1:  # the second class's against 0
        coef, intercept = np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])
    at = np.array([known.index(label) for label in classes], dtype=np.intp)
    return coef[at], intercept[at]


def _maps(
    extractor: Any, feature: FeatureName, images: ImageSet
) -> tuple[NDArray[Any], list[tuple[int, int]]]:
    """Maps whose means the images' rows are, and the images' sizes."""
    layer = "final" if feature.layer in VECTOR_LAYERS else feature.layer
    norm = "_norm" if feature.is_normed else ""
    network = extractor.backbone
    layers = network.layers if isinstance(network, Backbone) else layers_of(extractor.resolve())
    if layer not in layers or not layers[layer].is_map:
        raise NoActivationMaps(f"its network gives no map {layer!r}")
    both = [str(feature), str(parse_feature(f"{layer}.map{norm}"))]
    extraction = clone(extractor).set_params(features=both).extract(images)
    rows, maps = (np.asarray(extraction.rows[name]) for name in both)
    is_mean = maps.shape[1] == rows.shape[1] and _is_close(
        maps.mean((2, 3), dtype=np.float64), rows, extractor
    )
    if not is_mean:
        raise NoActivationMaps(
            f"its feature {str(feature)!r} isn't the mean of the network's map {layer!r}; "
            f"a model of '{layer}.avg' has maps"
        )
    return maps, [(height, width) for height, width in extraction.sizes.tolist()]


def _is_close(means: NDArray[Any], rows: NDArray[Any], extractor: Any) -> bool:
    tolerance = max(_TOLERANCE.get(kind, 0.0) for kind in (extractor.precision, extractor.storage))
    return bool(np.abs(means - rows).max() <= tolerance * np.abs(rows).max())
