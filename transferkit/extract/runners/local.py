"""Extract on several devices, in a process for each, all of which write into the same store."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import pickle
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Self

import torch

from transferkit.extract.decoding import warn_of_size
from transferkit.extract.job import ExtractionJob
from transferkit.extract.runners._runner import Runner
from transferkit.extract.runners._share import ShareOfImages, share_of
from transferkit.extract.views import View
from transferkit.forward import device_names
from transferkit.spec import FeatureSpec
from transferkit.store import FeatureStore

__all__ = ["LocalRunner", "open_runner"]

logger = logging.getLogger(__name__)


def open_runner(address: str, device: str) -> LocalRunner:
    """Return the runner of this machine, which has no address."""
    if address:
        raise ValueError(f"on is 'local:{address}', and this machine has no address; say 'local'")
    return LocalRunner(device_names(device))


class LocalRunner(Runner):
    """One device in this process, or several with a process of this machine each.

    Parameters
    ----------
    devices : sequence of str
        A name may stand twice. Every process gets the same number of images, so the devices
        should be alike.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self.devices = devices
        self.device = devices[0]

    def check_store(self, store: FeatureStore | None) -> None:
        """Raise a ValueError if several processes can't write into a store."""
        if len(self.devices) > 1 and store is not None and not store.place.is_shared:
            raise ValueError(
                f"the store {str(store.path)!r} is in the memory of one process, and "
                f"{len(self.devices)} devices take a process each; choose another store, or one "
                f"device"
            )

    def fill(self, job: ExtractionJob) -> None:
        """Compute what is missing, if there are several devices.

        What a process leaves, such as files that can't be read or were changed meanwhile, is
        still missing afterwards; so is everything if it is no more than a batch.

        Parameters
        ----------
        job : ExtractionJob
            What to compute. It is told what was.

        Raises
        ------
        RuntimeError, ValueError
            If a process fails. The others stop then, and what is done is kept. Where an image
            has ended it, that one is set aside as unreadable, and all go on.
        """
        if len(self.devices) == 1:
            return
        _check_sendable(job.view)
        while True:
            specs, first = job.missing()
            job.set_aside(first)
            if len(first) <= job.chosen_batch_size():
                return
            warn_of_size(job.preprocess)
            try:
                _share_out(job, self.devices, specs, first)
                return
            except _EndedEarly:
                if not job.set_aside(first):
                    raise


def _check_sendable(view: View | None) -> None:
    """Raise a ValueError if other processes can't be told a view."""
    try:
        pickle.dumps(view)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"a view can't be sent to the processes of several devices ({error}); make its "
            "functions of functions that stand in a module, or name one device"
        ) from error


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
) -> list[ShareOfImages]:
    devices = devices[: -(-len(indices) // job.chosen_batch_size())]
    return [
        share_of(
            job,
            indices[start :: len(devices)],
            specs,
            device=device,
            n_images=len(indices),
            n_sharing=len(devices),
            n_threads=torch.get_num_threads(),
        )
        for start, device in enumerate(devices)
    ]


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


def _work(pipe: Any, share: ShareOfImages) -> None:
    """Run one share of the images. This is what each process does."""
    caller = _ParentPipe(pipe)
    job = share.job(lambda n_images: caller)
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
