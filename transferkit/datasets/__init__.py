"""What a data set's images are for: trained on, choosing, measured. All splits are made here."""

from transferkit.datasets.splits import (
    Parts,
    Roles,
    blocks_of,
    contradictions,
    divide,
    folds,
    hold_out,
    is_labelled,
    is_unseen,
    keep_apart,
    measured_of,
    roles_of,
)

__all__ = [
    "Parts",
    "Roles",
    "blocks_of",
    "contradictions",
    "divide",
    "folds",
    "hold_out",
    "is_labelled",
    "is_unseen",
    "keep_apart",
    "measured_of",
    "roles_of",
]
