"""The processes of a run: one, or several that share every batch through accelerate."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.forward import has_fast_bf16

__all__ = ["Processes", "native_precision"]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Processes:
    """The processes of a run: one, unless a launcher started more.

    Started by ``accelerate launch -m transferkit …`` or ``torchrun -m transferkit …``, each of
    them computes its share of every batch, and gradients are averaged. Whatever is drawn
    depends on the image and not on the process, so the batches are those of one process.

    Parameters
    ----------
    device : torch.device
        Of this process.
    """

    def __init__(self, device: torch.device) -> None:
        self.accelerator: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            try:
                from accelerate import Accelerator
            except ImportError as error:
                raise ValueError(
                    "several processes need accelerate, which isn't installed; run pip install "
                    "'transferkit[finetune]', or start one process"
                ) from error
            self.accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no")
            # accelerate numbers CPUs as if they were GPUs.
            device = device if device.type == "cpu" else self.accelerator.device
        self.device = device
        self.rank = 0 if self.accelerator is None else int(self.accelerator.process_index)
        self.count = 1 if self.accelerator is None else int(self.accelerator.num_processes)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    @property
    def n_workers(self) -> int:
        """Number of processes that prepare batches; 0 on a CPU, which has no core to spare."""
        return min(8, os.cpu_count() or 1) if self.device.type == "cuda" else 0

    @contextlib.contextmanager
    def numeric_class(self, precision: str) -> Iterator[None]:
        """Compute in a numeric class; weights stay float32."""
        if precision == "float32":
            yield
            return
        with torch.autocast(self.device.type, dtype=_AUTOCAST[precision]):
            yield

    def prepare(self, network: nn.Module) -> nn.Module:
        """Put a network on the device, and let its gradients be averaged."""
        network = network.to(self.device)
        if self.accelerator is None:
            return network
        prepared = self.accelerator.prepare_model(network)
        assert isinstance(prepared, nn.Module)
        return prepared

    def to_device(self, batch: Any) -> Any:
        """A batch whose tensors, in tuples, lists and dicts too, are on this process's device."""
        if isinstance(batch, Tensor):
            return batch.to(self.device)
        if isinstance(batch, Mapping):
            return {name: self.to_device(value) for name, value in batch.items()}
        if isinstance(batch, list | tuple):
            moved = [self.to_device(value) for value in batch]
            return moved if isinstance(batch, list) else tuple(moved)
        return batch

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes."""
        if self.accelerator is None:
            return value
        reduced = self.accelerator.reduce(value, reduction="mean")
        assert isinstance(reduced, Tensor)
        return reduced

    def gather(self, rows: Tensor) -> Tensor:
        """Rows of all processes, the first's first; they may have different numbers."""
        if self.accelerator is None:
            return rows
        from accelerate.utils import gather_object

        return torch.cat([part.to(rows.device) for part in gather_object([rows.cpu()])])

    @contextlib.contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first process run the block before the others, which find its results stored."""
        if self.accelerator is None:
            yield
            return
        with self.accelerator.main_process_first():
            yield

    @contextlib.contextmanager
    def without_averaging(self, network: nn.Module, skip: bool) -> Iterator[None]:
        """Average gradients over the processes only after the last part of an accumulated batch."""
        if self.accelerator is None or not skip:
            yield
            return
        with self.accelerator.no_sync(network):
            yield

    def wait(self) -> None:
        """Wait for the others."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def native_precision(device: torch.device) -> str:
    """Fastest numeric class that is native to a device and safe for training.

    Parameters
    ----------
    device : torch.device
        Of this process.

    Returns
    -------
    str
        ``"bf16"`` where there are instructions for it, on GPUs and CPUs; else ``"fp16"`` on
        GPUs and ``"float32"`` on CPUs.
    """
    if device.type == "cuda":
        return "bf16" if has_fast_bf16(device) else "fp16"
    return "bf16" if has_fast_bf16(device) else "float32"
