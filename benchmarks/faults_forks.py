"""Work in processes that are forked, asked for what they find, and killed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outcome", "asked", "ended", "killed_after", "moments", "started"]


@dataclass
class Outcome:
    """What a kind of fault did.

    Parameters
    ----------
    tried : int
        How often it was brought about.
    survived : int
        After how many of these everything was as it should be.
    rows_lost, rows_wrong : int
        Rows that had been stored and weren't there, and rows with other numbers.
    unclear : int
        Messages that don't say what to do.
    notes : dict
        What else was counted.
    seconds : float
        Of all of it.
    """

    tried: int = 0
    survived: int = 0
    rows_lost: int = 0
    rows_wrong: int = 0
    unclear: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def count(self, *, lost: int = 0, wrong: int = 0, unclear: int = 0) -> None:
        """Add one fault with what it did."""
        self.tried += 1
        self.rows_lost += lost
        self.rows_wrong += wrong
        self.unclear += unclear
        self.survived += not (lost or wrong or unclear)


def started(work: Callable[[], Any]) -> int:
    """Start a process that does some work and ends; its id is that of its group too."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setpgid(0, 0)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended(process: int, *, kill: bool = False) -> int:
    """Wait for a process, or kill it with all that it has started; return its exit code."""
    if kill:
        try:
            os.killpg(process, signal.SIGKILL)
        except ProcessLookupError:  # before it had a group of its own
            os.kill(process, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_after(work: Callable[[], Any], seconds: float) -> bool:
    """Do some work in a process that is killed after a while; return whether it was at work."""
    process = started(work)
    time.sleep(seconds)
    return ended(process, kill=True) == -signal.SIGKILL


def asked(work: Callable[[], Any]) -> Any:
    """What some work returns, as JSON, from a process of its own."""
    reading, writing = os.pipe()

    def answer() -> None:
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(), pipe)

    process = started(answer)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    if ended(process):
        raise RuntimeError(f"a process failed: {text[:200]!r}")
    return json.loads(text)


def moments(rng: random.Random, work: Callable[[], Any], n: int) -> list[float]:
    """Random moments in the time that some work takes, done once to see."""
    start = time.perf_counter()
    if ended(started(work)):
        raise RuntimeError("the work fails even undisturbed")
    took = time.perf_counter() - start
    return [rng.uniform(0, 1.05 * took) for _ in range(n)]
