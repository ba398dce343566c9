"""Several devices: a process for each, all writing into the same store."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import torch

from transferkit.backbones import Backbone
from transferkit.extract.identities import Identities
from transferkit.extract.loop import Loop
from transferkit.images import ImageSet
from transferkit.spec import BackboneSpec, FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["fill"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Share:
    """What one process is given; none of it is a tensor, and the weights stay where they are."""

    images: ImageSet
    ids: tuple[bytes, ...]
    backbone: BackboneSpec
    specs: dict[str, FeatureSpec]
    store: Path
    device: str
    engine: str
    batch_size: int
    n_sharing: int
    n_threads: int


def fill(loop: Loop, devices: Sequence[str]) -> None:
    """Compute what is missing, on several devices.

    What a process leaves, such as files that can't be read or were changed meanwhile, is
    still missing afterwards; so is everything if it is less than two batches.

    Parameters
    ----------
    loop : Loop
        What to compute. It is told what was.
    devices : sequence of str
        One process each; a name may stand twice.

    Raises
    ------
    RuntimeError, ValueError
        If a process fails. The others stop then, and what is done is kept.
    """
    specs, first = loop.missing()
    if len(first) <= loop.chosen_batch_size():
        return
    shares = _shares(loop, devices, specs, list(first.values()))
    # A fork would inherit locks and the GPU's state.
    context = multiprocessing.get_context("spawn")
    running: dict[Connection, tuple[BaseProcess, str]] = {}
    try:
        for share in shares:
            ours, theirs = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(target=_work, args=(theirs, share), daemon=True)
            process.start()
            theirs.close()  # or its end would never be noticed
            running[ours] = (process, share.device)
        with loop.bar(len(first)) as bar:
            _listen(dict(running), loop, bar)
    finally:
        for ours, (process, _) in running.items():
            ours.close()  # whoever still works notices, writes what it has, and ends
            process.join()
        lost = set().union(*(loop.store.missing(spec, list(first)) for spec in specs.values()))
        loop.computed |= set(first) - lost


def _shares(
    loop: Loop, devices: Sequence[str], specs: dict[str, FeatureSpec], indices: list[int]
) -> list[_Share]:
    backbone = loop.backbone
    parts = [indices[start :: len(devices)] for start in range(len(devices))]
    ids = loop.identities.ids
    return [
        _Share(
            loop.images.select(part),
            tuple(row for i in part if (row := ids[i]) is not None),
            backbone.spec if isinstance(backbone, Backbone) else backbone,
            specs,
            loop.store.path,
            device,
            loop.engine,
            loop.chosen_batch_size(),
            len(devices),
            torch.get_num_threads(),
        )
        for device, part in zip(devices, parts, strict=True)
    ]


def _listen(running: dict[Connection, tuple[BaseProcess, str]], loop: Loop, bar: Any) -> None:
    """Take what the processes say, until all have ended."""
    while running:
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            process, device = running[ready]
            try:
                kind, content = ready.recv()
            except EOFError:
                process.join()
                raise RuntimeError(
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
                seconds, provenance, is_bf16_quicker = content
                loop.count(seconds)
                loop.provenance = provenance or loop.provenance
                loop.is_bf16_quicker |= is_bf16_quicker
                del running[ready]


def _work(caller: Connection, share: _Share) -> None:
    """Run one share; what happens in a process of its own."""
    torch.set_num_threads(share.n_threads)
    loop = Loop(
        share.images,
        share.backbone,
        share.specs,
        FeatureStore(share.store),
        Identities(share.images, exif=False, ids=share.ids),
        share.device,
        share.engine,
        share.batch_size,
        lambda n_images: _Count(caller),
        share.n_sharing,
    )
    # A caller that is gone, or was interrupted: the loop has written what it had.
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt), _told(caller):
        try:
            loop.fill()
        except BrokenPipeError:
            raise
        except Exception as error:
            caller.send(("error", (isinstance(error, ValueError), str(error))))
        else:
            caller.send(("end", (loop.seconds, loop.provenance, loop.is_bf16_quicker)))


class _Count:
    """Stands where a progress bar stands otherwise, and tells the caller."""

    def __init__(self, caller: Connection) -> None:
        self.caller = caller

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, n_images: int) -> None:
        self.caller.send(("images", n_images))


class _Told(logging.Handler):
    def __init__(self, caller: Connection) -> None:
        super().__init__(logging.WARNING)
        self.caller = caller

    def emit(self, record: logging.LogRecord) -> None:
        self.caller.send(("log", (record.levelno, record.getMessage())))


@contextlib.contextmanager
def _told(caller: Connection) -> Iterator[None]:
    """Send warnings to the caller, whose log it is."""
    package = logging.getLogger("transferkit")
    package.addHandler(_Told(caller))
    package.propagate = False
    yield
