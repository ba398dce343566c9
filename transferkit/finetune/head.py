"""Convert between the network's linear layer and the saved linear head, without a change."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from transferkit.finetune.objective import Objective
from transferkit.heads import create_head

__all__ = ["fitted_head", "head_weights", "scaled_to_loss"]


def head_weights(head: Any, objective: Objective) -> tuple[Tensor, Tensor]:
    """Weights of the network's linear layer that give a fitted linear head's scores.

    Parameters
    ----------
    head : estimator
        With ``coef_`` and ``intercept_``.
    objective : Objective
        Number of outputs, and how a regression's targets are standardised.

    Returns
    -------
    coef : Tensor of shape (n_outputs, n_features)
    intercept : Tensor of shape (n_outputs,)
    """
    coef = np.atleast_2d(np.asarray(head.coef_, np.float64))
    intercept = np.atleast_1d(np.asarray(head.intercept_, np.float64))
    if objective.kind.has_one_class and len(coef) == 1:
        # One score for two classes: the second's, against 0.
        coef = np.concatenate([-coef / 2, coef / 2])
        intercept = np.concatenate([-intercept / 2, intercept / 2])
    if not objective.kind.has_classes:
        coef = coef / objective.scale[:, None]
        intercept = (intercept - objective.mean) / objective.scale
    return torch.from_numpy(coef.astype(np.float32)), torch.from_numpy(intercept.astype(np.float32))


def scaled_to_loss(
    coef: Tensor, intercept: Tensor, X: np.ndarray, targets: Tensor, objective: Objective
) -> tuple[Tensor, Tensor]:
    """Scale a head's scores down until the training loss is smallest.

    A probe on few images separates them with scores in the hundreds. Starting from these, the first
    steps would destroy the pretrained features. The scale changes no prediction.

    Parameters
    ----------
    coef, intercept : Tensor
        From `head_weights`.
    X : ndarray of shape (n, n_features)
        Features, best of images that the head hasn't seen.
    targets : Tensor
        Theirs, from `Objective.encode`.
    objective : Objective
        The loss, with its label smoothing; a regression stays as it is.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017), "On calibration of modern neural networks", section
    4.2: temperature scaling.
    """
    if not objective.kind.has_classes:
        return coef, intercept
    scores = torch.from_numpy(np.asarray(X, np.float32)) @ coef.T + intercept
    scales = np.geomspace(1e-4, 1, 81).tolist()
    scale = min(scales, key=lambda s: objective.plain_loss(s * scores, targets))
    return scale * coef, scale * intercept


def fitted_head(coef: Tensor, intercept: Tensor, objective: Objective, *, flat: bool) -> Any:
    """Inverse of `head_weights`: the ``linear`` head with these weights.

    Parameters
    ----------
    coef, intercept : Tensor
        Of the network's linear layer.
    objective : Objective
        As for `head_weights`.
    flat : bool
        Whether a regression's single target is one number, not a column.
    """
    weights = coef.detach().cpu().numpy().astype(np.float64)
    biases = intercept.detach().cpu().numpy().astype(np.float64)
    kind = objective.kind
    head = create_head("linear", kind.head_kind)
    if kind.has_one_class:
        head.classes_ = np.arange(len(weights))
        if len(weights) == 2:
            weights, biases = weights[1:] - weights[:1], biases[1:] - biases[:1]
    elif kind.has_classes:
        head.classes_ = [np.arange(2)] * len(weights)
    else:
        weights = weights * objective.scale[:, None]
        biases = biases * objective.scale + objective.mean
        if flat:
            weights, biases = weights[0], biases[0]
    # In float32 a target of 1e8 + x would lose the x: numbers are predicted in float64.
    head.coef_ = weights.astype(np.float32) if kind.has_classes else weights
    head.intercept_ = biases.astype(np.float32) if kind.has_classes else biases
    head.n_features_in_ = head.coef_.shape[-1]
    return head
