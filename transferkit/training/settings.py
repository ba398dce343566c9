"""`TrainingSettings`: how a network is trained, whatever it learns."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrainingSettings"]


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training, all of them resolved.

    Parameters
    ----------
    epochs : int
        Passes over the training samples; the cosine ends with the last.
    batch_size : int
        Samples of one step, over all devices and accumulated parts.
    accumulate : int
        Parts that a step's samples are computed in, one after the other; saves memory.
    optimizer : str
        timm's name, such as ``"adamw"``, ``"sgd"``, ``"lion"``.
    learning_rate : float
        Highest rate, of the layers that have the whole of it.
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
    patience : int
        Epochs without a better one after which training ends; 0 for never.
    precision : {"float32", "bf16", "fp16"}
        Numeric class of the forward pass; weights and optimizer are float32.
    seed : int
        Decides the order of the samples and everything that is drawn.
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
    patience: int = 0
    precision: str = "float32"
    seed: int = 0
