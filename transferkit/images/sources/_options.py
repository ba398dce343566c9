"""Options for listing a source."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ListingOptions"]


@dataclass(frozen=True)
class ListingOptions:
    """Columns of a table, and what is left out; see `list_images`.

    Parameters
    ----------
    path_column, split_column : str
        Columns of the paths and of the splits.
    label_column : str or sequence of str
        Column of the labels, or several.
    group_column : str, optional
        Column of the groups.
    exclude : sequence of str, default=()
        Patterns of what is left out. Only a source that knows files which are no images has to
        look at them: images whose names match are left out of every listing.
    annotated : bool, default=False
        Whether masks may stand among a folder's images.
    """

    path_column: str = "path"
    label_column: str | Sequence[str] = "label"
    split_column: str = "split"
    group_column: str | None = None
    exclude: Sequence[str] = ()
    annotated: bool = False
