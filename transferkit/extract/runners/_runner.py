"""What an extraction asks of the place where it runs."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from transferkit import digests
from transferkit.extract.job import ExtractionJob
from transferkit.store import FeatureStore

__all__ = ["Runner"]


class Runner(abc.ABC):
    """Computes what a job lacks. Its connections, if it has any, are open within ``with``.

    Attributes
    ----------
    device : str
        What the network runs on: one name, as for `choose_device`.
    """

    device: str

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what was opened."""
        return

    def hash_files(self, stamps: Mapping[str, str]) -> list[tuple[bytes | OSError, bool]]:
        """Digest files, as `transferkit.digests.hash_files` does."""
        return digests.hash_files(stamps)

    @abc.abstractmethod
    def check_store(self, store: FeatureStore | None) -> None:
        """Raise a ValueError if not all who compute see what is written into a store.

        Parameters
        ----------
        store : FeatureStore or None
            As for `extract`.
        """

    @abc.abstractmethod
    def fill(self, job: ExtractionJob) -> None:
        """Compute what is missing; the job is told what was.

        What is left, `ExtractionJob.finish` computes in this process.

        Parameters
        ----------
        job : ExtractionJob
            What to compute.
        """
