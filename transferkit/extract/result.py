"""What an extraction gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from transferkit.images import Failure

__all__ = ["Extraction"]

# Seconds in the network above which a quicker class is worth a word.
_LONG = 30.0


@dataclass(frozen=True)
class Extraction:
    """Features of some images, and what it took to get them.

    Parameters
    ----------
    rows : dict of str to ndarray
        Feature name to rows, ``(n_kept, d)`` or ``(n_kept, D, H, W)``, in the images' order;
        ``(0, …)`` if they were only to be checked.
    kept : ndarray of int
        Positions of the images that have a row.
    ids : tuple of bytes
        Row ids of the kept images.
    failures : tuple of Failure
        The images that could not be read.
    n_computed : int
        Different images that went through the network.
    n_read : int
        Files whose bytes were read to be digested.
    seconds : float
        Wall time.
    shares : dict of str to float, default={}
        Seconds that threads spent, added up: read, decode, forward, write.
    provenance : dict of str to str, optional
        Where new rows come from: device, engine, versions; in other classes than float32 how
        far they are from it.
    is_bf16_quicker : bool, default=False
        Whether it was computed in float32 on a CPU that multiplies bf16 natively.
    """

    rows: dict[str, np.ndarray]
    kept: np.ndarray
    ids: tuple[bytes, ...]
    failures: tuple[Failure, ...]
    n_computed: int
    n_read: int
    seconds: float
    shares: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, str] | None = None
    is_bf16_quicker: bool = False

    def summary(self) -> str:
        """One line with numbers and units."""
        n_stored = len(set(self.ids)) - self.n_computed
        rate = f" ({self.n_computed / self.seconds:,.1f} images/s)" if self.n_computed else ""
        line = f"extracted {self.n_computed:,} images in {self.seconds:.1f} s{rate}"
        line += f"; {n_stored:,} from the store"
        if not self.n_computed:
            line += ": no weights loaded"
            if not self.failures:  # these are tried again each time
                line += ", no image decoded"
                line += ", no file read" if not self.n_read else f", {self.n_read:,} files hashed"
        if duplicates := len(self.ids) - len(set(self.ids)):
            line += f"; {duplicates:,} duplicate{'s' * (duplicates > 1)}"
        if self.failures:
            line += f"; {len(self.failures):,} unreadable"
        return line

    def notes(self) -> list[tuple[str, str]]:
        """Name and text of what else is worth a line: where the time went, how exact it is."""
        lines = []
        if self.n_computed and (total := sum(self.shares.values())):
            parts = [f"{name} {value / total:.0%}" for name, value in self.shares.items()]
            lines.append(("time", ", ".join(parts)))
        known = self.provenance or {}
        if "mean_cosine" in known:
            lines.append(
                (
                    "exactness",
                    f"cosine to torch in float32 {known['mean_cosine']} on average, "
                    f"{known['smallest_cosine']} at least, on the first images",
                )
            )
        if self.is_bf16_quicker and self.shares.get("forward", 0) > _LONG:
            lines.append(
                (
                    "hint",
                    "--precision bf16 needs about half the time for the network on this CPU; "
                    "features move (their cosine to float32 is about 0.99), and have their own key",
                )
            )
        return lines
