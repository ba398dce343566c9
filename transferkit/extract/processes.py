"""Extract on several devices, in a process for each, all of which write into the same store."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from transferkit.backbones import Backbone
from transferkit.extract.decoding import warn_of_size
from transferkit.extract.identities import Identities
from transferkit.extract.job import ExtractionJob
from transferkit.extract.views import View
from transferkit.images import ImagePart, ImageSet, Item, read_rgb
from transferkit.spec import BackboneSpec, FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["fill"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _ShareOfImages:
    """The share of the work that one process gets. It holds no tensors and no weights."""

    images: ImageSet
    ids: tuple[bytes, ...]
    backbone: BackboneSpec
    specs: dict[str, FeatureSpec]
    store: Path | str
    device: str
    engine: str
    batch_size: int
    n_images: int  # of all shares
    n_sharing: int
    n_threads: int
    pixel_limit: int | None
    view: View | None


def fill(job: ExtractionJob, devices: Sequence[str]) -> None:
    """Compute what is missing, on several devices.

    What a process leaves, such as files that can't be read or were changed meanwhile, is
    still missing afterwards; so is everything if it is no more than a batch. Every process
    gets the same number of images, so the devices should be alike.

    Parameters
    ----------
    job : ExtractionJob
        What to compute. It is told what was.
    devices : sequence of str
        One process each; a name may stand twice.

    Raises
    ------
    RuntimeError, ValueError
        If a process fails. The others stop then, and what is done is kept. Where an image has
        ended it, that one is set aside as unreadable, and all go on.
    """
    if not job.store.place.is_shared:
        raise ValueError(
            f"the store {str(job.store.path)!r} is in the memory of one process, and "
            f"{len(devices)} devices take a process each; choose another store, or one device"
        )
    while True:
        specs, first = job.missing()
        job.set_aside(first)
        if len(first) <= job.chosen_batch_size():
            return
        warn_of_size(job.preprocess)
        try:
            _share_out(job, devices, specs, first)
            return
        except _EndedEarly:
            if not job.set_aside(first):
                raise


class _EndedEarly(RuntimeError):
    """A process ended without a message."""


def _share_out(
    job: ExtractionJob,
    devices: Sequence[str],
    specs: dict[str, FeatureSpec],
    first: dict[bytes, int],
) -> None:
    """Compute images in several processes at a time."""
    shares = _shares(job, devices, specs, list(first.values()))
    # A fork would inherit locks and the GPU's state.
    context = multiprocessing.get_context("spawn")
    running: dict[Any, tuple[BaseProcess, str]] = {}  # by our end of its pipe
    try:
        for share in shares:
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_work, args=(theirs, share), daemon=True)
            process.start()
            theirs.close()  # or its end would never be noticed
            running[ours] = (process, share.device)
        with job.bar(len(first)) as bar:
            _listen(dict(running), job, bar)
    finally:
        for ours in running:
            ours.close()  # processes that still work notice this, write their rows, and end
        for process, _ in running.values():
            process.join()
        lost = set().union(*(job.store.missing(spec, list(first)) for spec in specs.values()))
        job.computed |= set(first) - lost


def _shares(
    job: ExtractionJob, devices: Sequence[str], specs: dict[str, FeatureSpec], indices: list[int]
) -> list[_ShareOfImages]:
    backbone, size = job.backbone, job.chosen_batch_size()
    devices = devices[: -(-len(indices) // size)]
    parts = [indices[start :: len(devices)] for start in range(len(devices))]
    ids = job.identities.ids
    return [
        _ShareOfImages(
            _sendable(job.images.select(part), exif=job.preprocess.exif),
            tuple(row for i in part if (row := ids[i]) is not None),
            backbone.spec if isinstance(backbone, Backbone) else backbone,
            specs,
            job.store.path,
            device,
            job.engine,
            size,
            len(indices),
            len(devices),
            torch.get_num_threads(),
            Image.MAX_IMAGE_PIXELS,
            job.view,
        )
        for device, part in zip(devices, parts, strict=True)
    ]


def _sendable(images: ImageSet, *, exif: bool) -> ImageSet:
    """Turn images in memory into pixels, because pickled PIL images lose palette and format."""

    def sendable(item: Item) -> Item:
        if isinstance(item, ImagePart) and item.is_in_memory:
            item = item.read()
        if not isinstance(item, Image.Image):
            return item
        pixels = np.asarray(read_rgb(item, exif=exif))
        # Grey stays one channel, for backbones that take one.
        return pixels[:, :, 0] if item.mode in ("1", "L", "LA", "La") else pixels

    return dataclasses.replace(images, items=tuple(map(sendable, images.items)))


def _listen(running: dict[Any, tuple[BaseProcess, str]], job: ExtractionJob, bar: Any) -> None:
    """Receive the processes' messages until all have ended."""
    while running:
        ready: Any
        for ready in wait(list(running)):
            process, device = running[ready]
            try:
                kind, content = ready.recv()
            except (EOFError, OSError):  # between two messages, or within one
                process.join()
                raise _EndedEarly(
                    f"the process of device {device!r} ended early (exit code "
                    f"{process.exitcode}); what was done is kept: run it again, or choose one "
                    f"device. In a script of your own, calls that use several devices stand under "
                    f"if __name__ == '__main__':"
                ) from None
            if kind == "images":
                bar.update(content)
            elif kind == "log":
                level, text = content
                logger.log(level, "%s: %s", device, text)
            elif kind == "error":
                is_value, text = content
                raise (ValueError if is_value else RuntimeError)(f"{device}: {text}")
            else:
                seconds, provenance, is_bf16_quicker, sizes = content
                job.count(seconds)
                job.provenance = provenance or job.provenance
                job.is_bf16_quicker |= is_bf16_quicker
                job.sizes += sizes
                del running[ready]


def _work(pipe: Any, share: _ShareOfImages) -> None:
    """Run one share of the images. This is what each process does."""
    torch.set_num_threads(share.n_threads)
    Image.MAX_IMAGE_PIXELS = share.pixel_limit
    caller = _ParentPipe(pipe)
    job = ExtractionJob(
        share.images,
        share.backbone,
        share.specs,
        FeatureStore(share.store),
        Identities(share.images, exif=False, ids=share.ids),
        share.device,
        share.engine,
        share.batch_size,
        lambda n_images: caller,
        share.n_sharing,
        share.n_images,
        view=share.view,
    )
    package = logging.getLogger("transferkit")
    package.addHandler(caller)
    package.propagate = False
    # The parent process is gone or was interrupted. The job has written its rows by now.
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            job.fill()
        except BrokenPipeError:
            raise
        except Exception as error:
            caller.send("error", (isinstance(error, ValueError), str(error)))
        else:
            told = (job.seconds, job.provenance, job.is_bf16_quicker, job.sizes)
            caller.send("end", told)


class _ParentPipe(logging.Handler):
    """The pipe to the parent process, used as its progress bar and as the log of its warnings."""

    def __init__(self, pipe: Any) -> None:
        super().__init__(logging.WARNING)
        self.pipe = pipe
        self.sending = threading.Lock()  # warnings come from any thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def send(self, kind: str, content: Any) -> None:
        with self.sending:
            self.pipe.send((kind, content))

    def update(self, n_images: int) -> None:
        self.send("images", n_images)

    def emit(self, record: logging.LogRecord) -> None:
        self.send("log", (record.levelno, record.getMessage()))
