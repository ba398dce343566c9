"""A small neural network: AdamW, cosine schedule, early stopping; for features that need a bend."""

import logging
import math
import time
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from transferkit.datasets import UnreadRows, by_blocks, draw_stratified, draw_unstratified
from transferkit.heads._labels import LabelsByProbability, MultilabelMixin, probabilities_of_scores
from transferkit.heads._numbers import NumbersMixin
from transferkit.heads._validation import (
    Array,
    TrainingRows,
    check_classification_data,
    check_features,
    check_positive,
    check_regression_data,
    check_share,
    with_class_weights,
)
from transferkit.solvers.perceptron import TrainingOptions, scores, train
from transferkit.solvers.standardize import ScaledRows, Targets, standardize_with
from transferkit.solvers.statistics import FeatureStatistics

__all__ = ["Classifier", "MLPClassifier", "MLPRegressor", "Regressor"]


logger = logging.getLogger(__name__)

# Values of "auto". A batch is a tenth of the rows, within bounds: small batches give enough steps
# if rows are few, and large ones are quicker per row.
BATCH_SIZES = (64, 512)
# The number of epochs is chosen to train on this many rows in all, within bounds.
N_TRAINED = 100_000
EPOCHS = (12, 100)
# The rate for batches of 128. It grows with the square root of the batch size.
LEARNING_RATE = 1e-3


class _Perceptron(BaseEstimator):
    """Base class of classifier and regressor: parameters, and the two trainings."""

    streams: ClassVar[bool] = True

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
        self,
        rows: TrainingRows,
        Y: Array,
        weight: Array | None,
        held: Array | None,
        n_out: int,
        loss: str,
    ) -> None:
        """Find the number of epochs with held-out rows, then train on all rows."""
        start = time.perf_counter()
        n, source = len(rows.y), rows.source
        options = self._options(n, loss)
        self.validation_losses_: list[float] = []
        if held is not None:
            known = None if weight is None else weight[~held]
            moments = FeatureStatistics(UnreadRows(rows.some(~held)), known)
            mean, scale = moments.mean, moments.scale
            trained = train(ScaledRows(source, mean, scale), Y, weight, held, n_out, options)
            self.validation_losses_ = trained.losses
            options = options.stopping_after(trained.best_epoch)
        if held is None or self.refit:
            moments = FeatureStatistics(source, weight)
            mean, scale = moments.mean, moments.scale
            trained = train(ScaledRows(source, mean, scale), Y, weight, None, n_out, options)
        self.mean_, self.scale_ = mean, scale
        self.layers_, self.n_epochs_ = trained.layers, trained.best_epoch
        logger.info(
            "fitted the mlp head on %s rows of %s features in %.1f s; %d epochs",
            f"{n:,}", f"{source.shape[1]:,}", time.perf_counter() - start, self.n_epochs_,
        )  # fmt: skip

    def _options(self, n: int, loss: str) -> TrainingOptions:
        import torch  # late: the list of heads shouldn't wait for it

        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        epochs, size, rate = self.max_epochs, self.batch_size, self.learning_rate
        if epochs == "auto":
            epochs = _clip(math.ceil(N_TRAINED / n), EPOCHS)
        if size == "auto":
            size = _clip(n // 10, BATCH_SIZES)
        if rate == "auto":
            rate = LEARNING_RATE * math.sqrt(size / 128)
        return TrainingOptions(
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

        def scores_of(rows: Array) -> Array:
            scaled = standardize_with(rows, self.mean_, self.scale_, np.float32)
            return scores(scaled, self.layers_)

        return by_blocks(lambda rows: scores_of(check_features(self, rows)), X)


def _clip(value: int, bounds: tuple[int, int]) -> int:
    return min(max(value, bounds[0]), bounds[1])


class MLPClassifier(MultilabelMixin, LabelsByProbability, _Perceptron):
    """A network of one hidden layer on standardised features, of classes or several labels.

    A first training, without the rows held out, finds the epoch with the smallest held-out
    loss; a second one on all rows stops there.

    Parameters
    ----------
    hidden : sequence of int, default=(512,)
        Widths of the hidden layers, each followed by a ReLU; empty for a linear model.
    dropout : float, default=0.5
        Share of hidden units dropped in training.
    learning_rate : "auto" or float, default="auto"
        Of AdamW at the start; a cosine brings it to 0. "auto" is 1e-3 at batches of 128 rows,
        and grows with the square root of their size.
    weight_decay : float, default=0.05
        Of AdamW, on the matrices only.
    batch_size : "auto" or int, default="auto"
        Rows of a step; "auto" is a tenth of all rows, from 64 to 512.
    max_epochs : "auto" or int, default="auto"
        Length of the schedule; "auto" passes about 100,000 rows, in 12 to 100 epochs.
    patience : int, default=10
        Epochs without a smaller held-out loss after which the first training ends.
    validation_fraction : float, default=0.1
        Share of each class that is held out.
    refit : bool, default=True
        Whether to train again on all rows; False keeps the best weights of the first.
    device : str, default="auto"
        torch's; "auto" is the GPU if there is one. Prediction is on the CPU.
    random_state : int, RandomState or None, default=0
        Draws the held-out rows, first weights, order and dropout; torch's global
        generator is left alone.
    label_smoothing : float, default=0.1
        Share of the target that is spread over all classes.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, as in scikit-learn; not for several labels at once.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The labels, sorted; for several labels at once a list with [0, 1] for each.
    layers_ : list of (ndarray, ndarray)
        Weights and biases, float32.
    mean_, scale_ : ndarray of shape (n_features,)
        The standardisation.
    n_epochs_ : int
        Epochs that the network was trained.
    validation_losses_ : list of float
        Held-out loss after each epoch of the first training; empty if too few rows.
    n_features_in_ : int
        Number of features.

    References
    ----------
    Loshchilov and Hutter (2019), "Decoupled weight decay regularization"; (2017), "SGDR".
    Malladi, Lyu, Panigrahi and Arora (2022), "On the SDEs and scaling rules for adaptive gradient
    algorithms": the square root.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(60, 5))
    >>> head = MLPClassifier().fit(X, np.where(X[:, 0] > 0, "cat", "dog"))
    >>> head.predict([[3, 0, 0, 0, 0]]).tolist()
    ['cat']
    """

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
        label_smoothing: float = 0.1,
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            hidden,
            dropout=dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            max_epochs=max_epochs,
            patience=patience,
            validation_fraction=validation_fraction,
            refit=refit,
            device=device,
            random_state=random_state,
        )
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; computed on in float32.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any one type; or 0 and 1 for each of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; a row of weight 0 is as good as absent.
        validation : (array-like, array-like), default=None
            Features and labels that decide when to stop, instead of a random hold-out; the
            second training is on both parts, these rows with weight 1.

        Returns
        -------
        self
        """
        self._check_parameters()
        check_share("label_smoothing", self.label_smoothing, zero=True)
        rows = check_classification_data(self, X, y, sample_weight, validation)
        weight, held = with_class_weights(rows, self.class_weight), rows.held
        self.classes_ = rows.classes
        if held is None and rows.several:
            held = draw_unstratified(len(rows.y), self.validation_fraction, self.random_state)
        elif held is None:
            held = draw_stratified(rows.y, self.validation_fraction, self.random_state)
        loss = "sigmoid" if rows.several else "softmax"
        self._train(rows, rows.y, weight, held, len(self.classes_), loss)
        return self

    def predict_proba(self, X: ArrayLike) -> Array:
        """Class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
            In the order of `classes_`, each row summing to 1; for several labels the
            probability of 1 for each.
        """
        scores = self._scores(X)
        return probabilities_of_scores(self.classes_, scores)


class MLPRegressor(NumbersMixin, _Perceptron):
    """A network of one hidden layer on standardised features, for standardised numbers.

    Parameters
    ----------
    hidden, dropout, learning_rate, weight_decay, batch_size, max_epochs, patience
        As for `MLPClassifier`.
    validation_fraction, refit, device, random_state
        As for `MLPClassifier`.

    Attributes
    ----------
    layers_, mean_, scale_, n_epochs_, validation_losses_, n_features_in_
        As for `MLPClassifier`.
    target_mean_, target_scale_ : float or ndarray of shape (n_outputs,)
        The standardisation of the numbers.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> bool(MLPRegressor().fit(X, X[:, 0]).score(X, X[:, 0]) > 0.8)
    True
    """

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; computed on in float32.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Numbers.
        sample_weight, validation
            As for `MLPClassifier`.

        Returns
        -------
        self
        """
        self._check_parameters()
        rows = check_regression_data(self, X, y, sample_weight, validation)
        held = rows.held
        if held is None:
            held = draw_unstratified(len(rows.y), self.validation_fraction, self.random_state)
        targets = Targets.of(rows.y, rows.weight)
        n_outputs = targets.scaled.shape[1]
        self._train(rows, targets.scaled, rows.weight, held, n_outputs, "squared")
        self.target_mean_, self.target_scale_ = targets.mean, targets.scale
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Numbers, in the shape they were given to `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._in_target_units(self._scores(X))


Classifier = MLPClassifier
Regressor = MLPRegressor
