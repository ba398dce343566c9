"""Measure on a sample of a run what compressing its rows costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.datasets.splits import hold_out
from transferkit.spec import FeatureSpec
from transferkit.store import Certificate, encoding

__all__ = ["SampledRows", "certify"]

Array = NDArray[Any]
# At most so many rows of a run are its sample, and fewer where they take more bytes than this.
_SAMPLE_ROWS = 4096
_SAMPLE_BYTES = 32 * 2**20
# A class with fewer rows than this isn't probed: one of four is held out.
_CLASS_ROWS = 4
_HELD_OUT = 0.25
_PENALTY = 0.1


def certify(rows: Array, storage: str, labels: Sequence[str | None] | None = None) -> Certificate:
    """Measure what a storage class costs some rows.

    Parameters
    ----------
    rows : ndarray of shape (n, ...)
        Rows as they were computed, all of which the class can hold.
    storage : {"float16", "int8"}
        Storage class.
    labels : sequence of str or None, optional
        Their classes. With two classes of four rows, into which at least half of the rows fall,
        a quarter of each class is held out, and a linear probe (ridge regression on standardized
        features) is fitted to the others: on the rows as they are read, and on those computed.

    Returns
    -------
    Certificate

    Examples
    --------
    >>> rows = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    >>> rows[:100, 0] += 9
    >>> certificate = certify(rows, "int8", ["a"] * 100 + ["b"] * 100)
    >>> certificate.mean_cosine > 0.9999, certificate.n_held_out, certificate.accuracy > 0.9
    (True, 50, True)
    """
    stored = encoding.stored_values(rows, storage)
    cosines = encoding.cosines(rows, stored)
    told = Certificate(len(rows), float(cosines.mean()), float(cosines.min()))
    probed = _probed(labels) if labels is not None and rows.ndim == 2 else None
    if probed is None:
        return told
    y = np.array([labels[i] for i in probed.tolist()]) if labels is not None else probed
    split = hold_out(len(y), _HELD_OUT, 0, labels=y)
    accuracies = [_accuracy(kind[probed], y, *split) for kind in (stored, rows)]
    return Certificate(
        told.n_rows, told.mean_cosine, told.smallest_cosine, len(split[1]), *accuracies
    )


def _probed(labels: Sequence[str | None]) -> Array | None:
    """Positions of the rows of large enough classes; None if there isn't enough to probe."""
    counts = Counter(labels)
    known = [i for i, one in enumerate(labels) if one is not None and counts[one] >= _CLASS_ROWS]
    n_classes = len({labels[i] for i in known})
    return np.array(known) if n_classes > 1 and 2 * len(known) >= len(labels) else None


def _accuracy(X: Array, y: Array, train: Array, test: Array) -> float:
    """Accuracy of a ridge classifier on held-out rows."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = X.astype(np.float32, copy=False)
    probe = make_pipeline(StandardScaler(), RidgeClassifier(alpha=_PENALTY * len(train)))
    return float(probe.fit(X[train], y[train]).score(X[test], y[test]))


class SampledRows:
    """The sample of a run: rows spread evenly over its images, kept as they were computed.

    Parameters
    ----------
    specs : dict of str to FeatureSpec
        What is computed, by name; all of one compressed storage class.
    labels : mapping of bytes to str or None
        Every image that is to be computed, by row id in the run's order, with its label if it
        has one that is a class.
    """

    def __init__(
        self, specs: Mapping[str, FeatureSpec], labels: Mapping[bytes, str | None]
    ) -> None:
        self.specs = specs
        self.labels = labels
        self.certificates: dict[str, Certificate] = {}
        self._wanted: set[bytes] | None = None
        self._ids: list[bytes] = []
        self._rows: dict[str, list[Array]] = {name: [] for name in specs}
        self._n_measured = 0

    def add(self, ids: Sequence[bytes], rows: Mapping[str, Array]) -> None:
        """Take what belongs to the sample of a batch, all of which can be stored."""
        if self._wanted is None:
            self._wanted = self._chosen(sum(rows[name][:1].nbytes for name in self.specs))
        places = [i for i, row in enumerate(ids) if row in self._wanted]
        self._ids += [ids[i] for i in places]
        for name in self.specs:
            self._rows[name] += [rows[name][i].copy() for i in places]

    def _chosen(self, row_bytes: int) -> set[bytes]:
        n = min(_SAMPLE_ROWS, max(1, _SAMPLE_BYTES // max(1, row_bytes)), len(self.labels))
        order = list(self.labels)
        return {order[i] for i in np.linspace(0, len(order) - 1, n).astype(int).tolist()}

    def provenance(self, name: str, *, is_last: bool) -> dict[str, str]:
        """Return the certificate of a feature for a shard that is about to be written.

        It is measured anew when the sample has doubled, and for the last shard.
        """
        n = len(self._ids)
        if n > self._n_measured and (is_last or n >= 2 * self._n_measured):
            labels = [self.labels[row] for row in self._ids]
            for feature, spec in self.specs.items():
                rows = np.stack(self._rows[feature])
                self.certificates[feature] = certify(rows, spec.storage, labels)
            self._n_measured = n
        known = self.certificates.get(name)
        return {} if known is None else known.to_provenance()

    def worst(self) -> dict[str, str]:
        """Certificate of the feature that has lost most, with class and feature."""
        if not self.certificates:
            return {}
        name = min(self.certificates, key=lambda name: self.certificates[name].mean_cosine)
        known = {"storage": self.specs[name].storage, "storage_feature": name}
        return known | self.certificates[name].to_provenance()
