"""A deadline for training: the number of epochs that fit before it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Shortage", "duration", "epochs_that_fit"]


@dataclass(frozen=True)
class Shortage:
    """The time left is less than one epoch takes.

    Parameters
    ----------
    epochs : float
        Epochs that fit, below 1.
    n_samples : int
        Training samples.
    epoch_seconds, seconds_left : float
        Time that an epoch takes, and that there is.
    """

    epochs: float
    n_samples: int
    epoch_seconds: float
    seconds_left: float

    @property
    def seconds_wanted(self) -> float:
        """Time of three epochs, the fewest in which a schedule warms up, learns and settles."""
        return 3 * self.epoch_seconds / _USED

    def __str__(self) -> str:
        return (
            f"{duration(self.seconds_left)} allow about {self.epochs:.1f} epochs on "
            f"{self.n_samples:,} samples (an epoch takes about {duration(self.epoch_seconds)}), of "
            f"which little can be expected; give {duration(self.seconds_wanted)} or more"
        )


# Share of the time left that is planned with, to keep a reserve.
_USED = 0.95


def epochs_that_fit(seconds_left: float, epoch_seconds: float, first_seconds: float) -> float:
    """How many epochs fit into the time left.

    Parameters
    ----------
    seconds_left : float
        Time until the deadline.
    epoch_seconds : float
        Time of an epoch, its evaluation included.
    first_seconds : float
        Time of the evaluation before the first epoch.

    Examples
    --------
    >>> epochs_that_fit(100, 19, 0)
    5.0
    """
    return max(_USED * seconds_left - first_seconds, 0) / epoch_seconds


def duration(seconds: float) -> str:
    """Write a time in a suitable unit.

    Examples
    --------
    >>> duration(14.2), duration(444), duration(9000)
    ('14 s', '7.4 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
