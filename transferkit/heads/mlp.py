"""A small neural network: AdamW, cosine schedule, early stopping; for features that need a bend."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags

from transferkit.heads._inputs import (
    Array,
    check_share,
    class_rows,
    class_weighted,
    number_rows,
)
from transferkit.heads._network import Network
from transferkit.heads._scores import labels_of_probabilities, log_softmax, sigmoid
from transferkit.solvers.holdout import hold_out, hold_out_unstratified
from transferkit.solvers.standardize import Targets

__all__ = ["Classifier", "MLPClassifier", "MLPRegressor", "Regressor"]


class MLPClassifier(ClassifierMixin, Network):
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
        rows = class_rows(self, X, y, sample_weight, validation)
        weight, held = class_weighted(rows, self.class_weight), rows.held
        self.classes_ = rows.classes
        if held is None and rows.several:
            held = hold_out_unstratified(len(rows.X), self.validation_fraction, self.random_state)
        elif held is None:
            held = hold_out(rows.y, self.validation_fraction, self.random_state)
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
        found = self._scores(X)
        if isinstance(self.classes_, list):
            return sigmoid(found)
        return np.asarray(np.exp(log_softmax(found)))

    def predict(self, X: ArrayLike) -> Array:
        """Labels, as they were given to `fit`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        proba = self.predict_proba(X)
        return labels_of_probabilities(self.classes_, proba)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, Network):
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
        rows = number_rows(self, X, y, sample_weight, validation)
        held = rows.held
        if held is None:
            held = hold_out_unstratified(len(rows.X), self.validation_fraction, self.random_state)
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
        found = self._scores(X)
        flat = found[:, 0] if np.ndim(self.target_mean_) == 0 else found
        return np.asarray(flat.astype(np.float64) * self.target_scale_ + self.target_mean_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


Classifier = MLPClassifier
Regressor = MLPRegressor
