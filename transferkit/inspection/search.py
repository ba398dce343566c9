"""Search the images of a data set that are most like a given one; the store is the index."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.digests import ID_BYTES
from transferkit.estimators import FeatureExtractor
from transferkit.estimators.extractor import check_vectors
from transferkit.extract.identities import Identities
from transferkit.images import Failure, ImageSet, list_images
from transferkit.inspection.neighbors import nearest_rows
from transferkit.inspection.product_index import MIN_ROWS, open_index
from transferkit.spec import FeatureSpec
from transferkit.store import CorruptRows

__all__ = ["METRICS", "Hit", "Search", "search"]

METRICS = ("cosine", "euclidean")
"""How rows are compared: by the cosine between them, or by their distance."""

Array = NDArray[Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hit:
    """An image that was found.

    Parameters
    ----------
    image : int
        Its position in the data set.
    score : float
        The cosine, or the distance: which of them the search says.
    is_same : bool
        Whether it has the same bytes as the query.
    """

    image: int
    score: float
    is_same: bool


@dataclass(frozen=True, eq=False)
class Search:
    """What was found for some queries.

    Parameters
    ----------
    queries, images : ImageSet
        What was looked for, and where.
    hits : tuple of tuple of Hit
        Of every query, the nearest first; none for one that can't be read.
    metric : {"cosine", "euclidean"}
        What a hit's score is.
    n_searched : int
        How many images were compared.
    failures, query_failures : tuple of Failure
        Images and queries that couldn't be read.
    method : str, default="exact"
        How they were found.
    """

    queries: ImageSet
    images: ImageSet
    hits: tuple[tuple[Hit, ...], ...]
    metric: str
    n_searched: int
    failures: tuple[Failure, ...] = ()
    query_failures: tuple[Failure, ...] = ()
    method: str = "exact"

    @property
    def score_name(self) -> str:
        """What a hit's score is called."""
        return "similarity" if self.metric == "cosine" else "distance"

    def label_of(self, image: int) -> str:
        """Label of an image of the data set as a text; empty if it has none."""
        return label_text(self.images, image)

    def lines(self) -> list[dict[str, Any]]:
        """One flat line for each hit, and one for each query that couldn't be read."""
        reasons = {failure.index: failure.reason for failure in self.query_failures}
        lines = []
        for i, (query, hits) in enumerate(zip(self.queries.names, self.hits, strict=True)):
            for rank, hit in enumerate(hits, 1):
                name, label = self.images.names[hit.image], self.label_of(hit.image)
                lines.append(self._line(query, rank, name, round(hit.score, 6), label, hit.is_same))
            if i in reasons:
                lines.append({**self._line(query, None, "", None, "", None), "error": reasons[i]})
        return lines

    def _line(
        self,
        query: str,
        rank: int | None,
        path: str,
        score: float | None,
        label: str,
        is_same: bool | None,
    ) -> dict[str, Any]:
        told = {"query": query, "rank": rank, "path": path, self.score_name: score}
        return {**told, "label": label, "same": is_same, "error": None}


def label_text(images: ImageSet, image: int) -> str:
    """Label of an image as a text, several with commas between; empty if it has none.

    Parameters
    ----------
    images : ImageSet
        The images.
    image : int
        Position of one.
    """
    label = None if images.labels is None else images.labels[image]
    if isinstance(label, tuple):
        return ",".join("" if one is None else one for one in label)
    return "" if label is None else label


def search(
    queries: Any,
    images: Any,
    extractor: FeatureExtractor,
    *,
    k: int = 20,
    metric: str = "cosine",
    only_others: bool = False,
    only_stored: bool = False,
    on_error: str = "raise",
    index: str | Path | None = None,
) -> Search:
    """Find the images of a data set whose features are nearest to those of some queries.

    Features that the store lacks are extracted first. They are compared a block at a time as
    they lie in the store, so memory doesn't grow with the data set.

    Parameters
    ----------
    queries, images
        Anything that `list_images` takes: what to look for, and where.
    extractor : FeatureExtractor
        Backbone, features and store. Of several features the rows stand side by side.
    k : int, default=20
        How many images to find for each query.
    metric : {"cosine", "euclidean"}, default="cosine"
        How rows are compared.
    only_others : bool, default=False
        Whether images with the same bytes as the query are left out.
    only_stored : bool, default=False
        Whether only images are searched whose features the store has; no other is extracted.
    on_error : {"raise", "skip"}, default="raise"
        Whether unreadable images raise or are left out.
    index : path, optional
        File of a `ProductIndex` (extra ``faiss``), which finds candidates by short codes in
        memory. It is made if there is none, and completed if it lacks images. Of fewer than
        10,000 images all are compared, as they are without an index.

    Returns
    -------
    Search

    Raises
    ------
    UnreadableImages
        If images can't be read.
    ValueError
        If an option is none of those, or the store has none of the images.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    >>> extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=32, store=False)
    >>> found = search(images[[4]], images, extractor, k=2)
    >>> found.hits[0][0].image, found.hits[0][0].is_same, len(found.hits[0])
    (4, True, 2)
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; choose {' or '.join(map(repr, METRICS))}")
    if k < 1:
        raise ValueError(f"k is {k}; give a whole number above 0")
    check_vectors(extractor.feature_names)
    asked, listed = list_images(queries), list_images(images)
    file = None if index is None else Path(index).expanduser()
    options = (extractor, k, metric, only_others, only_stored, on_error, file)
    try:
        return _found(asked, listed, *options)
    except CorruptRows as error:
        if only_stored:
            raise
        logger.warning("%s; they are computed anew", error)
    # This checks every row, and computes those that are damaged.
    extractor.extract(listed, on_error=on_error, keep_rows=False)
    return _found(asked, listed, *options)


def _found(
    asked: ImageSet,
    listed: ImageSet,
    extractor: FeatureExtractor,
    k: int,
    metric: str,
    only_others: bool,
    only_stored: bool,
    on_error: str,
    index: Path | None,
) -> Search:
    """Extract what is missing, and compare."""
    wanted = extractor.extract(asked, on_error=on_error)
    rows = np.concatenate(list(wanted.rows.values()), axis=1)
    sources, kept, ids, failures = _rows_to_search(listed, extractor, on_error, only_stored)
    same = _positions_of(wanted.ids, ids)
    left_out = same if only_others else None
    method = "exact"
    if index is None or len(ids) < MIN_ROWS:
        near, scores = nearest_rows(rows, sources, k, metric=metric, left_out=left_out)
        if index is not None:
            method += f", because an index needs {MIN_ROWS:,} images"
    else:
        row_ids = np.frombuffer(b"".join(ids), f"S{ID_BYTES}")
        keys = [spec.key for spec in _specs(extractor)]
        opened = open_index(index, keys, metric, sources, row_ids)
        near, scores = opened.search(rows, sources, row_ids, k, left_out=left_out)
        method = opened.told()
    hits: list[tuple[Hit, ...]] = [()] * len(asked)
    for i, at, values, own in zip(wanted.kept.tolist(), near, scores, same, strict=True):
        is_same = np.isin(at, own).tolist()
        found = zip(kept[at].tolist(), values.tolist(), is_same, strict=True)
        hits[i] = tuple(Hit(*one) for one in found)
    return Search(asked, listed, tuple(hits), metric, len(kept), failures, wanted.failures, method)


def _rows_to_search(
    images: ImageSet, extractor: FeatureExtractor, on_error: str, only_stored: bool
) -> tuple[list[Any], Array, Sequence[bytes], tuple[Failure, ...]]:
    """Rows of each feature, positions and ids of their images, and those that have none."""
    if only_stored:
        return _stored_rows(images, extractor, on_error)
    extraction = extractor.extract(images, on_error=on_error, keep_rows="stored")
    is_gathered = all(len(rows) == len(extraction.ids) for rows in extraction.rows.values())
    sources = extraction.rows if is_gathered else extraction.stored
    return list(sources.values()), extraction.kept, extraction.ids, extraction.failures


def _stored_rows(
    images: ImageSet, extractor: FeatureExtractor, on_error: str
) -> tuple[list[Any], Array, Sequence[bytes], tuple[Failure, ...]]:
    """Do as `_rows_to_search` with what the store has of each image."""
    store = extractor.open_store()
    if store is None:
        raise ValueError("the extractor keeps no features; give it a store, or extract the images")
    if (images.n_images > 1).any():
        raise ValueError("the store has no rows of items of several images; search without it")
    specs = _specs(extractor)
    identities = Identities(images, exif=specs[0].preprocess.exif)
    identities.check(on_error)
    missing = {row for spec in specs for row in store.missing(spec, identities.readable_ids)}
    kept = [i for i, row in enumerate(identities.ids) if row is not None and row not in missing]
    ids = [row for row in identities.ids if row is not None and row not in missing]
    if not kept:
        raise ValueError(
            f"the store {str(store.path)!r} has none of these {len(images):,} images with "
            f"{', '.join(extractor.feature_names)} of this backbone; extract them first"
        )
    failures = tuple(identities.failures[i] for i in sorted(identities.failures))
    return [store.open(spec, ids) for spec in specs], np.array(kept), ids, failures


def _specs(extractor: FeatureExtractor) -> list[FeatureSpec]:
    backbone = extractor.resolve()
    return [
        backbone.feature_spec(name, precision=extractor.precision, storage=extractor.storage)
        for name in extractor.feature_names
    ]


def _positions_of(wanted: Sequence[bytes], ids: Sequence[bytes]) -> list[Array]:
    """Positions among ids at which each of some others stands."""
    places: dict[bytes, list[int]] = {row: [] for row in wanted}
    for at, row in enumerate(ids):
        if row in places:
            places[row].append(at)
    return [np.array(places[row], dtype=np.intp) for row in wanted]
