"""Losses of linear scores, with their first and second derivatives by the scores.

The solver minimises a weighted sum of losses ``sum_i w_i loss(s_i, y_i)`` of the scores
``s_i = W x_i + b``. By the chain rule it needs of a loss its value, its gradient by the scores,
and products of a vector with its Hessian by the scores; the rows do the rest.

A loss belongs to its samples: it knows their targets and weights, and is asked for a slice of
them. Scores come class-major, as (n_problems, n_scores, n_block): problems that share the rows are
solved side by side, and sums over classes run along contiguous memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Loss",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "SquaredEpsilonInsensitive",
    "SquaredHinge",
    "log_softmax",
    "sigmoid",
]

Array = NDArray[Any]


class Loss(Protocol):
    """The methods that the solver needs of a loss.

    Parameters
    ----------
    weight : Tensor of shape (n_problems or 1, n_samples)
        Weights of the samples; the sum of each row is 1.
    n_scores : int
        Scores of a problem.
    """

    weight: Tensor
    n_scores: int

    def differentiate(self, scores: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the weighted sum of the losses and its gradient by the scores.

        Parameters
        ----------
        scores : Tensor of shape (n_problems, n_scores, n_block)
            May be overwritten.
        part : slice
            Which samples they are.

        Returns
        -------
        (Tensor, Tensor, Tensor)
            The weighted sum of the losses, of shape (n_problems,), float64; its gradient by
            the scores; and the state that `hessian_product` and `curvature` need. The last two
            have the shape of the scores.
        """
        ...

    def hessian_product(self, v: Tensor, state: Tensor, part: slice) -> Tensor:
        """Multiply a vector with the Hessian by the scores, in place.

        Parameters
        ----------
        v : Tensor of shape (n_problems, n_scores, n_block)
            The vector: a change of the scores. It is overwritten by the product, which is the
            change of the gradient to first order.
        state : Tensor
            What `differentiate` returned for these samples.
        part : slice
            Which samples they are.
        """
        ...

    def curvature(self, state: Tensor, part: slice) -> Tensor:
        """Sum the weighted second derivatives by each score, (n_problems, n_scores)."""
        ...


class SoftmaxCrossEntropy:
    """Cross entropy of a softmax, ``log(sum(exp(s))) - s[y]``.

    With label smoothing e the target is ``1 - e + e / n_classes`` for the label and
    ``e / n_classes`` for every other class (Szegedy et al. 2016, "Rethinking the Inception
    architecture", section 7).

    Parameters
    ----------
    codes : Tensor of shape (n_samples,)
        Class numbers.
    weight : Tensor of shape (n_problems or 1, n_samples)
        As in `Loss`.
    n_classes : int
        Number of classes.
    smoothing : float, default=0
        Label smoothing.
    """

    def __init__(
        self, codes: Tensor, weight: Tensor, n_classes: int, smoothing: float = 0.0
    ) -> None:
        self.codes, self.weight, self.n_scores = codes, weight, n_classes
        self.smoothing = smoothing

    def differentiate(self, scores: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """See `Loss`.

        Relative to the score of the label, so that a loss near 0 and its gradient keep all
        their digits: with z = s - s[y] the loss is ``log1p(sum of exp(z) over the others)``.
        """
        weight = self.weight[:, None, part].to(scores.dtype)
        label = self.codes[None, None, part].expand(len(scores), 1, -1)
        scores -= scores.gather(1, label)
        extra = -self.smoothing * scores.mean(dim=1) if self.smoothing else 0.0
        top = scores.amax(dim=1, keepdim=True)
        scores -= top
        proba = scores.exp_().scatter_(1, label, 0.0)
        others = proba.sum(dim=1, keepdim=True)
        losses = top + (others + (-top).expm1()).log1p()
        total = others + (-top).exp()
        proba /= total
        slope = proba * weight
        slope.scatter_(1, label, -others / total * weight)
        if self.smoothing:
            slope -= self.smoothing / self.n_scores * weight
            slope.scatter_add_(1, label, self.smoothing * weight.expand_as(label))
        value = ((losses[:, 0] + extra).double() * self.weight[:, part].double()).sum(dim=1)
        return value, slope, proba

    def hessian_product(self, v: Tensor, state: Tensor, part: slice) -> Tensor:
        """See `Loss`. The state holds the probabilities, with 0 for the label itself."""
        label = self.codes[None, None, part].expand(len(v), 1, -1)
        v -= v.gather(1, label)
        mean = (state * v).sum(dim=1, keepdim=True)
        v -= mean
        v *= state
        # The gradient sums to 0 over the scores, so its change does too.
        v.scatter_(1, label, -v.sum(dim=1, keepdim=True))
        v *= self.weight[:, None, part].to(v.dtype)
        return v

    def curvature(self, state: Tensor, part: slice) -> Tensor:
        """See `Loss`."""
        proba = state.to(self.weight.dtype)
        label = self.codes[None, None, part].expand(len(proba), 1, -1)
        each = proba * (1 - proba)
        others = proba.sum(dim=1, keepdim=True)
        each.scatter_(1, label, others * (1 - others))
        return (each * self.weight[:, None, part]).sum(dim=2)


class _OneScore:
    """Base class of the losses of a single score, whose Hessian is diagonal.

    The state of such a loss holds the weighted second derivatives.
    """

    n_scores = 1

    def __init__(self, target: Tensor, weight: Tensor) -> None:
        self.target, self.weight = target, weight

    def hessian_product(self, v: Tensor, state: Tensor, part: slice) -> Tensor:
        """See `Loss`."""
        return v.mul_(state)

    def curvature(self, state: Tensor, part: slice) -> Tensor:
        """See `Loss`."""
        return state.sum(dim=2, dtype=self.weight.dtype)


class SigmoidCrossEntropy(_OneScore):
    """Cross entropy of a sigmoid, ``log(1 + exp(-t * s))`` for a target t of -1 or 1.

    Parameters
    ----------
    target : Tensor of shape (n_problems, n_samples)
        -1 or 1.
    weight : Tensor of shape (n_problems or 1, n_samples)
        As in `Loss`.
    smoothing : float, default=0
        Label smoothing, as in `SoftmaxCrossEntropy` of two classes.
    """

    def __init__(self, target: Tensor, weight: Tensor, smoothing: float = 0.0) -> None:
        super().__init__(target, weight)
        self.smoothing = smoothing

    def differentiate(self, scores: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """See `Loss`."""
        target = self.target[:, None, part].to(scores.dtype)
        weight = self.weight[:, None, part].to(scores.dtype)
        margin = scores.mul_(target)
        wrong = (-margin).sigmoid()
        losses = (-margin.abs()).exp().log1p() + (-margin).clamp_(min=0)
        losses += self.smoothing / 2 * margin
        slope = (self.smoothing / 2 - wrong) * target * weight
        return (losses.double() * weight).sum(dim=(1, 2)), slope, wrong * (1 - wrong) * weight


class SquaredHinge(_OneScore):
    """Squared hinge, ``max(0, 1 - t * s)²`` for a target t of -1 or 1.

    Parameters
    ----------
    target : Tensor of shape (n_problems, n_samples)
        -1 or 1.
    weight : Tensor of shape (n_problems or 1, n_samples)
        As in `Loss`.
    """

    def differentiate(self, scores: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """See `Loss`. The second derivative jumps at the margin; either side will do."""
        target = self.target[:, None, part].to(scores.dtype)
        weight = self.weight[:, None, part].to(scores.dtype)
        short = (1 - scores.mul_(target)).clamp_(min=0)
        losses = short.double().square() * weight
        second = 2 * weight * (short > 0)
        return losses.sum(dim=(1, 2)), -second * short * target, second


class SquaredEpsilonInsensitive(_OneScore):
    """Squared loss beyond a margin, ``max(0, |s - t| - epsilon)²`` for a number t.

    Parameters
    ----------
    target : Tensor of shape (n_problems, n_samples)
        Any numbers.
    weight : Tensor of shape (n_problems or 1, n_samples)
        As in `Loss`.
    epsilon : float
        Errors up to this size cost nothing.
    """

    def __init__(self, target: Tensor, weight: Tensor, epsilon: float) -> None:
        super().__init__(target, weight)
        self.epsilon = epsilon

    def differentiate(self, scores: Tensor, part: slice) -> tuple[Tensor, Tensor, Tensor]:
        """See `Loss`."""
        weight = self.weight[:, None, part].to(scores.dtype)
        error = scores.sub_(self.target[:, None, part].to(scores.dtype))
        beyond = (error.abs() - self.epsilon).clamp_(min=0)
        losses = beyond.double().square() * weight
        second = 2 * weight * (beyond > 0)
        return losses.sum(dim=(1, 2)), second * beyond * error.sign(), second


def log_softmax(scores: Array) -> Array:
    """Logarithms of the class probabilities.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes), (n_samples, 1) or (n_samples,)
        Linear scores; a single one per sample is the second of two classes' against 0.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        At most 0.
    """
    if scores.ndim == 1 or scores.shape[1] == 1:
        scores = np.column_stack([np.zeros_like(scores), scores])
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_proba: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_proba


def sigmoid(scores: Array) -> Array:
    """Probability of 1 for each score, without overflow.

    Parameters
    ----------
    scores : ndarray
        Of any shape.

    Examples
    --------
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    small = np.exp(-np.abs(scores))
    probability: Array = np.where(scores >= 0, 1 / (1 + small), small / (1 + small))
    return probability
