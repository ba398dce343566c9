"""`Extraction` holds the features that an extraction returns."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.images import Failure, ImageError, ImageSet, UnreadableImages, size_of
from transferkit.store import Certificate, StoredRows

__all__ = ["Extraction", "feature_columns"]

# A quicker numeric class is mentioned if the network took more seconds than this.
_LONG = 30.0


@dataclass(frozen=True)
class Extraction:
    """Features of some images, with statistics of the work.

    Parameters
    ----------
    rows : dict of str to ndarray
        Feature name to rows, ``(n_kept, d)`` or ``(n_kept, D, H, W)``, in the images' order;
        ``(0, …)`` if they were only to be checked.
    kept : ndarray of int
        Positions of the images that have a row.
    ids : tuple of bytes
        Row ids of the kept images.
    failures : tuple of Failure
        The images that could not be read.
    n_computed : int
        Different images that went through the network.
    n_read : int
        Files whose bytes were read to be digested.
    seconds : float
        Wall time.
    shares : dict of str to float, default={}
        Seconds that threads spent, added up: read, decode, forward, write.
    provenance : dict of str to str, optional
        Where new rows come from: device, engine, versions; in other classes than float32 how
        far they are from it.
    is_bf16_quicker : bool, default=False
        Whether it was computed in float32 on a CPU that multiplies bf16 natively.
    paths : tuple of str, default=()
        What the kept images are called: a path as it was given, below the folder that was
        listed; ``"image 3"`` for one without a name.
    stored : dict of str to StoredRows, default={}
        The same rows as they lie in the store, read when they are asked for; also if `rows`
        were only to be checked. Empty without a store, and where an item has several images.
    images : ImageSet, optional
        What was extracted, unreadable images among them; `kept` are positions in it.
    exif : bool, default=False
        Whether the images' EXIF orientation was applied.
    layout : {"HWC", "CHW"}, default="HWC"
        Where the channels of arrays are.
    n_different : int, optional
        How many different images have a row, where a row belongs to several; None if they
        are as many as the ids.
    """

    rows: dict[str, np.ndarray]
    kept: np.ndarray
    ids: tuple[bytes, ...]
    failures: tuple[Failure, ...]
    n_computed: int
    n_read: int
    seconds: float
    shares: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, str] | None = None
    is_bf16_quicker: bool = False
    paths: tuple[str, ...] = ()
    n_different: int | None = None
    stored: dict[str, StoredRows] = field(default_factory=dict)
    images: ImageSet | None = None
    exif: bool = False
    layout: str = "HWC"

    @property
    def hex_ids(self) -> tuple[str, ...]:
        """Row ids of the kept images as text, 32 hexadecimal digits each."""
        return tuple(row.hex() for row in self.ids)

    @functools.cached_property
    def sizes(self) -> NDArray[np.intp]:
        """Height and width of every kept image, px, ``(n_kept, 2)``; `frame_of` takes them.

        They are those of the image that was decoded: after its EXIF orientation was applied,
        where the backbone's preprocessing says so. They are read when they are asked for
        first, from the files' headers as these are then.

        Raises
        ------
        UnreadableImages
            If files can't be read any more; all are named.
        TypeError
            If an item has several images, each of which has a size of its own.
        ValueError
            If it isn't known whose rows these are.
        """
        if self.images is None:
            raise ValueError("the extraction doesn't know its images; extract them with `extract`")
        sizes = np.zeros((len(self.kept), 2), dtype=np.intp)
        failures = []
        for row, i in enumerate(self.kept.tolist()):
            try:
                sizes[row] = size_of(self.images.items[i], exif=self.exif, layout=self.layout)
            except ImageError as error:
                failures.append(Failure(i, self.images.names[i], str(error)))
            except OSError as error:
                reason = error.strerror or str(error)
                failures.append(Failure(i, self.images.names[i], reason))
        if failures:
            raise UnreadableImages(failures, len(self.images))
        return sizes

    def to_frame(self) -> Any:
        """Features with their paths and ids, as a DataFrame of pandas.

        Returns
        -------
        pandas.DataFrame
            One line per kept image: ``path``, ``id`` and a column for every value, such as
            ``pre_logits_0``.

        Raises
        ------
        ImportError
            If pandas isn't installed.
        ValueError
            If a feature is a map, or no rows were kept.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "to_frame needs pandas, which isn't installed; run pip install pandas, or take "
                ".rows, .paths and .hex_ids"
            ) from error
        columns = feature_columns({name: rows.shape[1:] for name, rows in self.rows.items()})
        if any(len(rows) != len(self.ids) for rows in self.rows.values()):
            raise ValueError("the extraction kept no rows; extract with keep_rows=True")
        frame = pd.DataFrame(np.concatenate(list(self.rows.values()), axis=1), columns=columns)
        frame.insert(0, "path", list(self.paths))
        frame.insert(1, "id", list(self.hex_ids))
        return frame

    def summary(self) -> str:
        """One line with numbers and units."""
        n_different = len(set(self.ids)) if self.n_different is None else self.n_different
        n_stored = n_different - self.n_computed
        rate = f" ({self.n_computed / self.seconds:,.1f} images/s)" if self.n_computed else ""
        line = f"extracted {self.n_computed:,} images in {self.seconds:.1f} s{rate}"
        line += f"; {n_stored:,} from the store"
        if not self.n_computed:
            line += ": no weights loaded"
            if not self.failures:  # these are tried again each time
                line += ", no image decoded"
                line += ", no file read" if not self.n_read else f", {self.n_read:,} files hashed"
        if duplicates := len(self.ids) - len(set(self.ids)):
            line += f"; {duplicates:,} duplicate{'s' * (duplicates > 1)}"
        if self.failures:
            line += f"; {len(self.failures):,} unreadable"
        return line

    def notes(self) -> list[tuple[str, str]]:
        """Names and texts of further lines: the parts of the time, and the precision."""
        lines = []
        if self.n_computed and (total := sum(self.shares.values())):
            parts = [f"{name} {value / total:.0%}" for name, value in self.shares.items()]
            lines.append(("time", ", ".join(parts)))
        known = self.provenance or {}
        if "mean_cosine" in known:
            lines.append(
                (
                    "exactness",
                    f"cosine to torch in float32 {known['mean_cosine']} on average, "
                    f"{known['smallest_cosine']} at least, on the first images",
                )
            )
        if certificate := Certificate.of(known):
            kind, name = known.get("storage", ""), known.get("storage_feature", "")
            of = f" of {name}" if len(self.rows) > 1 else ""
            lines.append(("storage", f"{kind}{of}: {certificate.text()}"))
        if self.is_bf16_quicker and self.shares.get("forward", 0) > _LONG:
            lines.append(
                (
                    "hint",
                    "--precision bf16 needs about half the time for the network on this CPU; "
                    "features move (their cosine to float32 is about 0.99), and have their own key",
                )
            )
        return lines


def feature_columns(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Name every column of features that stand side by side.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Feature name to the shape of a row.

    Raises
    ------
    ValueError
        If a feature is a map.

    Examples
    --------
    >>> feature_columns({"stage3.avg": (2,), "pre_logits": (1,)})
    ['stage3.avg_0', 'stage3.avg_1', 'pre_logits_0']
    """
    dense = [name for name, shape in shapes.items() if len(shape) > 1]
    if dense:
        raise ValueError(
            f"feature {dense[0]!r} is a map, whose values have no columns of their own; pool it"
        )
    return [f"{name}_{i}" for name, shape in shapes.items() for i in range(shape[0])]
