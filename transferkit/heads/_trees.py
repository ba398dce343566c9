"""Old name of `transferkit.solvers.trees`, which models that were saved earlier still use."""

from transferkit.solvers.trees import Trees

__all__ = ["Trees"]
