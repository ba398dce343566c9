"""Nearest rows by a plain comparison of all."""

import numpy as np

__all__ = ["by_hand"]


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
