"""Recipes: how a neck and a head are trained, of each task that trains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from transferkit.registry import unknown
from transferkit.training import TrainingSettings

__all__ = [
    "DenseRecipe",
    "DetectionRecipe",
    "InstanceRecipe",
    "OrientedRecipe",
    "SegmentationRecipe",
    "choose_recipe",
]

_MOST_EPOCHS = 50

R = TypeVar("R", bound="DenseRecipe")


@dataclass(frozen=True)
class DenseRecipe:
    """What the recipes of all tasks have.

    Parameters
    ----------
    epochs : int
        Passes over the training images; `choose_recipe` takes more of few images.
    batch_size : int
        Images of a step.
    learning_rate, weight_decay, warmup, clip, ema, patience, precision, seed
        As for `TrainingSettings`.
    mirrored : bool
        Whether mirror images are trained on too; their maps are stored as well.
    """

    # Images that a head is trained on, over all epochs, unless the epochs are given.
    trained_on: ClassVar[int] = 1000

    epochs: int = 8
    batch_size: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    clip: float = 1.0
    ema: float = 0.0
    patience: int = 0
    precision: str = "float32"
    mirrored: bool = True
    seed: int = 0

    def settings(self) -> TrainingSettings:
        """Settings of the training loop."""
        named = {f.name for f in fields(TrainingSettings)}
        return TrainingSettings(**{n: v for n, v in asdict(self).items() if n in named})


@dataclass(frozen=True)
class SegmentationRecipe(DenseRecipe):
    """How a neck and a segmentation head are trained.

    Parameters
    ----------
    loss : str
        As `create_loss` takes it.
    class_weights : str
        How the loss weighs the classes, as `class_weights_of` takes it.
    label_smoothing : float
        Share of the target that is spread over all classes.
    """

    # On a set of 96 images 10 epochs of the unet head were as good as 14; smaller heads gain a
    # little from more.
    trained_on: ClassVar[int] = 1000

    loss: str = "cross-entropy+dice"
    class_weights: str = "none"
    label_smoothing: float = 0.0


@dataclass(frozen=True)
class DetectionRecipe(DenseRecipe):
    """How a neck and a detection head are trained.

    Parameters
    ----------
    zoomed : bool
        Whether images that are zoomed out and in are trained on too, and their mirror images;
        their maps are stored as well.
    turned : bool
        Whether images that are turned by quarters are trained on too, and their mirror images;
        their maps are stored as well. It suits what is seen from above, or in a microscope: on 96
        images of nuclei it gained 1 point of AP. Images that have an up and a down hardly need it.
    """

    # On 160 images 16 epochs of six views were 4 points of AP better than 8 of two, and 20 were
    # 3 points better than 16.
    trained_on: ClassVar[int] = 3200

    zoomed: bool = True
    turned: bool = False


@dataclass(frozen=True)
class InstanceRecipe(DetectionRecipe):
    """How a neck and an instance head are trained; see `DetectionRecipe`."""

    # On 96 images of nuclei 11 epochs took 85 s, of which masks are a third, and were 0.6 points
    # of AP better than 10; the boxes' number of images would take four minutes.
    trained_on: ClassVar[int] = 1000


@dataclass(frozen=True)
class OrientedRecipe(DetectionRecipe):
    """How a neck and a head that finds oriented boxes are trained; see `DetectionRecipe`.

    Zoomed and turned images are left out by default: their share of the steps is one that the
    images as they are don't have.
    """

    # On 120 aerial images 20 epochs of the images and their mirror images gave AP75 28, 29 and 3
    # of three classes, and with turned ones among them 26, 9 and 1, one seed.
    zoomed: bool = False
    # The mean of the weights on the way gained 0.4 and 0.2 points of AP there, 0.7 of AP75, two
    # seeds. It keeps pace with the weights when there are few steps.
    ema: float = 0.995


def choose_recipe(kind: type[R], given: Mapping[str, Any], n_images: int) -> R:
    """Complete what the user sets of a recipe.

    Parameters
    ----------
    kind : type
        `SegmentationRecipe` or `DetectionRecipe`.
    given : mapping
        Some of its fields.
    n_images : int
        Training images. Unless the epochs are given, there are 8, or as many more as it takes
        to train on ``kind.trained_on`` images, up to 50.

    Raises
    ------
    ValueError
        If there's no such field, or a value isn't allowed.

    Examples
    --------
    >>> choose_recipe(SegmentationRecipe, {"epochs": 3}, 100).epochs
    3
    >>> [choose_recipe(SegmentationRecipe, {}, n).epochs for n in (1, 100, 1000)]
    [50, 10, 8]
    """
    known = {field.name: field for field in fields(kind)}
    for name, value in given.items():
        if name not in known:
            raise unknown("setting", name, known)
        expected = type(known[name].default)
        fits = isinstance(value, int | float) if expected is float else isinstance(value, expected)
        if not fits or (expected is not bool and isinstance(value, bool)):
            raise ValueError(f"{name} is {value!r}; give a value such as {known[name].default!r}")
    needed = -(-kind.trained_on // max(n_images, 1))
    epochs = min(max(kind.epochs, needed), _MOST_EPOCHS)
    recipe = kind(**{"epochs": epochs, **given})
    for name in ("epochs", "batch_size", "learning_rate"):
        if not getattr(recipe, name) > 0:
            raise ValueError(f"{name} is {getattr(recipe, name)}; give a number above 0")
    return recipe
