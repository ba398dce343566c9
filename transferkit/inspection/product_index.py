"""An index of rows by product quantisation: short codes that find candidates, for search alone.

Each row is cut into parts, and of each part the number of the nearest of 256 centroids is kept:
some tens of bytes a row, in memory. A query is compared with all codes; the rows of the nearest are
read from the store and compared exactly, so that scores are exact, and what may be missing are
rows whose codes were too far off. How many are is measured whenever the index is written.

References
----------
Jégou, Douze and Schmid (2011), "Product quantization for nearest neighbor search".
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.digests import ID_BYTES
from transferkit.files import write_whole
from transferkit.inspection.neighbors import nearest_of_candidates, nearest_rows
from transferkit.solvers.standardize import unit_rows

__all__ = ["MIN_ROWS", "ProductIndex", "open_index"]

Array = NDArray[Any]
logger = logging.getLogger(__name__)

MIN_ROWS = 10_000
"""Below this exact search is quick, and there is too little to learn centroids from."""

_PARTS = 64
_BITS = 8
_TRAINED_ON = 2**15
_TRIED = 100
_TRIED_K = 20
# Numbers of the largest block of rows that is encoded at once.
_BLOCK = 2**24


@dataclass(frozen=True, eq=False)
class ProductIndex:
    """Codes of rows, and the centroids that they stand for.

    Parameters
    ----------
    keys : tuple of str
        Of the features whose rows stand side by side.
    metric : {"cosine", "euclidean"}
        How rows are compared.
    n_features : int
        Numbers of a row, of all features together.
    centroids : ndarray of shape (n_parts, n_centroids, width), float32
        Of rows of length 1 if they are compared by their cosine.
    ids : ndarray of shape (n,), S16
        Row ids, sorted, each once.
    codes : ndarray of shape (n, n_bytes), uint8
        Their codes.
    recall : float
        Share of the 20 nearest rows by exact search that it finds, on rows of the data set.
    """

    keys: tuple[str, ...]
    metric: str
    n_features: int
    centroids: Array
    ids: Array
    codes: Array
    recall: float = 0.0

    def told(self) -> str:
        """What it is, in a line."""
        return (
            f"product quantisation, {self.codes.shape[1]} bytes a row; the nearest by these are "
            f"compared exactly; finds {self.recall:.1%} of the {_TRIED_K} nearest".replace(
                "%", " %"
            )
        )

    def extended(self, sources: Sequence[Any], ids: Array) -> ProductIndex:
        """Return the index with rows that it lacks, and its recall on these sources."""
        new, first = np.unique(ids, return_index=True)
        first = first[~np.isin(new, self.ids)]
        if not len(first):
            return self
        quantiser = self._quantiser(self.codes[:0])
        step = max(1, _BLOCK // self.n_features)
        parts = [self.codes]
        for start in range(0, len(first), step):
            rows = self._prepared(_rows_at(sources, np.sort(first)[start : start + step]))
            parts.append(quantiser.sa_encode(rows))
        every = np.concatenate([self.ids, ids[np.sort(first)]])
        order = np.argsort(every)
        larger = dataclasses.replace(
            self, ids=every[order], codes=np.concatenate(parts)[order], recall=0.0
        )
        return dataclasses.replace(larger, recall=larger._measured_recall(sources, ids))

    def _measured_recall(self, sources: Sequence[Any], ids: Array) -> float:
        n = len(ids)
        own = np.unique(np.linspace(0, n - 1, _TRIED).astype(np.intp))
        queries, k = _rows_at(sources, own), min(_TRIED_K, n - 1)
        left_out = [np.array([i]) for i in own.tolist()]
        exact, _ = nearest_rows(queries, sources, k, metric=self.metric, left_out=left_out)
        found, _ = self.search(queries, sources, ids, k, left_out=left_out)
        shares = [np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]
        return float(np.mean(shares))

    def search(
        self,
        queries: Array,
        sources: Sequence[Any],
        ids: Array,
        k: int,
        *,
        left_out: Sequence[Array] | None = None,
    ) -> tuple[list[Array], list[Array]]:
        """Find the nearest rows of each query as `nearest_rows` does, if not always all.

        Parameters
        ----------
        queries, sources, k, left_out
            As for `nearest_rows`.
        ids : ndarray of shape (n_rows,), S16
            Of the sources' rows, all of which it holds.
        """
        quantiser = self._quantiser(self.codes[np.searchsorted(self.ids, ids)])
        most = max((len(one) for one in left_out or ()), default=0)
        n = min(len(ids), max(20 * k, 400) + most)
        _, candidates = quantiser.search(self._prepared(queries), n)
        return nearest_of_candidates(
            queries, sources, list(candidates), k, metric=self.metric, left_out=left_out
        )

    def _prepared(self, rows: Array) -> Array:
        """Rows as the quantiser takes them; zeros fill the last part."""
        rows = np.asarray(rows, dtype=np.float32)
        rows = unit_rows(rows) if self.metric == "cosine" else rows
        width = self.centroids.shape[0] * self.centroids.shape[2]
        return np.ascontiguousarray(np.pad(rows, ((0, 0), (0, width - self.n_features))))

    def _quantiser(self, codes: Array) -> Any:
        """The library's index of some codes."""
        faiss = _faiss()
        n_parts, n_centroids, width = self.centroids.shape
        index = faiss.IndexPQ(n_parts * width, n_parts, n_centroids.bit_length() - 1)
        faiss.copy_array_to_vector(np.ascontiguousarray(self.centroids).ravel(), index.pq.centroids)
        index.is_trained = True
        faiss.copy_array_to_vector(np.ascontiguousarray(codes).ravel(), index.codes)
        index.ntotal = len(codes)
        return index

    def save(self, path: Path) -> None:
        """Write it as a safetensors file, whole or not at all."""
        from safetensors.numpy import save

        told = {"keys": self.keys, "metric": self.metric, "n_features": self.n_features}
        tensors = {
            "centroids": self.centroids,
            "ids": np.frombuffer(self.ids.tobytes(), np.uint8).reshape(-1, ID_BYTES),
            "codes": self.codes,
        }
        about = json.dumps({**told, "recall": self.recall})
        write_whole(path, [save(tensors, {"search_index": about})])

    @classmethod
    def load(cls, path: Path) -> ProductIndex:
        """Read what `save` wrote; the file may come from anybody.

        Raises
        ------
        ValueError
            If it is anything else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "np") as file:
                told = json.loads((file.metadata() or {})["search_index"])
                centroids, ids, codes = map(file.get_tensor, ("centroids", "ids", "codes"))
            own = cls(
                tuple(map(str, told["keys"])),
                str(told["metric"]),
                int(told["n_features"]),
                centroids,
                np.frombuffer(ids.tobytes(), f"S{ID_BYTES}"),
                codes,
                float(told["recall"]),
            )
            fits = own._is_sound(ids)
        except (SafetensorError, LookupError, ValueError, TypeError, RecursionError) as error:
            raise ValueError(_no_index(path)) from error
        if not fits:
            raise ValueError(_no_index(path))
        return own

    def _is_sound(self, ids: Array) -> bool:
        """Whether types and shapes belong together, so that the library reads nothing beyond."""
        centroids, codes = self.centroids, self.codes
        if centroids.ndim != 3 or centroids.dtype != np.float32 or codes.dtype != np.uint8:
            return False
        n_parts, n_centroids, width = centroids.shape
        n_bits = n_centroids.bit_length() - 1
        return bool(
            0 < n_parts <= self.n_features <= n_parts * width < self.n_features + n_parts
            and n_centroids == 2**n_bits
            and 1 <= n_bits <= 8
            and np.isfinite(centroids).all()
            and ids.shape == (len(codes), ID_BYTES)
            and codes.shape == (len(codes), -(-n_parts * n_bits // 8))
            and (self.ids[1:] > self.ids[:-1]).all()
        )


def open_index(
    path: Path, keys: Sequence[str], metric: str, sources: Sequence[Any], ids: Array
) -> ProductIndex:
    """Load an index and add what it lacks; make it if there is none. It is written if it changed.

    Parameters
    ----------
    path : Path
        Its file.
    keys : sequence of str
        Of the features that the sources hold.
    metric : {"cosine", "euclidean"}
        How rows are compared.
    sources : sequence of ndarray or StoredRows
        The rows, as for `nearest_rows`.
    ids : ndarray of shape (n_rows,), S16
        Their ids.

    Raises
    ------
    ValueError
        If the file is another thing, or an index of other rows.
    ImportError
        If faiss isn't installed.
    """
    _faiss()
    known = ProductIndex.load(path) if path.exists() else None
    if known is not None and (known.keys, known.metric) != (tuple(keys), metric):
        raise ValueError(
            f"{str(path)!r} is an index of other features, or of another metric ({known.metric}); "
            "give another file"
        )
    if known is None:
        known = _trained(tuple(keys), metric, sources)
    larger = known.extended(sources, ids)
    if larger is not known:
        larger.save(path)
        logger.info("indexed %s rows in %s: %s", f"{len(larger.ids):,}", path, larger.told())
    return larger


def _trained(keys: tuple[str, ...], metric: str, sources: Sequence[Any]) -> ProductIndex:
    """Learn centroids from rows spread over all; no row has a code yet."""
    faiss = _faiss()
    n, n_features = len(sources[0]), sum(source.shape[1] for source in sources)
    n_parts = min(_PARTS, n_features)
    width = -(-n_features // n_parts)
    n_parts = -(-n_features // width)  # of what is left none is of padding alone
    quantiser = faiss.IndexPQ(n_parts * width, n_parts, _BITS)
    quantiser.pq.cp.min_points_per_centroid = 1
    n_codes = -(-n_parts * _BITS // 8)
    empty = ProductIndex(
        keys,
        metric,
        n_features,
        np.zeros((n_parts, 2**_BITS, width), np.float32),
        np.empty(0, f"S{ID_BYTES}"),
        np.empty((0, n_codes), np.uint8),
    )
    chosen = np.unique(np.linspace(0, n - 1, _TRAINED_ON).astype(np.intp))
    quantiser.train(empty._prepared(_rows_at(sources, chosen)))
    centroids = faiss.vector_to_array(quantiser.pq.centroids).reshape(empty.centroids.shape)
    return dataclasses.replace(empty, centroids=centroids)


def _rows_at(sources: Sequence[Any], positions: Array) -> Array:
    return np.concatenate([one[positions] for one in sources], axis=1)


def _no_index(path: Path) -> str:
    return f"{str(path)!r} isn't a search index, or is damaged; remove it, or give another file"


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "a search index needs faiss, which isn't installed; run pip install "
            "'transferkit[faiss]', or search without one"
        ) from error
    return faiss
