"""Hints before the full probes: cheap scores of each backbone on a subset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from transferkit.benchmark.data import Dataset
from transferkit.benchmark.grid import resolved
from transferkit.estimators import FeatureExtractor
from transferkit.metrics.transferability import h_score, logme, ridge_leave_one_out

__all__ = ["Hint", "agreement", "screen"]

MAX_ROWS = 1000


@dataclass(frozen=True)
class Hint:
    """Cheap scores of one backbone; larger is better, only the order means something.

    Parameters
    ----------
    backbone : str
        As the user wrote it.
    logme, h_score : float
        See `transferkit.metrics.transferability`.
    ridge : float
        Leave-one-out accuracy.
    """

    backbone: str
    logme: float
    h_score: float
    ridge: float


def screen(
    dataset: Dataset, backbones: Sequence[str], *, feature: str = "pre_logits", **machine: Any
) -> list[Hint]:
    """Score backbones on at most 1,000 training images, which alone are extracted.

    Parameters
    ----------
    dataset : Dataset
        Of classes; its test part isn't touched.
    backbones : sequence of str
        Names.
    feature : str, default="pre_logits"
        What is scored.
    **machine
        Options of `FeatureExtractor`.
    """
    if dataset.task != "classification":
        raise ValueError(f"{dataset.name} has no classes; pre-screening is for classification")
    train = np.flatnonzero(dataset.parts == "train")
    chosen = np.sort(np.random.default_rng(0).permutation(train)[:MAX_ROWS])
    hints = []
    for name in backbones:
        spec, _ = resolved(name, {})
        extraction = FeatureExtractor(spec, feature, **machine).extract(
            dataset.images.select(chosen), on_error="skip"
        )
        X, y = extraction.rows[feature], dataset.y[chosen[extraction.kept]]
        hints.append(Hint(name, logme(X, y), h_score(X, y), ridge_leave_one_out(X, y)))
    return sorted(hints, key=lambda hint: hint.ridge, reverse=True)


def agreement(hints: Sequence[Hint], measured: dict[str, float]) -> dict[str, float]:
    """Kendall's τ of each hint with what was measured, over the backbones in both.

    Parameters
    ----------
    hints : sequence of Hint
        From `screen`.
    measured : dict of str to float
        Main metric of each backbone.
    """
    both = [hint for hint in hints if hint.backbone in measured]
    if len(both) < 3:
        return {}
    truth = [measured[hint.backbone] for hint in both]
    return {
        name: float(kendalltau([getattr(hint, name) for hint in both], truth).statistic)
        for name in ("logme", "h_score", "ridge")
    }
