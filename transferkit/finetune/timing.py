"""What is said where the time given is too short."""

from __future__ import annotations

__all__ = ["duration", "too_short"]


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    Examples
    --------
    >>> duration(14.2), duration(444), duration(9000)
    ('14 s', '7.4 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def too_short(
    strategy: str, fitting: float, n_images: int, epoch: float, left: float, minutes: float
) -> str:
    """Say that less than one epoch fits, and what would.

    Parameters
    ----------
    strategy : str
        Its name.
    fitting : float
        Epochs that fit.
    n_images : int
        Training images.
    epoch, left : float
        Seconds that an epoch takes, and that are left.
    minutes : float
        The time given.
    """
    # What has to be done before, and three epochs: the fewest that warm up, learn and settle.
    enough = 60 * minutes - left + 3 * epoch / 0.95
    others = f"give {duration(enough)} or more (three epochs), or a smaller image size"
    if strategy and not strategy.startswith("last-"):
        # Without gradient an image takes a third of the time; of several views each.
        others += (
            f", or strategy 'last-1-stages' with views=0, whose maps take about "
            f"{duration(epoch / 3)} once, and whose epochs a fraction of that"
        )
    return (
        f"{minutes:g} minutes allow about {fitting:.1f} epochs of {strategy or 'training'} on "
        f"{n_images:,} images (an epoch takes about {duration(epoch)}), of which little can be "
        f"expected; {others}"
    )
