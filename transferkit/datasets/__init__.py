"""Labelled images with their features, read or not; their division into parts; all splits."""

from transferkit.datasets.blocks import blocks_of, contradictions, is_unseen
from transferkit.datasets.dataset import Dataset
from transferkit.datasets.division import (
    Division,
    Roles,
    divide,
    is_labelled,
    keep_apart,
    measured_of,
    roles_of,
)
from transferkit.datasets.splits import (
    deal_stratified,
    draw_share,
    draw_shots,
    draw_stratified,
    draw_unstratified,
    folds,
    hold_out,
)
from transferkit.datasets.unread import (
    RowsSideBySide,
    UnreadRows,
    by_blocks,
    chosen_rows,
    is_unread,
    joined_rows,
    row_blocks,
)

__all__ = [
    "Dataset",
    "Division",
    "Roles",
    "RowsSideBySide",
    "UnreadRows",
    "blocks_of",
    "by_blocks",
    "chosen_rows",
    "contradictions",
    "deal_stratified",
    "divide",
    "draw_share",
    "draw_shots",
    "draw_stratified",
    "draw_unstratified",
    "folds",
    "hold_out",
    "is_labelled",
    "is_unread",
    "is_unseen",
    "joined_rows",
    "keep_apart",
    "measured_of",
    "roles_of",
    "row_blocks",
]
