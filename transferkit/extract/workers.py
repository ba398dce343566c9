"""Threads that take batches of images through decoding and network, some batches ahead."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from transferkit.extract.decoding import Decoded
from transferkit.forward import Forward
from transferkit.forward.allocator import kept_pages

__all__ = ["Batch", "Workers", "run", "workers_for"]

# More workers than this would wait for Python's lock; beyond it each gets more threads.
_MOST_WORKERS = 16
# Batches on their way beside a GPU: one computes while the next is copied and stacked.
_ON_DEVICE = 3
_DECODERS = 32


@dataclass(frozen=True)
class Batch:
    """Images that went through the network together.

    Parameters
    ----------
    decoded : list of Decoded
        Every image of the batch, readable or not; without its pixels.
    rows : dict of str to ndarray or None
        Feature name to rows of the readable ones, then padding; None if there are none.
    seconds : dict of str to float
        Time of the worker: read, decode, forward.
    """

    decoded: list[Decoded]
    rows: dict[str, np.ndarray] | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class Workers:
    """The threads of an extraction, and what each kind of them does.

    Parameters
    ----------
    n_workers : int
        Threads that each take a batch from its files to its rows.
    n_threads : int
        Threads of PyTorch inside each of them.
    n_decoders : int
        Threads beside them that decode; 0 if the workers do.
    """

    n_workers: int
    n_threads: int
    n_decoders: int


def workers_for(
    device: torch.device, n_batches: int, n_sharing: int = 1, *, shares: bool = True
) -> Workers:
    """Choose the number of threads for each kind of work.

    On a CPU one worker per core, each doing everything: nothing is handed over and no core
    waits. Beside a GPU the cores decode.

    Parameters
    ----------
    device : torch.device
        Where the network runs.
    n_batches : int
        How many there are.
    n_sharing : int, default=1
        Processes that share the machine's cores, this one among them.
    shares : bool, default=True
        Whether a batch leaves cores to others, though there may be none.
    """
    # The user may limit the number by $OMP_NUM_THREADS.
    n_cores = max(1, torch.get_num_threads() // n_sharing)
    if device.type != "cpu":
        n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else n_cores
        n_decoders = max(1, min(_DECODERS, n_cpus // n_sharing))
        return Workers(min(_ON_DEVICE, n_batches), n_cores, n_decoders)
    # Rows depend on the threads in the last bit, so their number is the same for one image and
    # for a million; on up to 16 cores it is 1.
    n_threads = -(-n_cores // _MOST_WORKERS) if shares else n_cores
    return Workers(max(1, min(n_cores // n_threads, n_batches)), n_threads, 0)


def run(
    chunks: Sequence[list[int]],
    decode: Callable[[int], Decoded],
    size: int,
    forward: Callable[[], Forward],
    workers: Workers,
) -> Generator[Batch]:
    """Take chunks of images to rows, a bounded number ahead, results in order.

    Parameters
    ----------
    chunks : sequence of list of int
        Positions of at most `size` images each.
    decode : callable
        Decodes the image at a position.
    size : int
        Images per pass: every batch is padded to it, as a row's bits depend on it.
    forward : callable
        Gives the network; called when there is something to compute, once.
    workers : Workers
        See `workers_for`.
    """
    once = _Lazy(forward)
    with contextlib.ExitStack() as stack:
        stack.enter_context(kept_pages())
        before = torch.get_num_threads()
        decoders = None
        if workers.n_decoders:
            decoders = ThreadPoolExecutor(workers.n_decoders)
            stack.callback(decoders.shutdown, cancel_futures=True)
        job = functools.partial(_through, decode=decode, size=size, forward=once, pool=decoders)
        # Each thread has its own number of threads; threads made later would inherit it.
        stack.callback(torch.set_num_threads, before)
        pool = ThreadPoolExecutor(
            workers.n_workers, initializer=torch.set_num_threads, initargs=(workers.n_threads,)
        )
        stack.callback(pool.shutdown, cancel_futures=True)
        ahead: collections.deque[Future[Batch]] = collections.deque()
        for chunk in chunks:
            ahead.append(pool.submit(job, chunk))
            if len(ahead) > 2 * workers.n_workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


class _Lazy:
    """Makes the network on the first call. Threads that call meanwhile wait for it."""

    def __init__(self, make: Callable[[], Forward]) -> None:
        self.make = make
        self.lock = threading.Lock()
        self.made: Forward | None = None

    def __call__(self) -> Forward:
        with self.lock:
            if self.made is None:
                self.made = self.make()
            return self.made


def _through(
    chunk: list[int],
    *,
    decode: Callable[[int], Decoded],
    size: int,
    forward: Callable[[], Forward],
    pool: ThreadPoolExecutor | None,
) -> Batch:
    """Take one chunk from its files to its rows."""
    decoded = list((map if pool is None else pool.map)(decode, chunk))
    pixels = [image.pixels for image in decoded if image.pixels is not None]
    seconds = {
        "read": sum(image.seconds[0] for image in decoded),
        "decode": sum(image.seconds[1] for image in decoded),
        "forward": 0.0,
    }
    rows = None
    if pixels:
        network = forward()
        start = time.perf_counter()
        rows = network.rows(np.stack(pixels + [pixels[-1]] * (size - len(pixels))))
        seconds["forward"] = time.perf_counter() - start
    without = [dataclasses.replace(image, pixels=None) for image in decoded]
    return Batch(without, rows, seconds)
