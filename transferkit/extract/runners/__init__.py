"""Where missing rows are computed: a file of this folder is a runner, found by its name.

``"local"`` is this machine, with a process for each of several devices; ``"ray"`` and
``"ray:ADDRESS"`` are a cluster. All run the same code and write into the same store. What a file
offers is `open_runner`, of an address and a device.
"""

from __future__ import annotations

from typing import Any

from transferkit import registry
from transferkit.extract.runners._runner import Runner

__all__ = ["Runner", "open_runner"]


def open_runner(on: str, device: str) -> Runner:
    """Return a runner by its name. It is a context manager, in which it computes.

    Parameters
    ----------
    on : str
        ``NAME``, or ``NAME:ADDRESS`` where a runner is at an address.
    device : str
        As for `extract`.

    Raises
    ------
    ValueError
        If there is no such runner, or it has no such device.

    Examples
    --------
    >>> open_runner("local", "cpu").device
    'cpu'
    """
    name, _, address = on.partition(":")
    module: Any = registry.load(__name__, name, "runner")
    runner: Runner = module.open_runner(address, device)
    return runner
