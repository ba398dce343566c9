"""A training loop for any network: it takes a loss, an evaluation, and batches of samples.

`TrainingLoop` runs the epochs, `TrainingSettings` holds the settings, and `Processes` stands for
one device or several. The loop doesn't depend on the task or on the form of samples and targets.
"""

from transferkit.training.batches import Batches, Samples, load_batches, seed_of
from transferkit.training.checkpoints import CHECKPOINT, TrainingStopped, warn_of_checkpoint
from transferkit.training.loop import Evaluation, TrainingLoop
from transferkit.training.processes import Processes, native_precision
from transferkit.training.settings import TrainingSettings
from transferkit.training.timing import Shortage, duration

__all__ = [
    "CHECKPOINT",
    "Batches",
    "Evaluation",
    "Processes",
    "Samples",
    "Shortage",
    "TrainingLoop",
    "TrainingSettings",
    "TrainingStopped",
    "duration",
    "load_batches",
    "native_precision",
    "seed_of",
    "warn_of_checkpoint",
]
