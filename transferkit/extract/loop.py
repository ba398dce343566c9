"""The loop: images → digests → missing rows → decode → backbone → pooling → store → rows.

The only place where images, backbone, pooling and store meet. One direction, and no state
between the steps but the store.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from transferkit.backbones import Backbone
from transferkit.digests import DigestMemory, check_folder, pixel_digest, row_id
from transferkit.extract.decoding import Decoded, decode, warn_of_crop, warn_of_size
from transferkit.extract.result import Extraction
from transferkit.extract.workers import Batch, Crew, crew_for, run
from transferkit.extract.writing import SHARD_ROWS, Writer
from transferkit.forward import Forward, check_device_name, check_engine_name, choose_device
from transferkit.images import Failure, ImageError, ImageSet, UnreadableImages, read_rgb
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec, FeatureSpec, Preprocess
from transferkit.store import FeatureStore, MissingRows

__all__ = ["BATCH_SIZE", "extract"]

BATCH_SIZE = {"cpu": 8, "cuda": 64, "mps": 32}
"""Images per forward pass; small wins on CPUs, whose caches a large batch overflows."""

_ATTEMPTS = 3
# Whether the geometry suits the images is judged by this many.
_SIZES_SEEN = 10_000

logger = logging.getLogger(__name__)


def extract(
    images: ImageSet,
    backbone: Backbone | BackboneSpec,
    features: Sequence[str],
    store: FeatureStore | None,
    *,
    device: str = "auto",
    precision: str = "float32",
    storage: str = "float32",
    engine: str = "auto",
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
    device, precision, storage, engine
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
    check_engine_name(engine)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give a whole number above 0")
    specs = specs_of(backbone, features, precision=precision, storage=storage)
    with contextlib.ExitStack() as stack:
        if store is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="transferkit-"))
            store = FeatureStore(folder)
        loop = Loop(images, backbone, specs, store, device, engine, batch_size, on_error, progress)
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
    engine: str
    batch_size: int | None
    on_error: str
    progress: bool
    network: Forward | None = None
    seconds: dict[str, float] = field(default_factory=dict)
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
            self.seconds,
            None if self.network is None else self.network.provenance(),
            self.network is not None and self.network.is_bf16_quicker(),
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
        writer: Writer | None = None
        batches = self._batches(list(first.values()), specs, size, unusable)
        try:
            for ids, batch in batches:
                self._count(batch.seconds)
                if batch.rows is None:
                    continue
                assert self.network is not None
                if writer is None:
                    writer = Writer(self.store, specs, _provenance(self.network, size))
                before = time.perf_counter()
                unusable |= writer.add(ids, batch.rows)
                self.computed.update(ids)
                self._count({"write": time.perf_counter() - before})
        finally:
            # Also when interrupted: what is done is kept.
            batches.close()
            before = time.perf_counter()
            if writer is not None:
                writer.flush()
            self._count({"write": time.perf_counter() - before})
        self.computed -= set(unusable)
        for i, row in enumerate(self.ids):
            if row in unusable:
                self._fail(i, unusable[row])
        return any(self.ids[i] != row and row not in unusable for row, i in first.items())

    def _count(self, seconds: dict[str, float]) -> None:
        for part, value in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + value

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

    def forward(self, specs: dict[str, FeatureSpec], n_images: int, n_callers: int) -> Forward:
        """Build the network for some features, if it isn't there already."""
        made = [] if self.network is None else [str(feature) for feature in self.network.features]
        if self.network is not None and set(specs) <= set(made):
            return self.network
        self.network = Forward(
            self.backbone,
            [parse_feature(name) for name in specs],
            device=self.device,
            precision=next(iter(specs.values())).precision,
            engine=self.engine,
            n_images=n_images,
            n_callers=n_callers,
        )
        return self.network

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
        self,
        indices: list[int],
        specs: dict[str, FeatureSpec],
        size: int,
        unusable: dict[bytes, str],
    ) -> Generator[tuple[list[bytes], Batch]]:
        """Batches with the row ids of what could be read.

        Ids of images that can't be read are put into `unusable`, with the reason.
        """
        warn_of_size(self.preprocess)
        chunks = [indices[start : start + size] for start in range(0, len(indices), size)]
        batches = self.run(chunks, specs, len(indices), self.crew(len(chunks)))
        sizes: list[tuple[int, int]] = []
        with _bar(len(indices), self.progress) as bar, contextlib.closing(batches):
            for batch in batches:
                ids = [self._noted(image, unusable) for image in batch.decoded]
                sizes += [image.size for image in batch.decoded if not image.reason]
                yield [row for row in ids if row is not None], batch
                bar.update(len(ids))
                del sizes[_SIZES_SEEN:]
        warn_of_crop(sizes, self.preprocess)

    def crew(self, n_batches: int) -> Crew:
        """Choose who does the work."""
        return crew_for(choose_device(self.device), n_batches)

    def run(
        self, chunks: list[list[int]], specs: dict[str, FeatureSpec], n_images: int, crew: Crew
    ) -> Generator[Batch]:
        """Take chunks of images to rows; the network is built for `n_images`."""
        return run(
            chunks,
            functools.partial(decode, self.images, preprocess=self.preprocess),
            self.chosen_batch_size(),
            functools.partial(self.forward, specs, n_images, crew.n_workers),
            crew,
        )

    def _noted(self, image: Decoded, unusable: dict[bytes, str]) -> bytes | None:
        """Row id of a decoded image, None if there is no image; changed files are looked after."""
        was = self.ids[image.index]
        assert was is not None
        row = was if image.row is None else image.row  # in memory it can't have changed
        if image.reason:
            if row == was:
                unusable[was] = image.reason
            else:  # this file was changed or removed; others may still hold those bytes
                for i in self._entries(image.index):
                    self._fail(i, image.reason)
            return None
        if row != was:  # the file was changed after it was digested
            for i in self._entries(image.index):
                self.ids[i] = row
        return row


def _bar(n_images: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(
        total=n_images,
        desc="extract",
        unit=" images",
        disable=not progress,
        file=sys.stderr,
        smoothing=0.1,
    )


def _provenance(forward: Forward, batch_size: int) -> dict[str, str]:
    return {
        **forward.provenance(),
        "batch_size": str(batch_size),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
