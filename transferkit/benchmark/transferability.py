"""Transferability: cheap scores that estimate, before the full probes, how a backbone will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from transferkit.benchmark.data import BenchmarkDataset
from transferkit.benchmark.grid import resolved
from transferkit.estimators import FeatureExtractor
from transferkit.tasks import dense, task_of

__all__ = [
    "TransferabilityScores",
    "agreement",
    "h_score",
    "logme",
    "ridge_leave_one_out",
    "screen",
]

Array = NDArray[Any]
MAX_ROWS = 1000


# ---- scores of features -------------------------------------------------------------


def logme(X: Array, y: Array) -> float:
    """Log of the maximum evidence of linear models for each class, per sample.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features.
    y : ndarray of shape (n_samples,)
        Class numbers.

    References
    ----------
    You, Liu, Wang, Long (2021), "LogME: practical assessment of pre-trained models for
    transfer learning", algorithm 1.
    """
    F = X.astype(np.float64)
    n, d = F.shape
    U, s, _ = np.linalg.svd(F, full_matrices=False)
    sigma = s**2
    evidences = []
    for c in np.unique(y):
        t = (y == c).astype(np.float64)
        z2 = (U.T @ t) ** 2
        rest = max(float(t @ t - z2.sum()), 0.0)
        alpha = beta = 1.0
        for _ in range(100):
            ratio = alpha / beta
            gamma = float((sigma / (sigma + ratio)).sum())
            m2 = float((sigma * z2 / (sigma + ratio) ** 2).sum())
            residual = float((z2 * ratio**2 / (sigma + ratio) ** 2).sum()) + rest
            alpha, beta = gamma / (m2 + 1e-12), (n - gamma) / (residual + 1e-12)
            if abs(alpha / beta - ratio) <= 1e-5 * ratio:
                break
        logdet = float(np.log(alpha + beta * sigma).sum()) + (d - len(sigma)) * np.log(alpha)
        evidence = (n * np.log(beta) + d * np.log(alpha) - n * np.log(2 * np.pi)) / 2
        evidence -= (beta * residual + alpha * m2 + logdet) / 2
        evidences.append(evidence / n)
    return float(np.mean(evidences))


def h_score(X: Array, y: Array, shrinkage: float | None = None) -> float:
    """Trace of the features' inverse covariance times that of their class means.

    Parameters
    ----------
    X, y
        As in `logme`.
    shrinkage : float, optional
        Share of the covariance that is replaced by its mean variance; None for the estimate
        of Ledoit and Wolf, without which features that outnumber the rows all look perfect.

    References
    ----------
    Bao et al. (2019), "An information-theoretic approach to transferability in task transfer
    learning", definition 2; shrinkage as in Ibrahim, Ponomareva, Mazumder (2022), "Newer is
    not always better".
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    F = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    G = np.empty_like(F)
    for c in np.unique(y):
        G[y == c] = F[y == c].mean(axis=0)
    share = (
        float(ledoit_wolf_shrinkage(F, assume_centered=True)) if shrinkage is None else shrinkage
    )
    covariance = F.T @ F / len(F)
    scale = np.trace(covariance) / len(covariance)
    covariance = (1 - share) * covariance + share * scale * np.eye(len(covariance))
    return (1 - share) * float(np.trace(np.linalg.solve(covariance, G.T @ G / len(F))))


def ridge_leave_one_out(X: Array, y: Array) -> float:
    """Accuracy of ridge regression to ±1 with each row left out in turn, at the best strength.

    Parameters
    ----------
    X, y
        As in `logme`; features are standardised.

    References
    ----------
    Rifkin, Lippert (2007), "Notes on regularized least squares", section 3.
    """
    F = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    scale = F.std(axis=0)
    F /= np.where(scale > 0, scale, 1)
    T = 2.0 * (y[:, None] == np.unique(y)) - 1
    U, s, _ = np.linalg.svd(F, full_matrices=False)
    codes = np.searchsorted(np.unique(y), y)
    n = len(y)
    best = 0.0
    for alpha in np.logspace(-2, 5, 15):
        shares = s**2 / (s**2 + alpha)
        leverage = (U**2 * shares).sum(axis=1) + 1 / n
        mean = T.mean(axis=0)
        fitted = mean + U @ (shares[:, None] * (U.T @ (T - mean)))
        left_out = T - (T - fitted) / np.maximum(1 - leverage, 1e-10)[:, None]
        best = max(best, float((left_out.argmax(axis=1) == codes).mean()))
    return best


# ---- scores of backbones ------------------------------------------------------------


@dataclass(frozen=True)
class TransferabilityScores:
    """Cheap scores of one backbone; larger is better, only the order means something.

    Parameters
    ----------
    backbone : str
        As the user wrote it.
    logme, h_score : float
        What the functions of these names give.
    ridge : float
        What `ridge_leave_one_out` gives.
    """

    backbone: str
    logme: float
    h_score: float
    ridge: float


def screen(
    dataset: BenchmarkDataset,
    backbones: Sequence[str],
    *,
    feature: str = "pre_logits",
    **machine: Any,
) -> list[TransferabilityScores]:
    """Score backbones on at most 1,000 training images, which alone are extracted.

    Parameters
    ----------
    dataset : BenchmarkDataset
        Of classes; its test part isn't touched.
    backbones : sequence of str
        Names.
    feature : str, default="pre_logits"
        What is scored.
    **machine
        Options of `FeatureExtractor`.
    """
    if dataset.task in dense.names() or not task_of(dataset.task).has_one_class:
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
        scores = (logme(X, y), h_score(X, y), ridge_leave_one_out(X, y))
        hints.append(TransferabilityScores(name, *scores))
    return sorted(hints, key=lambda hint: hint.ridge, reverse=True)


def agreement(
    hints: Sequence[TransferabilityScores], measured: dict[str, float]
) -> dict[str, float]:
    """Kendall's τ of each hint with what was measured, over the backbones in both.

    Parameters
    ----------
    hints : sequence of TransferabilityScores
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
