"""Anomaly detectors: they learn what good images look like, and score how strange others are.

A file of this folder is one method.
"""

from __future__ import annotations

from typing import Any

from transferkit import registry
from transferkit.dense.anomaly._method import AnomalyMethod

__all__ = ["AnomalyMethod", "anomaly_methods", "create_anomaly_method"]


def anomaly_methods() -> list[str]:
    """Names of the methods, sorted."""
    return registry.names(__name__)


def create_anomaly_method(name: str, **options: Any) -> AnomalyMethod:
    """Make a method by its name, which has learnt nothing yet.

    Parameters
    ----------
    name : str
        One of `anomaly_methods`.
    **options
        Of the method, such as ``seed``.

    Raises
    ------
    ValueError
        If there is no such method.
    """
    module: Any = registry.load(__name__, name, "anomaly method")
    method = module.Method(**options)
    assert isinstance(method, AnomalyMethod)
    return method
