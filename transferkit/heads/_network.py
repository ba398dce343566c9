"""What both tasks of the mlp head share: the parameters and the two trainings."""

import logging
import math
import time
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from transferkit.heads._inputs import Array, Rows, check_positive, check_share, checked_rows
from transferkit.solvers.perceptron import Plan, scores, train
from transferkit.solvers.standardize import mean_and_std, standardize_with

__all__ = ["Network"]

logger = logging.getLogger(__name__)

# What "auto" stands for. Batches of a tenth of the rows, within bounds: small ones make enough
# steps of few rows, large ones are quicker per row.
BATCH_SIZES = (64, 512)
# As many epochs as train on this many rows, within bounds.
N_TRAINED = 100_000
EPOCHS = (12, 100)
# At batches of 128; the rate of Adam grows with the square root of the batch.
LEARNING_RATE = 1e-3


class Network(BaseEstimator):
    """What both tasks share: the parameters and the two trainings."""

    def __init__(
        self,
        hidden: Sequence[int] = (512,),
        *,
        dropout: float = 0.5,
        learning_rate: Any = "auto",
        weight_decay: float = 0.05,
        batch_size: Any = "auto",
        max_epochs: Any = "auto",
        patience: int = 10,
        validation_fraction: float = 0.1,
        refit: bool = True,
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.hidden = hidden
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.refit = refit
        self.device = device
        self.random_state = random_state

    def _check_parameters(self) -> None:
        for width in self.hidden:
            check_positive("an entry of hidden", width, kind=Integral)
        check_share("dropout", self.dropout, zero=True)
        if self.learning_rate != "auto":
            check_positive("learning_rate", self.learning_rate, or_else='"auto" or ')
        if self.weight_decay != 0:
            check_positive("weight_decay", self.weight_decay, or_else="0 or ")
        if self.batch_size != "auto":
            check_positive("batch_size", self.batch_size, kind=Integral, or_else='"auto" or ')
        if self.max_epochs != "auto":
            check_positive("max_epochs", self.max_epochs, kind=Integral, or_else='"auto" or ')
        check_positive("patience", self.patience, kind=Integral)
        check_share("validation_fraction", self.validation_fraction)

    def _train(
        self, rows: Rows, Y: Array, weight: Array | None, held: Array | None, n_out: int, loss: str
    ) -> None:
        """Find the number of epochs on the rows not held out, then train on all."""
        start = time.perf_counter()
        plan = self._plan(len(rows.X), loss)
        self.validation_losses_: list[float] = []
        if held is not None:
            known = None if weight is None else weight[~held]
            mean, scale = mean_and_std(rows.X[~held], known)
            found = train(
                standardize_with(rows.X, mean, scale, np.float32), Y, weight, held, n_out, plan
            )
            self.validation_losses_ = found.losses
            plan = plan.stopping_after(found.best_epoch)
        if held is None or self.refit:
            mean, scale = mean_and_std(rows.X, weight)
            found = train(
                standardize_with(rows.X, mean, scale, np.float32), Y, weight, None, n_out, plan
            )
        self.mean_, self.scale_ = mean, scale
        self.layers_, self.n_epochs_ = found.layers, found.best_epoch
        logger.info(
            "fitted the mlp head on %s rows of %s features in %.1f s; %d epochs",
            f"{len(rows.X):,}", f"{rows.X.shape[1]:,}", time.perf_counter() - start, self.n_epochs_,
        )  # fmt: skip

    def _plan(self, n: int, loss: str) -> Plan:
        import torch  # late: the list of heads shouldn't wait for it

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        epochs, size, rate = self.max_epochs, self.batch_size, self.learning_rate
        if epochs == "auto":
            epochs = _within(math.ceil(N_TRAINED / n), EPOCHS)
        if size == "auto":
            size = _within(n // 10, BATCH_SIZES)
        if rate == "auto":
            rate = LEARNING_RATE * math.sqrt(size / 128)
        return Plan(
            loss=loss,
            hidden=tuple(self.hidden),
            dropout=self.dropout,
            learning_rate=rate,
            weight_decay=self.weight_decay,
            label_smoothing=getattr(self, "label_smoothing", 0.0),
            batch_size=size,
            max_epochs=epochs,
            patience=self.patience,
            seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
            device=device,
        )

    def _scores(self, X: ArrayLike) -> Array:
        check_is_fitted(self)
        rows = checked_rows(self, X)
        return scores(standardize_with(rows, self.mean_, self.scale_, np.float32), self.layers_)


def _within(value: int, bounds: tuple[int, int]) -> int:
    return min(max(value, bounds[0]), bounds[1])
