"""Labelled images with their features, what they are for, and how they are split."""

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

__all__ = [
    "Dataset",
    "Division",
    "Roles",
    "blocks_of",
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
    "is_unseen",
    "keep_apart",
    "measured_of",
    "roles_of",
]
