"""Anomaly detectors: they learn what good images look like, and score how strange others are.

A file of this folder is one method.
"""

from __future__ import annotations

from typing import Any

from transferkit import registry
from transferkit.dense.anomaly._choice import ALIGNED, Choice, alignment, choose_method
from transferkit.dense.anomaly._method import AnomalyMethod
from transferkit.dense.anomaly._patches import Patches
from transferkit.dense.anomaly._thresholds import f1_threshold, false_alarm_threshold

__all__ = [
    "ALIGNED",
    "AnomalyMethod",
    "Choice",
    "Patches",
    "alignment",
    "anomaly_methods",
    "choose_method",
    "create_anomaly_method",
    "f1_threshold",
    "false_alarm_threshold",
]


def anomaly_methods() -> list[str]:
    """Names of the methods, sorted.

    Examples
    --------
    >>> {"patchcore", "padim"} <= set(anomaly_methods())
    True
    """
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
        If there is no such method, or an option isn't allowed.
    """
    module: Any = registry.load(__name__, name, "anomaly method")
    method = module.Method(**options)
    assert isinstance(method, AnomalyMethod)
    return method
