"""The confusion matrix of what is counted in images: pixels, or objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.report.charts import heatmap, shortened
from transferkit.report.page import Chart

__all__ = ["SHOWN_CLASSES", "confusion_chart"]

SHOWN_CLASSES = 30
"""Classes of a chart; of more their names would overlap."""
# With more columns than this, numbers wouldn't fit into the cells.
_NUMBERS = 12


def confusion_chart(
    cells: NDArray[Any], rows: Sequence[str], columns: Sequence[str], *, unit: str
) -> Chart:
    """Draw counts as colours, each row as shares of its sum.

    Parameters
    ----------
    cells : ndarray of shape (n_rows, n_columns)
        Counts.
    rows, columns : sequence of str
        True and predicted classes.
    unit : str
        What is counted.

    Examples
    --------
    >>> chart = confusion_chart(np.array([[3, 1], [0, 4]]), "ab", "ab", unit="pixels")
    >>> chart.figure["data"][0]["text"]
    [['75.0', '25.0'], ['0.0', '100.0']]
    """
    counts = np.asarray(cells, dtype=float)
    sums = counts.sum(axis=1, keepdims=True)
    shares = np.divide(100 * counts, sums, out=np.full(counts.shape, np.nan), where=sums > 0)
    true, said = [shortened(name) for name in rows], [shortened(name) for name in columns]
    figure = heatmap(
        shares,
        true,
        said,
        x_title="predicted",
        y_title="true",
        texts=[["" if np.isnan(v) else f"{v:.1f}" for v in row] for row in shares.tolist()],
        span=(0, 100),
        hovers=[
            [
                f"{true[i]} → {said[j]}\n{int(counts[i, j]):,} {unit}"
                + ("" if np.isnan(shares[i, j]) else f", {shares[i, j]:.1f} %")
                for j in range(len(said))
            ]
            for i in range(len(true))
        ],
        unit="% of row",
        most_texts=_NUMBERS,
    )
    return Chart(figure, f"Confusion matrix of {unit}", min(200 + 44 * len(rows), 760))
