"""A confusion matrix as a table, or its largest cells where there are many classes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from transferkit.metrics._report import ReportTable

__all__ = ["confusion_table"]

_SHOWN_CLASSES, _SHOWN_CONFUSIONS = 30, 20


def confusion_table(
    confusion: ArrayLike,
    labels: Sequence[Any],
    columns: Sequence[Any],
    *,
    unit: str,
    written: Callable[[float], str] = str,
) -> ReportTable:
    """Write a confusion matrix; of more than 30 classes only the 20 largest confusions.

    Parameters
    ----------
    confusion : array-like of shape (n_labels, n_columns)
        What is of a class (row), and is predicted to be of one (column).
    labels, columns : sequence
        Their names. The first columns are the rows' classes.
    unit : str
        What a cell counts.
    written : callable, default=str
        Number → text.
    """
    cells = np.array(confusion)
    if len(labels) <= _SHOWN_CLASSES:
        rows = [
            (str(label), *map(written, row))
            for label, row in zip(labels, cells.tolist(), strict=True)
        ]
        title = "confusion matrix (rows: true, columns: predicted)"
        return ReportTable(("", *map(str, columns)), rows, title)
    np.fill_diagonal(cells, 0)
    order = np.argsort(-cells, axis=None, kind="stable")[:_SHOWN_CONFUSIONS]
    largest = [
        (str(labels[i]), str(columns[j]), written(cells[i, j].item()))
        for i, j in (divmod(int(at), len(columns)) for at in order)
        if cells[i, j]
    ]
    title = "most frequent confusions (the whole matrix: --json)"
    return ReportTable(("true", "predicted", unit), largest, title)
