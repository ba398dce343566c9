"""Extract features of images: only here do images, backbone, pooling and store meet."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Literal

from transferkit.backbones import Backbone
from transferkit.extract.identities import Identities
from transferkit.extract.job import BATCH_SIZE, ExtractionJob, progress_bar, specs_of
from transferkit.extract.planning import Estimate, plan
from transferkit.extract.result import Extraction
from transferkit.extract.runners import open_runner
from transferkit.extract.views import View, mirrored, turned, zoomed
from transferkit.forward import check_engine_name
from transferkit.images import ImageSet
from transferkit.spec import BackboneSpec
from transferkit.store import FeatureStore
from transferkit.store.places import MemoryPlace

__all__ = [
    "BATCH_SIZE",
    "Estimate",
    "Extraction",
    "View",
    "extract",
    "mirrored",
    "plan",
    "turned",
    "zoomed",
]

logger = logging.getLogger(__name__)

# Rows of so many images are kept in memory, where nothing waits for a disk.
_FEW = 64


def extract(
    images: ImageSet,
    backbone: Backbone | BackboneSpec,
    features: Sequence[str],
    store: FeatureStore | None,
    *,
    on: str = "local",
    device: str = "auto",
    precision: str = "float32",
    storage: str = "float32",
    engine: str = "auto",
    batch_size: int | None = None,
    on_error: str = "raise",
    keep_rows: bool | Literal["stored", "fitting"] = True,
    progress: bool = False,
    view: View | None = None,
) -> Extraction:
    """Extract the features of every image, and compute only rows that the store doesn't have.

    Parameters
    ----------
    images : ImageSet
        From `list_images`.
    backbone : Backbone or BackboneSpec
        A spec is built only if a row is missing.
    features : sequence of str
        Feature names, ``layer[.pooling]``; one pass fills all of them.
    store : FeatureStore or None
        Where rows are kept; None keeps nothing after the call. Fewer images than make a batch are
        then computed as quickly as they can be, in a smaller one and by all threads, and the last
        bits of their rows may differ from those of other batches.
    on : str, default="local"
        Where it runs: ``"local"`` is this machine; ``"ray"`` and ``"ray:ADDRESS"`` a cluster of
        Ray's (extra ``ray``), whose nodes see the same files and the same store. ADDRESS is
        Ray's own, ``auto`` or ``HOST:6379``. Without it, it is the cluster of ``$RAY_ADDRESS`` or
        of this machine, or one that is started and ends with the call.
    device : str, default="auto"
        See `choose_device`; several with commas between, such as ``"cuda:0,cuda:1"``, have a
        process each, all writing into the same store. On Ray it is ``"auto"``, ``"cpu"`` or
        ``"cuda"``: which GPU, Ray chooses.
    precision, storage, engine
        See `Forward` and `FeatureSpec`.
    batch_size : int, optional
        Images per pass; by default that of the rows in the store, else `BATCH_SIZE`.
    on_error : {"raise", "skip"}, default="raise"
        What happens if images can't be read: raise, after all the others are in the store,
        naming every one; or leave them out and report them.
    keep_rows : bool, "stored" or "fitting", default=True
        False fills the store and checks every row in it, without gathering them; they can be
        read from `Extraction.stored`. With ``"stored"`` they aren't even checked before they are
        read from there, once; without a store they are gathered all the same. With ``"fitting"``
        they are gathered if they fit well into memory, and else are checked and left there.
    progress : bool, default=False
        Whether a progress bar is shown on stderr.
    view : View, optional
        A view of the images, such as `mirrored`, which is computed instead of the plain ones.

    Raises
    ------
    UnreadableImages
        If images can't be read and `on_error` is ``"raise"``; or if none can.
    ValueError
        If a name or option doesn't exist.
    RuntimeError
        If one of several processes ends early; or if rows are still missing after several
        attempts on Ray, with the images' names.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is {on_error!r}; choose 'raise' or 'skip'")
    started = time.perf_counter()
    check_engine_name(engine)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give a whole number above 0")
    runner = open_runner(on, device)
    runner.check_store(store)
    specs = specs_of(
        backbone,
        features,
        precision=precision,
        storage=storage,
        view=0 if view is None else view.number,
    )
    with contextlib.ExitStack() as stack:
        is_kept = store is not None
        if store is None:
            store = stack.enter_context(_passing_store(len(images), device))
        exif = next(iter(specs.values())).preprocess.exif
        stack.enter_context(runner)
        job = ExtractionJob(
            images,
            backbone,
            specs,
            store,
            Identities(images, exif=exif, hash_with=runner.hash_files),
            runner.device,
            engine,
            batch_size,
            functools.partial(progress_bar, shown=progress),
            started=started,
            view=view,
            is_kept=is_kept,
        )
        runner.fill(job)
        result = job.finish(on_error, keep_rows if is_kept else bool(keep_rows))
        if not is_kept:
            result = dataclasses.replace(result, stored={})
    logger.info("%s", result.summary())
    return result


@contextlib.contextmanager
def _passing_store(n_images: int, device: str) -> Iterator[FeatureStore]:
    """Store for a while: of few images in memory, else in a folder that processes can share."""
    if n_images <= _FEW and "," not in device:
        yield FeatureStore(MemoryPlace())
        return
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        yield FeatureStore(folder)
