"""Forests and boosted trees that were saved before name this module; `Trees` is in `solvers`."""

from transferkit.solvers.trees import Trees

__all__ = ["Trees"]
