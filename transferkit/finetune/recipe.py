"""`Recipe` and `Strategy`: everything that decides a fine-tuning run.

`choose_recipe` finds good values for a strategy and a data set's size.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from transferkit.registry import unknown

if TYPE_CHECKING:
    from transferkit.training import TrainingSettings

__all__ = [
    "SMALL_BATCH",
    "BodySettings",
    "Recipe",
    "Strategy",
    "check_number",
    "check_whole",
    "choose_recipe",
    "setting_names",
]

SMALL_BATCH = 32
"""Images per device below which batch norm keeps its pretrained statistics by default."""


@dataclass(frozen=True)
class Strategy:
    """A strategy, by its name.

    Parameters
    ----------
    name : str
        As the user writes it.
    n_stages : int, optional
        How many stages are trained, on cached activations; None for the whole network.
    starts_from_probe : bool, default=True
        Whether the head is a linear probe's before the first step.
    learning_rate : float
        Default of the recipe.
    layer_decay : float
        Default of the recipe.
    epoch_factor : int, default=1
        How many times as many epochs it takes by default.
    keeps_statistics : bool, default=True
        Whether batch norm keeps its means and variances by default, which the probe's head was
        fitted with.
    backbone_rate : float, default=0.1
        In dense tasks, the share of the head's learning rate that the backbone has by default.
    """

    name: str
    n_stages: int | None = None
    starts_from_probe: bool = True
    learning_rate: float = 5e-4
    layer_decay: float = 0.85
    epoch_factor: int = 1
    keeps_statistics: bool = True
    backbone_rate: float = 0.1


class BodySettings(Protocol):
    """What a recipe says of a backbone's network; see `Recipe`."""

    @property
    def drop_path(self) -> float:
        """Largest probability that a residual branch is left out."""

    @property
    def checkpointing(self) -> bool:
        """Whether activations are computed again in the backward pass."""

    @property
    def freeze_statistics(self) -> bool:
        """Whether batch norm keeps its pretrained means and variances."""

    @property
    def lora_rank(self) -> int:
        """Rank of LoRA's matrices."""


@dataclass(frozen=True)
class Recipe:
    """All settings of a fine-tuning run, none left to a default.

    Parameters
    ----------
    epochs : int
        Passes over the training images; the cosine ends with the last.
    batch_size : int
        Images of one step, over all devices and accumulated parts.
    accumulate : int
        Parts that a step's images are computed in, one after the other; saves memory.
    optimizer : str
        timm's name, such as ``"adamw"``, ``"sgd"``, ``"lion"``.
    learning_rate : float
        Highest rate, of the head and the last layers.
    weight_decay : float
        Of matrices and filters; biases, norms and other vectors have none.
    layer_decay : float
        Factor of the learning rate from each of timm's layers to the one below it; 1 for none.
    warmup : float
        Share of all steps in which the rate rises from 0.
    clip : float
        Largest norm of the gradient; 0 doesn't clip.
    ema : float
        Decay of the running mean of the weights, which is then what is kept; 0 for none.
    label_smoothing : float
        Share of each target that is spread evenly over all classes.
    class_weight : str, dict or None
        ``"balanced"``, or the weight of every class's loss, by label.
    sampling : {"shuffle", "balanced"}
        Every image once an epoch, or each class as often as the others.
    crop_scale : float
        Least share of the image's area that a random crop shows; 1 doesn't crop.
    flip : bool
        Whether half of the images are mirrored.
    jitter : float
        Largest relative change of brightness, contrast and saturation.
    rand_augment : int
        Magnitude of RandAugment's two operations, 0 to 30; 0 for none.
    erasing : float
        Share of images of which a rectangle is erased.
    mixup, cutmix : float
        Parameter of the beta distribution; 0 for none.
    drop_path : float
        Largest probability that a residual branch is left out.
    checkpointing : bool
        Whether activations are computed again in the backward pass; saves memory.
    freeze_statistics : bool
        Whether batch norm keeps its pretrained means and variances.
    validation_fraction : float
        Share held out to choose the best epoch, where no validation part is given; 0 for none.
    patience : int
        Epochs without a better one after which training ends; 0 for never.
    views : int
        Augmented views of each image that ``last-N-stages`` keeps beside the plain one.
    lora_rank : int
        Rank of LoRA's matrices.
    precision : {"float32", "bf16", "fp16"}
        Numeric class of the forward pass; weights and optimizer are float32.
    minutes : float
        Time that training may take; the epochs are cut down to what fits. 0 for no limit.
    seed : int
        Decides the hold-out, the order, the augmentation and everything else that is drawn.
    """

    epochs: int
    batch_size: int
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 5e-4
    weight_decay: float = 0.05
    layer_decay: float = 1.0
    warmup: float = 0.1
    clip: float = 1.0
    ema: float = 0.0
    label_smoothing: float = 0.1
    class_weight: Any = None
    sampling: str = "shuffle"
    crop_scale: float = 0.5
    flip: bool = True
    jitter: float = 0.2
    rand_augment: int = 0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    drop_path: float = 0.0
    checkpointing: bool = False
    freeze_statistics: bool = False
    validation_fraction: float = 0.1
    patience: int = 0
    views: int = 4
    lora_rank: int = 8
    precision: str = "float32"
    minutes: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "lora_rank"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("patience", "views", "rand_augment", "seed"):
            check_whole(name, getattr(self, name), least=0)
        for name in ("learning_rate", "layer_decay"):
            check_number(name, getattr(self, name), "a number above 0", above=0)
        for name in ("weight_decay", "clip", "jitter", "mixup", "cutmix", "minutes"):
            check_number(name, getattr(self, name), "0 or a number above it", least=0)
        for name in ("warmup", "ema", "label_smoothing", "drop_path", "validation_fraction"):
            check_number(
                name, getattr(self, name), "a number from 0 up to, but not, 1", least=0, below=1
            )
        check_number("erasing", self.erasing, "a number from 0 to 1", least=0, most=1)
        check_number(
            "crop_scale", self.crop_scale, "a number above 0 and at most 1", above=0, most=1
        )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size is {self.batch_size} and accumulate {self.accumulate}; give a batch "
                f"size that is a multiple of accumulate"
            )
        if self.views > 999:  # three digits of a view's number
            raise ValueError(f"views is {self.views}; give a whole number from 0 to 999")
        if self.rand_augment > 30:
            raise ValueError(f"rand_augment is {self.rand_augment}; give a magnitude from 0 to 30")
        choices = {"sampling": ("shuffle", "balanced"), "precision": ("float32", "bf16", "fp16")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}"
                )

    def training_settings(self) -> TrainingSettings:
        """Return the settings that the training loop needs."""
        from transferkit.training import TrainingSettings

        names = [field.name for field in dataclasses.fields(TrainingSettings)]
        return TrainingSettings(**{name: getattr(self, name) for name in names})

    def lines(self, strategy: Strategy | None = None) -> list[tuple[str, str]]:
        """Names and values of the settings that the strategy uses, as printed before training."""
        off = (0, 0.0, None, False)
        unused = set()
        if strategy is not None:
            unused |= set() if strategy.n_stages else {"views"}
            unused |= set() if strategy.name == "lora" else {"lora_rank"}
        shown = ("epochs", "batch_size", "learning_rate", "seed")
        return [
            (field.name.replace("_", " "), str(getattr(self, field.name)))
            for field in dataclasses.fields(self)
            if field.name not in unused
            and (field.name in shown or getattr(self, field.name) not in off)
        ]

    def table(self, strategy: Strategy | None = None) -> list[str]:
        """The same as a table of three columns, one text a line.

        Examples
        --------
        >>> for line in Recipe(epochs=3, batch_size=8).table()[:2]:
        ...     print(line)
        epochs         3        warmup           0.1       validation fraction  0.1
        batch size     8        clip             1.0       views                4
        """
        lines = self.lines(strategy)
        n_rows = -(-len(lines) // 3)
        columns = [lines[start : start + n_rows] for start in range(0, len(lines), n_rows)]
        texts = []
        for column in columns:
            widths = [max(map(len, part)) for part in zip(*column, strict=True)]
            texts.append([f"{n:<{widths[0]}}  {v:<{widths[1]}}" for n, v in column])
        return ["   ".join(row).rstrip() for row in zip_longest(*texts, fillvalue="")]


def check_whole(name: str, value: Any, *, least: int) -> None:
    """Raise a ValueError if a setting is no whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")


def check_number(
    name: str,
    value: Any,
    what: str,
    *,
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
) -> None:
    """Raise a ValueError, which says `what` to give, if a setting isn't within its bounds."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (value >= least and above < value < below and value <= most):
        raise ValueError(f"{name} is {value!r}; give {what}")


def setting_names() -> list[str]:
    """Names of a recipe's settings.

    Examples
    --------
    >>> "layer_decay" in setting_names()
    True
    """
    return [field.name for field in dataclasses.fields(Recipe)]


def choose_recipe(
    settings: Mapping[str, Any],
    strategy: Strategy,
    n_images: int,
    *,
    n_devices: int = 1,
    precision: str = "float32",
) -> Recipe:
    """Choose a recipe for a data set's size. Settings that are given are kept.

    Few images need many epochs at a low rate, many images need few epochs. Batch norm keeps its
    statistics with less than `SMALL_BATCH` images per device, and where the strategy starts
    from a head that was fitted with them.

    Parameters
    ----------
    settings : mapping
        Fields of `Recipe` that the user sets.
    strategy : Strategy
        What is trained.
    n_images : int
        Training images.
    n_devices : int, default=1
        Devices that share a batch.
    precision : str, default="float32"
        The device's fastest safe numeric class.

    Raises
    ------
    ValueError
        If there's no such setting, or a value isn't allowed.

    Examples
    --------
    >>> from transferkit.finetune.strategies import parse_strategy
    >>> choose_recipe({}, parse_strategy("lp-ft"), 2000).epochs
    30
    """
    for name in settings:
        if name not in setting_names():
            raise unknown("setting of the recipe:", name, setting_names())
    batch = 8 if n_images < 100 else 16 if n_images < 500 else 32 if n_images < 20_000 else 64
    epochs = next(e for n, e in ((500, 40), (5000, 30), (50_000, 15), (10**12, 8)) if n_images < n)
    # With few images a high rate destroys the start: at three times this rate the
    # head forgot its probe within an epoch.
    gentle = 0.3 if n_images < 500 else 1.0
    chosen: dict[str, Any] = {
        "epochs": epochs * strategy.epoch_factor,
        "batch_size": batch,
        "learning_rate": gentle * strategy.learning_rate,
        "layer_decay": strategy.layer_decay,
        "precision": precision,
        # A search's grid often holds NumPy's numbers, for which JSON has no place.
        **{n: v.item() if isinstance(v, np.generic) else v for n, v in settings.items()},
    }
    if "freeze_statistics" not in settings:
        parts = chosen.get("accumulate", 1) * n_devices
        size = chosen["batch_size"]
        is_known = isinstance(size, int) and isinstance(parts, int) and parts > 0
        is_small = is_known and size // parts < SMALL_BATCH
        chosen["freeze_statistics"] = strategy.keeps_statistics or is_small
    return Recipe(**chosen)
