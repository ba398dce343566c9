"""The loop: images → digests → missing rows → decode → backbone → pooling → store → rows.

The only place where images, backbone, pooling and store meet. One direction, and no state
between the steps but the store.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from transferkit.backbones import Backbone
from transferkit.digests import DigestMemory, check_folder, pixel_digest, row_id
from transferkit.extract.decoding import decode, warn_of_crop, warn_of_size
from transferkit.extract.writing import SHARD_ROWS, Writer
from transferkit.forward import Forward, check_device_name, choose_device
from transferkit.images import Failure, ImageError, ImageSet, UnreadableImages, read_rgb
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec, FeatureSpec, Preprocess
from transferkit.store import FeatureStore, MissingRows

__all__ = ["BATCH_SIZE", "Extraction", "extract"]

BATCH_SIZE = {"cpu": 8, "cuda": 64, "mps": 32}
"""Images per forward pass; small wins on CPUs, whose caches a large batch overflows."""

_ATTEMPTS = 3
# Whether the geometry suits the images is judged by this many.
_SIZES_SEEN = 10_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """Features of some images, and what it took to get them.

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
    """

    rows: dict[str, np.ndarray]
    kept: np.ndarray
    ids: tuple[bytes, ...]
    failures: tuple[Failure, ...]
    n_computed: int
    n_read: int
    seconds: float

    def summary(self) -> str:
        """One line with numbers and units."""
        n_stored = len(set(self.ids)) - self.n_computed
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


def extract(
    images: ImageSet,
    backbone: Backbone | BackboneSpec,
    features: Sequence[str],
    store: FeatureStore | None,
    *,
    device: str = "auto",
    precision: str = "float32",
    storage: str = "float32",
    batch_size: int | None = None,
    on_error: str = "raise",
    keep_rows: bool = True,
    progress: bool = False,
) -> Extraction:
    """Rows of every image, computed only where the store doesn't have them.

    Parameters
    ----------
    images : ImageSet
        From `list_images`.
    backbone : Backbone or BackboneSpec
        A spec is built only if a row is missing.
    features : sequence of str
        Feature names, ``layer[.pooling]``; one pass fills all of them.
    store : FeatureStore or None
        Where rows are kept; None keeps nothing after the call.
    device, precision, storage
        See `Forward` and `FeatureSpec`.
    batch_size : int, optional
        Images per pass; by default that of the rows in the store, else `BATCH_SIZE`.
    on_error : {"raise", "skip"}, default="raise"
        What happens if images can't be read: raise, after all the others are in the store,
        naming every one; or leave them out and report them.
    keep_rows : bool, default=True
        False fills the store and checks every row in it, without gathering them.
    progress : bool, default=False
        Whether a progress bar is shown on stderr.

    Raises
    ------
    UnreadableImages
        If images can't be read and `on_error` is ``"raise"``; or if none can.
    ValueError
        If a name or option doesn't exist.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is {on_error!r}; choose 'raise' or 'skip'")
    check_device_name(device)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give a whole number above 0")
    specs = specs_of(backbone, features, precision=precision, storage=storage)
    with contextlib.ExitStack() as stack:
        if store is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="transferkit-"))
            store = FeatureStore(folder)
        loop = Loop(images, backbone, specs, store, device, batch_size, on_error, progress)
        result = loop.finish(keep_rows)
    logger.info("%s", result.summary())
    return result


def specs_of(
    backbone: Backbone | BackboneSpec, features: Sequence[str], *, precision: str, storage: str
) -> dict[str, FeatureSpec]:
    """Spec of every feature, by its canonical name."""
    names = list(dict.fromkeys(str(parse_feature(feature)) for feature in features))
    if not names:
        raise ValueError("no features were asked for; name at least one, such as 'pre_logits'")
    spec = backbone.spec if isinstance(backbone, Backbone) else backbone
    return {n: spec.feature_spec(n, precision=precision, storage=storage) for n in names}


@dataclass
class Loop:
    """One extraction: what it was asked for, and how far it is; `extract` is its door."""

    images: ImageSet
    backbone: Backbone | BackboneSpec
    specs: dict[str, FeatureSpec]
    store: FeatureStore
    device: str
    batch_size: int | None
    on_error: str
    progress: bool
    ids: list[bytes | None] = field(default_factory=list)
    failures: dict[int, Failure] = field(default_factory=dict)
    computed: set[bytes] = field(default_factory=set)
    positions: dict[Path, list[int]] = field(default_factory=dict)

    @property
    def preprocess(self) -> Preprocess:
        return next(iter(self.specs.values())).preprocess

    def finish(self, keep_rows: bool) -> Extraction:
        start = time.perf_counter()
        n_read = self.identify()
        for attempt in range(_ATTEMPTS):
            while self._fill():  # again for the copies of files that were changed meanwhile
                pass
            self._check_failures()
            ids = tuple(row for row in self.ids if row is not None)
            try:
                rows = {n: self._read(spec, ids, keep_rows) for n, spec in self.specs.items()}
                break
            except MissingRows as error:  # damaged, or a file was changed under our hands
                if attempt == _ATTEMPTS - 1:
                    raise
                n_lost = len(error.ids)
                logger.warning(
                    "the store has lost %d row%s; computing again", n_lost, "s" * (n_lost != 1)
                )
        return Extraction(
            rows,
            np.array([i for i, row in enumerate(self.ids) if row is not None], dtype=np.intp),
            ids,
            tuple(self.failures[i] for i in sorted(self.failures)),
            len(self.computed),
            n_read,
            time.perf_counter() - start,
        )

    def _read(self, spec: FeatureSpec, ids: Sequence[bytes], keep_rows: bool) -> np.ndarray:
        if keep_rows:
            return self.store.read(spec, ids)
        for start in range(0, len(ids), SHARD_ROWS):
            rows = self.store.read(spec, ids[start : start + SHARD_ROWS])
        return rows[:0].copy()

    def identify(self) -> int:
        """Digest every image; the number of files that had to be read for it."""
        self.ids = [None] * len(self.images)
        files = {i: item for i, item in enumerate(self.images.items) if isinstance(item, Path)}
        digests = DigestMemory().digests(list(files.values()))
        for i, digest in zip(files, digests.values, strict=True):
            if isinstance(digest, OSError):
                self._fail(i, digest.strerror or str(digest))
            else:
                self.ids[i] = row_id(digest)
        for i, item in enumerate(self.images.items):
            if i in files:
                continue
            try:
                pixels = np.asarray(read_rgb(item, exif=self.preprocess.exif))
                self.ids[i] = row_id(pixel_digest(pixels))
            except ImageError as error:
                self._fail(i, str(error))
        return digests.n_read

    def _fail(self, index: int, reason: str) -> None:
        self.ids[index] = None
        self.failures[index] = Failure(index, self.images.names[index], reason)

    def _entries(self, index: int) -> list[int]:
        """Positions at which an image's file is named; often it is once."""
        if not self.positions:
            for i, item in enumerate(self.images.items):
                if isinstance(item, Path):
                    self.positions.setdefault(item, []).append(i)
        file = self.images.items[index]
        assert isinstance(file, Path)
        return self.positions[file]

    def _check_failures(self) -> None:
        if self.failures and (self.on_error == "raise" or len(self.failures) == len(self.images)):
            failures = [self.failures[i] for i in sorted(self.failures)]
            raise UnreadableImages(failures, len(self.images))

    def _fill(self) -> bool:
        """Compute what the store doesn't have, each different image once.

        Returns whether a file was changed since it was digested: its copies, if it had any,
        are still to be computed.
        """
        specs, first = self.missing()
        if not first:
            return False
        check_folder(self.store.path, "features can't be stored")
        size = self.chosen_batch_size()
        unusable: dict[bytes, str] = {}
        forward: Forward | None = None
        writer: Writer | None = None
        try:
            for batch_ids, pixels in self._batches(list(first.values()), size, unusable):
                if forward is None or writer is None:  # now that there is something to compute
                    forward = self.forward(specs)
                    writer = Writer(self.store, specs, _provenance(forward, size))
                unusable |= writer.add(batch_ids, forward.rows(pixels))
                self.computed.update(batch_ids)
        finally:
            # Also when interrupted: what is done is kept.
            if writer is not None:
                writer.flush()
        self.computed -= set(unusable)
        for i, row in enumerate(self.ids):
            if row in unusable:
                self._fail(i, unusable[row])
        return any(self.ids[i] != row and row not in unusable for row, i in first.items())

    def missing(self) -> tuple[dict[str, FeatureSpec], dict[bytes, int]]:
        """Features of which rows are missing, and where each image that lacks one stands first."""
        ids = [row for row in self.ids if row is not None]
        missing = {name: set(self.store.missing(spec, ids)) for name, spec in self.specs.items()}
        wanted = set().union(*missing.values())
        first: dict[bytes, int] = {}
        for i, row in enumerate(self.ids):
            if row in wanted:
                first.setdefault(row, i)
        return {name: spec for name, spec in self.specs.items() if missing[name]}, first

    def forward(self, specs: dict[str, FeatureSpec]) -> Forward:
        """Build the network for some features."""
        features = [parse_feature(name) for name in specs]
        precision = next(iter(specs.values())).precision
        return Forward(self.backbone, features, device=self.device, precision=precision)

    def chosen_batch_size(self) -> int:
        """Batch size that was asked for, else that of the rows in the store, else the default."""
        default = BATCH_SIZE[choose_device(self.device).type]
        return self.batch_size or self._stored_batch_size() or default

    def _stored_batch_size(self) -> int | None:
        """Batch size of rows that are there: the same one again gives the same bits."""
        for spec in self.specs.values():
            text = (self.store.provenance(spec) or {}).get("batch_size", "")
            if text.isdigit() and int(text) > 0:
                return int(text)
        return None

    def _batches(
        self, indices: list[int], size: int, unusable: dict[bytes, str]
    ) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Batches of exactly `size`, the last one padded: a row's bits depend on the shape.

        Ids of images that can't be read are put into `unusable`, with the reason.
        """
        warn_of_size(self.preprocess)
        ids: list[bytes] = []
        pixels: list[np.ndarray] = []
        sizes: list[tuple[int, int]] = []
        for index, decoded in decode(self.images, indices, self.preprocess, self.progress):
            was = self.ids[index]
            assert was is not None
            row, array, original = decoded
            if row is None:  # an image in memory can't have changed
                row = was
            if isinstance(array, str):
                if row == was:
                    unusable[was] = array
                else:  # this file was changed or removed; others may still hold those bytes
                    for i in self._entries(index):
                        self._fail(i, array)
                continue
            if row != was:  # the file was changed after it was digested
                for i in self._entries(index):
                    self.ids[i] = row
            ids.append(row)
            pixels.append(array)
            if len(sizes) < _SIZES_SEEN:
                sizes.append(original)
            if len(ids) == size:
                yield ids, np.stack(pixels)
                ids, pixels = [], []
        if ids:
            yield ids, np.stack(pixels + [pixels[-1]] * (size - len(ids)))
        warn_of_crop(sizes, self.preprocess)


def _provenance(forward: Forward, batch_size: int) -> dict[str, str]:
    return {
        **forward.provenance(),
        "batch_size": str(batch_size),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
