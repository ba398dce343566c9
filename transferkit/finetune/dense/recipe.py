"""Live recipes: all that decides how backbone, neck and head are trained together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

from transferkit.dense.recipe import (
    DenseRecipe,
    DetectionRecipe,
    OrientedRecipe,
    SegmentationRecipe,
    choose_recipe,
)
from transferkit.finetune.recipe import Strategy, check_number, check_whole
from transferkit.finetune.strategies import parse_strategy, strategy_names
from transferkit.registry import unknown

__all__ = [
    "LiveDetectionRecipe",
    "LiveOrientedRecipe",
    "LiveRecipe",
    "LiveSettings",
    "choose_live_recipe",
    "dense_strategy",
]

L = TypeVar("L", bound="LiveSettings")


@dataclass(frozen=True)
class LiveSettings(DenseRecipe):
    """What the live recipes of all tasks have beside the fields of `DenseRecipe`.

    Parameters
    ----------
    accumulate : int, default=1
        Parts that a step's images are computed in, one after the other; saves memory.
    optimizer : str, default="adamw"
        timm's name.
    backbone_rate : float, default=0.1
        Share of the learning rate that the backbone has. Where few of its parameters are trained
        (``norm-only``, ``bias-only``, ``lora``) it is 1 by default.
    layer_decay : float, default=1
        Factor of the rate from each of the backbone's layers to the one below it.
    jitter : float, default=0
        Strength of random changes of brightness, contrast and colour.
    drop_path : float, default=0
        Largest probability that a residual branch is left out.
    checkpointing : bool, default=False
        Whether activations are computed again in the backward pass; saves memory.
    freeze_statistics : bool, default=True
        Whether batch norm keeps its means and variances, which the stored maps were made with.
    validation_fraction : float, default=0.1
        Share of the training images held out to choose the best epoch, where no validation part
        is given; 0 for none.
    lora_rank : int, default=8
        Rank of LoRA's matrices.
    minutes : float, default=0
        Time that training may take; the epochs are cut down to what fits. 0 for no limit.
    """

    # The recipe of neck and head on stored maps, which has the fields that both have.
    of_head: ClassVar[type[DenseRecipe]] = DenseRecipe

    accumulate: int = 1
    optimizer: str = "adamw"
    backbone_rate: float = 0.1
    layer_decay: float = 1.0
    jitter: float = 0.0
    drop_path: float = 0.0
    checkpointing: bool = False
    freeze_statistics: bool = True
    validation_fraction: float = 0.1
    lora_rank: int = 8
    minutes: float = 0.0

    def __post_init__(self) -> None:
        for name in ("accumulate", "lora_rank"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("jitter", "minutes"):
            check_number(name, getattr(self, name), "0 or a number above it", least=0)
        for name in ("drop_path", "validation_fraction"):
            check_number(
                name, getattr(self, name), "a number from 0 up to, but not, 1", least=0, below=1
            )
        _check_share("layer_decay", self.layer_decay)
        check_number("backbone_rate", self.backbone_rate, "a number above 0", above=0)
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size} and accumulate {self.accumulate}; give a batch "
                "size that is a multiple of accumulate"
            )

    def lines(self) -> list[str]:
        """Names and values of the settings, one text each; those that do nothing are left out.

        Examples
        --------
        >>> LiveSettings(epochs=3).lines()[0]
        'epochs 3'
        """
        shown = ("epochs", "batch_size", "learning_rate", "seed")
        return [
            f"{name.replace('_', ' ')} {value}"
            for name, value in asdict(self).items()
            if name in shown or value not in (0, False, "none")
        ]


@dataclass(frozen=True)
class LiveRecipe(LiveSettings, SegmentationRecipe):
    """How a whole network is trained to segment.

    Its other fields are those of `LiveSettings` and `SegmentationRecipe`, and mean the same: a
    ``mirrored`` image is one whose pixels and mask are mirrored, half of all that are drawn.

    Parameters
    ----------
    crop_scale : float, default=1
        Smallest share of an image's area that is cropped and resized; 1 doesn't crop.
    """

    of_head: ClassVar[type[DenseRecipe]] = SegmentationRecipe

    crop_scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("crop_scale", self.crop_scale)


@dataclass(frozen=True)
class LiveDetectionRecipe(LiveSettings, DetectionRecipe):
    """How a whole network is trained to find objects.

    Its other fields are those of `LiveSettings` and `DetectionRecipe`. Images are changed anew
    in every epoch: half of them are ``mirrored``, ``zoomed`` ones are shrunk or enlarged by a
    factor, and put at a place, of their own, and ``turned`` ones are turned by 0, 90, 180 or 270
    degrees, each as likely.

    Parameters
    ----------
    learning_rate : float, default=1e-3
        Of neck and head.
    ema : float, default=0.99
        As for `TrainingSettings`. The mean of the weights was 0.5 to 6 points of AP better.
    jitter : float, default=0.2
        As for `LiveSettings`.
    zoom_out : float, default=0.5
        Smallest factor of a zoom.
    zoom_in : float, default=1.6
        Largest factor of a zoom.
    mosaic : float, default=0
        Share of the images that are put together of four.
    """

    of_head: ClassVar[type[DenseRecipe]] = DetectionRecipe

    learning_rate: float = 1e-3
    ema: float = 0.99
    jitter: float = 0.2
    zoom_out: float = 0.5
    zoom_in: float = 1.6
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_share("zoom_out", self.zoom_out)
        check_number("zoom_in", self.zoom_in, "a number from 1 to 10", least=1, most=10)
        check_number("mosaic", self.mosaic, "a number from 0 to 1", least=0, most=1)


@dataclass(frozen=True)
class LiveOrientedRecipe(LiveDetectionRecipe, OrientedRecipe):
    """How a whole network is trained to find oriented boxes; see `LiveDetectionRecipe`.

    Parameters
    ----------
    zoomed, turned : bool, default=False
        As for `OrientedRecipe`, whose head is trained first.
    """

    of_head: ClassVar[type[DenseRecipe]] = OrientedRecipe

    zoomed: bool = False
    turned: bool = False


def _check_share(name: str, value: float) -> None:
    check_number(name, value, "a number above 0 and at most 1", above=0, most=1)


def dense_strategy(name: str) -> Strategy:
    """Find a strategy for dense tasks by its name.

    Raises
    ------
    ValueError
        If there is none of that name, or it isn't for dense tasks.

    Examples
    --------
    >>> dense_strategy("lp-ft").backbone_rate
    0.1
    """
    strategy = parse_strategy(name)
    if strategy.n_stages is not None:
        others = ", ".join(other for other in strategy_names() if "stages" not in other)
        raise ValueError(
            f"strategy {name!r} trains on cached maps of one stage, and a dense head takes those "
            f"of several; choose one of {others}"
        )
    return strategy


def choose_live_recipe(
    settings: Mapping[str, Any], strategy: Strategy, n_images: int, kind: type[L]
) -> L:
    """Complete what the user sets of a recipe.

    Parameters
    ----------
    settings : mapping
        Fields of the recipe.
    strategy : Strategy
        What is trained.
    n_images : int
        Training images.
    kind : type
        `LiveRecipe`, `LiveDetectionRecipe` or `LiveOrientedRecipe`.

    Raises
    ------
    ValueError
        If there's no such field, or a value isn't allowed.

    Examples
    --------
    >>> strategy = dense_strategy("norm-only")
    >>> choose_live_recipe({"epochs": 3}, strategy, 100, LiveRecipe).backbone_rate
    1.0
    """
    known = [field.name for field in fields(kind)]
    for name in settings:
        if name not in known:
            raise unknown("setting of the recipe:", name, known)
    of_head = {field.name for field in fields(kind.of_head)}
    defaults = {field.name: field.default for field in fields(kind) if field.name in of_head}
    shared = {name: value for name, value in settings.items() if name in of_head}
    own = {name: value for name, value in settings.items() if name not in of_head}
    for field in fields(kind):
        value = own.get(field.name, field.default)
        if isinstance(field.default, bool) and not isinstance(value, bool):
            raise ValueError(f"{field.name} is {value!r}; give true or false")
    # An epoch of the whole network takes long, and the head has been trained before it.
    head = choose_recipe(kind.of_head, {**defaults, **shared}, n_images)
    return kind(**{**asdict(head), "backbone_rate": strategy.backbone_rate, **own})
