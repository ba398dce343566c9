"""What compressing rows has cost, measured on a sample and kept as provenance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

__all__ = ["PROVENANCE_NAMES", "Certificate", "best"]

PROVENANCE_NAMES = frozenset(
    f"storage_{name}"
    for name in (
        "sample",
        "mean_cosine",
        "smallest_cosine",
        "held_out",
        "accuracy",
        "float32_accuracy",
    )
)
"""Names under which a certificate stands in the provenance of a shard."""


@dataclass(frozen=True)
class Certificate:
    """How near rows of a compressed storage class are to float32, on a sample of a run.

    Parameters
    ----------
    n_rows : int
        Rows of the sample; 0 if it isn't known, as earlier versions didn't tell it.
    mean_cosine, smallest_cosine : float
        Of the rows as they are read to those that were computed.
    n_held_out : int, default=0
        Rows of the sample that a probe was tried on; 0 without labels.
    accuracy, float32_accuracy : float, default=0.0
        Share of them that a linear probe gets right, trained and tried on the rows as they are
        read, and on those that were computed.

    Examples
    --------
    >>> certificate = Certificate(2000, 0.99997, 0.9999, 500, 0.93, 0.932)
    >>> certificate.text()
    'cosine to float32 0.9999700 on average, 0.9999000 at least, of 2,000 rows; a linear probe \
is right on 93.0 % of 500 held-out images, on 93.2 % in float32'
    >>> Certificate.of(certificate.to_provenance()) == certificate
    True
    """

    n_rows: int
    mean_cosine: float
    smallest_cosine: float
    n_held_out: int = 0
    accuracy: float = 0.0
    float32_accuracy: float = 0.0

    @classmethod
    def of(cls, provenance: Mapping[str, str]) -> Self | None:
        """Return the certificate that stands in a shard's provenance; None if there is none."""
        try:
            return cls(
                int(provenance.get("storage_sample", "0")),
                float(provenance["storage_mean_cosine"]),
                float(provenance["storage_smallest_cosine"]),
                int(provenance.get("storage_held_out", "0")),
                float(provenance.get("storage_accuracy", "0")),
                float(provenance.get("storage_float32_accuracy", "0")),
            )
        except (KeyError, ValueError):  # it may come from a stranger
            return None

    def to_provenance(self) -> dict[str, str]:
        """Texts by name, for a shard's header."""
        texts = {
            "storage_sample": str(self.n_rows),
            "storage_mean_cosine": f"{self.mean_cosine:.7f}",
            "storage_smallest_cosine": f"{self.smallest_cosine:.7f}",
        }
        if self.n_held_out:
            texts |= {
                "storage_held_out": str(self.n_held_out),
                "storage_accuracy": f"{self.accuracy:.4f}",
                "storage_float32_accuracy": f"{self.float32_accuracy:.4f}",
            }
        return texts

    def text(self) -> str:
        """One line with numbers."""
        line = (
            f"cosine to float32 {self.mean_cosine:.7f} on average, {self.smallest_cosine:.7f} at "
            f"least, of {f'{self.n_rows:,} rows' if self.n_rows else 'the first rows'}"
        )
        if self.n_held_out:
            line += (
                f"; a linear probe is right on {self.accuracy:.1%} of {self.n_held_out:,} held-out "
                f"images, on {self.float32_accuracy:.1%} in float32"
            ).replace("%", " %")
        return line


def best(provenances: Iterable[Mapping[str, str]]) -> Certificate | None:
    """Of several shards' certificates, return the one of the largest sample, of equals the first.

    Parameters
    ----------
    provenances : iterable of dict of str
        Of the shards.
    """
    found = [one for one in map(Certificate.of, provenances) if one is not None]
    return max(found, key=lambda one: (one.n_held_out > 0, one.n_rows), default=None)
