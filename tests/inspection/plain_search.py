"""Nearest rows by a plain comparison of all, and a network that makes some."""

from pathlib import Path

import numpy as np

from transferkit import FeatureExtractor

__all__ = ["by_hand", "extractor_in"]


def by_hand(query: np.ndarray, rows: np.ndarray, k: int, metric: str) -> tuple[list, list]:
    """Compare one row with all others, one after the other."""
    scores = []
    for row in rows.astype(np.float64):
        if metric == "euclidean":
            scores.append(float(np.sqrt(((row - query) ** 2).sum())))
        else:
            length = np.sqrt((row**2).sum() * (query.astype(np.float64) ** 2).sum())
            scores.append(float(row @ query / length) if length else 0.0)
    order = sorted(range(len(rows)), key=lambda i: (scores[i] * (-1) ** (metric == "cosine"), i))
    return order[:k], [scores[i] for i in order[:k]]


def extractor_in(store: Path | bool, **options) -> FeatureExtractor:
    """A small network whose rows are in a store."""
    options = {"image_size": 32, "pretrained": False, "store": store, **options}
    return FeatureExtractor("test_resnet", **options)
