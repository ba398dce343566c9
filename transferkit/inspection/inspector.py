"""`inspect_dataset` looks for everything that is likely wrong with a data set."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from transferkit.datasets import blocks_of
from transferkit.estimators import FeatureExtractor, side_by_side
from transferkit.estimators.extractor import check_vectors
from transferkit.extract import Extraction, mirrored
from transferkit.images import ImageSet, list_images
from transferkit.images.imageset import Label
from transferkit.inspection.appearance import Appearances, appearances_of
from transferkit.inspection.balance import class_balance, missing_classes
from transferkit.inspection.duplicates import exact_duplicates, near_duplicates
from transferkit.inspection.files import odd_files, unreadable_files
from transferkit.inspection.findings import Finding, Inspection, check_kinds
from transferkit.inspection.labels import is_given, label_findings
from transferkit.inspection.neighbors import Neighbourhoods
from transferkit.inspection.outliers import outliers
from transferkit.registry import unknown
from transferkit.tasks import task_of

__all__ = ["inspect_dataset", "with_excluded"]

Array = NDArray[Any]
_TASKS = ("classification", "regression")


def inspect_dataset(
    images: Any,
    extractor: FeatureExtractor,
    *,
    task: str = "classification",
    uses_mirrored: bool = False,
    most_compared: int = 50_000,
    n_threads: int | None = None,
    seed: int = 0,
) -> Inspection:
    """Find duplicates, likely wrong labels, outliers and odd files of a data set.

    Features come from the store where they are there; all images are decoded once besides.

    Parameters
    ----------
    images
        Anything that `list_images` takes.
    extractor : FeatureExtractor
        Whose features are looked at: vectors. Several stand side by side.
    task : {"classification", "regression"}, default="classification"
        What the labels are, where the images have any: classes or numbers, also several of them
        for each image.
    uses_mirrored : bool, default=False
        Whether the features of the mirror images, too, are extracted and looked at. Mirrored
        copies are found without them; those that are cropped as well may not be.
    most_compared : int, default=50_000
        Pairs of likely copies whose pixels are compared, the likeliest.
    n_threads : int, optional
        That decode; by default one for each processor.
    seed : int, default=0
        Of the folds by which labels are judged.

    Returns
    -------
    Inspection
        To be left out are copies, and images that can't be read: of copies in several splits
        the one stays that is measured (test, else val), of others the first. Likely wrong
        labels, outliers and odd files are to be looked at, and stay; see `with_excluded`.

    Raises
    ------
    ValueError
        If no image can be read, a feature is a map, items have several images, or a label is no
        number, or not 0 or 1, where such are learnt.
    """
    if task not in _TASKS:
        raise unknown("task", task, _TASKS)
    listed = list_images(images)
    if (listed.n_images > 1).any():
        raise ValueError(
            "items of several images can't be inspected; list their images one by one "
            "(ImageSet.singles)"
        )
    check_vectors(extractor.feature_names)
    _check_labels(listed, task)
    extraction = extractor.extract(listed, on_error="skip", remember=True)
    readable = listed.select(extraction.kept)
    n_threads = n_threads or os.cpu_count() or 1
    rows = side_by_side(extraction)
    near_rows = Neighbourhoods.of(rows)
    preprocess = extractor.resolve().preprocess
    seen = appearances_of(
        readable, exif=extraction.exif, preprocess=preprocess, n_threads=n_threads
    )
    exact = exact_duplicates(readable, extraction.ids)
    near, counts = near_duplicates(
        readable,
        _spaces(extractor, readable, near_rows, seen, uses_mirrored),
        is_copy=_is_copy(len(readable), exact),
        exif=extraction.exif,
        preprocess=preprocess,
        most_compared=most_compared,
        n_threads=n_threads,
    )
    labels, told = _labels(readable, rows, [*exact, *near], task, seed)
    classes = readable.labels if task == "classification" else None
    found = [*exact, *near, *labels, *outliers(near_rows, classes), *odd_files(seen)]
    placed = [_placed(one, extraction.kept) for one in found]
    balance = {} if task == "regression" else class_balance(listed)
    facts = _facts(listed, extraction, extractor, counts)
    facts |= {"labels": told} if told else {}
    return Inspection(
        listed,
        [*placed, *unreadable_files(extraction.failures)],
        facts | _missing(balance),
        balance,
        extraction.failures,
    )


def with_excluded(inspection: Inspection, kinds: Sequence[str]) -> Inspection:
    """Return the inspection with all images of some kinds of findings excluded too.

    Parameters
    ----------
    inspection : Inspection
        Of any data set.
    kinds : sequence of str
        Some of `transferkit.inspection.findings.KINDS`, such as ``"label"``.

    Raises
    ------
    ValueError
        If there is no such kind.
    """
    check_kinds(kinds)
    findings = [
        dataclasses.replace(one, is_excluded=one.is_excluded or one.kind in kinds)
        for one in inspection.findings
    ]
    return dataclasses.replace(inspection, findings=findings)


def _spaces(
    extractor: FeatureExtractor,
    readable: ImageSet,
    near: Neighbourhoods,
    seen: Appearances,
    uses_mirrored: bool,
) -> list[tuple[Neighbourhoods, Array | None]]:
    """Rows among which near duplicates are looked for: features, and sketches."""
    flipped = None
    if uses_mirrored:
        view = mirrored(extractor.resolve().preprocess)
        flipped = side_by_side(extractor.extract(readable, view=view))
    return [(near, flipped), (Neighbourhoods.of(seen.sketches), seen.mirrored_sketches())]


def _is_copy(n: int, exact: Sequence[Finding]) -> Array:
    """Whether each image has the bytes of another one, which stays."""
    copies = np.zeros(n, dtype=bool)
    copies[[one.image for one in exact]] = True
    return copies


def _labels(
    readable: ImageSet,
    rows: Array,
    copies: Sequence[Finding],
    task: str,
    seed: int,
) -> tuple[list[Finding], str]:
    """Likely wrong labels, where copies and images of one group stand in one fold."""
    if readable.labels is None:
        return [], ""
    edges = np.array([(one.image, one.other) for one in copies], dtype=np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(rows),) * 2)
    alike = connected_components(graph, directed=False)[1]
    blocks = blocks_of([str(number).encode() for number in alike], readable.groups)
    return label_findings(
        rows,
        readable.labels,
        task=_task_of_labels(readable.labels, task),
        names=readable.label_names,
        blocks=blocks,
        seed=seed,
    )


def _task_of_labels(labels: Sequence[Label], task: str) -> str:
    has_several = any(isinstance(label, tuple) for label in labels)
    return "multilabel" if has_several and task == "classification" else task


def _check_labels(images: ImageSet, task: str) -> None:
    """Raise an error before the work for labels that can't be judged."""
    given = [i for i, label in enumerate(images.labels or ()) if is_given(label)]
    if not given or images.labels is None:
        return
    kind = _task_of_labels(images.labels, task)
    if kind != "classification":
        values = np.array([images.labels[i] for i in given])
        task_of(kind).targets(values, [images.names[i] for i in given])


def _placed(finding: Finding, kept: Array) -> Finding:
    """The same finding by positions among all images, those that can't be read too."""
    other = None if finding.other is None else int(kept[finding.other])
    return dataclasses.replace(finding, image=int(kept[finding.image]), other=other)


def _facts(
    listed: ImageSet, extraction: Extraction, extractor: FeatureExtractor, counts: dict[str, int]
) -> dict[str, str]:
    compared = f"{counts['compared']:,} pairs of likely copies compared by their pixels"
    if counts["compared"] < counts["candidates"]:
        compared += f", of {counts['candidates']:,}: the likeliest"
    parts = (
        f"{listed.splits.count(name):,} {name}" for name in listed.split_names if listed.splits
    )
    told = ", ".join(parts)
    return {
        "images": f"{len(listed):,}" + f" ({told})" * bool(told),
        "features": f"{', '.join(extractor.feature_names)}; {extraction.summary()}",
        "duplicates": compared,
    }


def _missing(balance: dict[str, dict[str, int]]) -> dict[str, str]:
    lacking = missing_classes(balance)
    if not lacking:
        return {}
    told = (
        f"{part} has no image of {', '.join(map(repr, names[:5]))}"
        + f" and {len(names) - 5:,} more" * (len(names) > 5)
        for part, names in lacking.items()
    )
    return {"missing classes": "; ".join(told)}
