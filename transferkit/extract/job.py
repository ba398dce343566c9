"""One extraction, from images by digests, decoding, backbone and pooling to rows in the store.

The only place where images, backbone, pooling and store meet. One direction, and no state
between the steps but the store.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from transferkit.backbones import Backbone
from transferkit.extract.certifying import SampledRows
from transferkit.extract.decoding import Decoded, decode, warn_of_crop, warn_of_size
from transferkit.extract.identities import Identities
from transferkit.extract.result import Extraction
from transferkit.extract.suspects import InFlight, ending
from transferkit.extract.views import View
from transferkit.extract.workers import Batch, Workers, run, workers_for
from transferkit.extract.writing import ShardWriter
from transferkit.forward import Forward, choose_device
from transferkit.images import ImageSet
from transferkit.memory import memory_for_features
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec, FeatureSpec, Preprocess
from transferkit.store import FeatureStore, MissingRows, StoredRows

__all__ = ["BATCH_SIZE", "ExtractionJob", "progress_bar", "specs_of"]

BATCH_SIZE = {"cpu": 8, "cuda": 64, "mps": 32}
"""Images per forward pass; small wins on CPUs, whose caches a large batch overflows."""

_ATTEMPTS = 3
# Number of images by which it is judged whether the geometry suits them.
_SIZES_SEEN = 10_000

logger = logging.getLogger(__name__)


def specs_of(
    backbone: Backbone | BackboneSpec,
    features: Sequence[str],
    *,
    precision: str,
    storage: str,
    view: int = 0,
) -> dict[str, FeatureSpec]:
    """Specs of the features, by canonical name."""
    parsed = {str(name): name for name in map(parse_feature, features)}
    names = list(parsed)
    if not names:
        raise ValueError("no features were asked for; name at least one, such as 'pre_logits'")
    spec = backbone.spec if isinstance(backbone, Backbone) else backbone
    specs = {n: spec.feature_spec(n, precision=precision, storage=storage) for n in names}
    return {n: replace(one, view=view) for n, one in specs.items()}


@dataclass
class ExtractionJob:
    """State of one extraction: its arguments and its progress.

    Parameters
    ----------
    images, backbone, store, device, engine, batch_size
        As for `extract`.
    specs : dict of str to FeatureSpec
        What to compute, by name.
    identities : Identities
        Rows of the images.
    bar : callable
        Makes a progress bar for a number of images.
    n_sharing : int, default=1
        Processes that share this machine's cores.
    n_images : int, optional
        Images of all of them together, by which the engine is chosen; None for those of this
        job.
    started : float
        On the clock of `time.perf_counter`; now by default.
    view : View, optional
        What is computed instead of the plain images.
    is_kept : bool, default=True
        Whether rows are stored. If not, a few images are computed as quickly as they can be: in a
        batch of their own, by all threads, which may change the last bits of a row.
    """

    images: ImageSet
    backbone: Backbone | BackboneSpec
    specs: dict[str, FeatureSpec]
    store: FeatureStore
    identities: Identities
    device: str = "auto"
    engine: str = "auto"
    batch_size: int | None = None
    bar: Callable[[int], Any] = lambda n_images: progress_bar(n_images, shown=False)
    n_sharing: int = 1
    n_images: int | None = None
    started: float = field(default_factory=time.perf_counter)
    view: View | None = None
    is_kept: bool = True
    network: Forward | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    computed: set[bytes] = field(default_factory=set)
    provenance: dict[str, str] | None = None
    is_bf16_quicker: bool = False
    sizes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def preprocess(self) -> Preprocess:
        """Preprocessing of the images, which is the same for every feature."""
        return next(iter(self.specs.values())).preprocess

    def finish(self, on_error: str, keep_rows: bool | Literal["stored", "fitting"]) -> Extraction:
        """Compute missing rows, and gather all rows."""
        identities = self.identities
        for attempt in range(_ATTEMPTS):
            self.fill()
            if attempt == 0:  # once, whatever has to be done again
                warn_of_crop(self.sizes, self.preprocess, may_enlarge=self._has_maps())
            identities.check(on_error)
            ids = tuple(identities.readable_ids)
            try:
                stored = {name: self.store.open(spec, ids) for name, spec in self.specs.items()}
                n_bytes = sum(one.nbytes for one in stored.values())
                if keep_rows == "fitting":
                    keep_rows = n_bytes <= memory_for_features()
                rows = {name: _gathered(one, keep_rows) for name, one in stored.items()}
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
            np.array([i for i, row in enumerate(identities.ids) if row is not None], dtype=np.intp),
            ids,
            tuple(identities.failures[i] for i in sorted(identities.failures)),
            len(self.computed),
            identities.n_read,
            time.perf_counter() - self.started,
            self.seconds,
            self.provenance,
            self.is_bf16_quicker,
            stored=stored,
            images=self.images,
            exif=self.preprocess.exif,
            layout=self.preprocess.layout,
        )

    def _has_maps(self) -> bool:
        return any(parse_feature(name).pooling == "map" for name in self.specs)

    def fill(self) -> None:
        """Compute rows that the store doesn't have, once for each different image."""
        while self._fill():  # again for the copies of files that were changed meanwhile
            pass

    def _fill(self) -> bool:
        """Return whether a file was changed since it was digested.

        Its copies, if it had any, are still to be computed.
        """
        specs, first = self.missing()
        if not first:
            return False
        self.store.place.check_writable("features can't be stored")
        size = self.chosen_batch_size()
        self.set_aside(first)
        unusable: dict[bytes, str] = {}
        writer: ShardWriter | None = None
        sample = self._sample(specs, first)
        batches = self._batches(list(first.values()), specs, size, unusable)
        try:
            for ids, batch in batches:
                self.count(batch.seconds)
                if batch.rows is None:
                    continue
                assert self.network is not None
                if writer is None:
                    self.provenance = self.network.provenance()
                    self.is_bf16_quicker = self.network.is_bf16_quicker()
                    whence = _provenance(self.provenance, size)
                    writer = ShardWriter(self.store, specs, whence, sample)
                before = time.perf_counter()
                unusable |= writer.add(ids, batch.rows)
                self.computed.update(ids)
                self.count({"write": time.perf_counter() - before})
        finally:
            # Finished rows are written even if the run is interrupted.
            batches.close()
            before = time.perf_counter()
            if writer is not None:
                writer.flush(is_last=True)
            if sample is not None and self.provenance is not None:
                self.provenance |= sample.worst()
            self.count({"write": time.perf_counter() - before})
        self.computed -= set(unusable)
        self.identities.fail_rows(unusable)
        now = self.identities.ids
        return any(now[i] != row and row not in unusable for row, i in first.items())

    def _sample(self, specs: dict[str, FeatureSpec], first: dict[bytes, int]) -> SampledRows | None:
        """Sample on which it is measured what a compressed storage class costs."""
        if next(iter(specs.values())).storage == "float32":
            return None
        known = self.images.labels or ()
        labels = {row: known[i] if known else None for row, i in first.items()}
        classes = {row: one if isinstance(one, str) else None for row, one in labels.items()}
        return SampledRows(specs, classes)

    def set_aside(self, first: dict[bytes, int]) -> bool:
        """Take images out, as unreadable, that end the process; return whether there were any."""
        found = ending(self.images, first, self.preprocess)
        self.identities.fail_rows(found)
        for row in found:
            del first[row]
        return bool(found)

    def count(self, seconds: dict[str, float]) -> None:
        """Add up the time of each part."""
        for part, value in seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + value

    def missing(self) -> tuple[dict[str, FeatureSpec], dict[bytes, int]]:
        """Features with missing rows, and the first position of each image that lacks one."""
        ids = self.identities.readable_ids
        missing = {name: set(self.store.missing(spec, ids)) for name, spec in self.specs.items()}
        wanted = set().union(*missing.values())
        first: dict[bytes, int] = {}
        for i, row in enumerate(self.identities.ids):
            if row in wanted:
                first.setdefault(row, i)
        return {name: spec for name, spec in self.specs.items() if missing[name]}, first

    def forward(self, specs: dict[str, FeatureSpec], n_images: int, n_callers: int) -> Forward:
        """Build the network for some features, unless it is built already."""
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
        if size := self.batch_size or self._stored_batch_size():
            return size
        kind = self.device.partition(":")[0]  # a GPU that is only named takes no memory
        usual = BATCH_SIZE[choose_device().type if kind == "auto" else kind]
        if self.is_kept or len(self.images) >= usual:
            return usual
        # Every size is prepared for once, so that there are few of them.
        return 1 << (len(self.images) - 1).bit_length()

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
        if self.n_images is None:  # else who shares them out has said it
            warn_of_size(self.preprocess)
        chunks = [indices[start : start + size] for start in range(0, len(indices), size)]
        batches = self.run(chunks, specs, self.n_images or len(indices), self.workers(len(chunks)))
        with self.bar(len(indices)) as bar, contextlib.closing(batches):
            for batch in batches:
                ids = [self.identities.record(image, unusable) for image in batch.decoded]
                self.sizes += [image.size for image in batch.decoded if not image.reason]
                yield [row for row in ids if row is not None], batch
                bar.update(len(ids))
                del self.sizes[_SIZES_SEEN:]

    def workers(self, n_batches: int) -> Workers:
        """Choose the number of threads for each kind of work."""
        shares = self.is_kept or n_batches > 1
        return workers_for(choose_device(self.device), n_batches, self.n_sharing, shares=shares)

    def run(
        self,
        chunks: list[list[int]],
        specs: dict[str, FeatureSpec],
        n_images: int,
        workers: Workers,
    ) -> Generator[Batch]:
        """Compute the rows of chunks of images, with a network that suits `n_images`."""
        with InFlight() as in_flight:
            yield from run(
                chunks,
                functools.partial(self._decode, in_flight),
                self.chosen_batch_size(),
                functools.partial(self.forward, specs, n_images, workers.n_workers),
                workers,
            )

    def _decode(self, in_flight: InFlight, index: int) -> Decoded:
        known = self.identities.ids[index]
        with in_flight.holding(known):
            image = decode(self.images, index, self.preprocess)
        row = image.row or known
        if self.view is None or image.pixels is None or row is None:
            return image
        return replace(image, pixels=self.view.change(row, image.pixels))


def progress_bar(n_images: int, *, shown: bool) -> Any:
    """Progress bar on stderr."""
    from tqdm import tqdm

    return tqdm(
        total=n_images,
        desc="extract",
        unit=" images",
        disable=not shown,
        file=sys.stderr,
        smoothing=0.1,
    )


def _gathered(stored: StoredRows, keep_rows: bool | Literal["stored"]) -> np.ndarray:
    """Gather all rows. If rows aren't to be kept, check them unless they are read later."""
    if keep_rows is True:
        return stored[:]
    if keep_rows is False:
        for _ in stored.batches():
            pass
    return stored[:0]


def _provenance(network: dict[str, str], batch_size: int) -> dict[str, str]:
    return {
        **network,
        "batch_size": str(batch_size),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
