"""Trees as plain arrays, from which forests and boosted trees predict and which they save.

scikit-learn keeps trees in private types that its releases may move. So they are taken out
once, after growing, and a saved head depends on no version of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trees", "trees_of_boosting", "trees_of_forest"]

Array = NDArray[Any]
BLOCK = 2**20  # places in trees that are followed at once


@dataclass(frozen=True, eq=False)
class Trees:
    """Binary trees, the nodes of all of them one after another.

    A row goes left where its feature is at most the threshold. A leaf leads to itself.

    Parameters
    ----------
    feature : ndarray of int of shape (n_nodes,)
        Of inner nodes; 0 in a leaf.
    threshold : ndarray of shape (n_nodes,)
        Float64; infinity in a leaf.
    children : ndarray of int of shape (n_nodes, 2)
        Positions of the left and the right child among all nodes.
    values : ndarray of shape (n_nodes, n_own)
        What a leaf adds, float64.
    roots : ndarray of int of shape (n_trees,)
        Where each tree begins.
    column : ndarray of int of shape (n_trees,), or None
        The output that a tree adds to, if it adds to one only (n_own is 1); None where
        each adds to all of them.
    base : ndarray of shape (n_outputs,)
        What is added to the trees' sum.
    is_mean : bool
        Whether the sum is divided by the number of trees.
    """

    feature: Array
    threshold: Array
    children: Array
    values: Array
    roots: Array
    column: Array | None
    base: Array
    is_mean: bool

    def predict(self, X: Array) -> Array:
        """Sum, or mean, of the leaves that rows fall into, float64.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Features, in the type that the trees were grown on.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
        """
        total = np.tile(self.base, (len(X), 1))
        step = max(1, BLOCK // max(1, len(self.roots)))
        for first in range(0, len(X), step):
            part = slice(first, first + step)
            for tree, leaves in enumerate(self._leaves(X[part]).T):
                if self.column is None:
                    total[part] += self.values[leaves]
                else:
                    total[part, self.column[tree]] += self.values[leaves, 0]
        return total / len(self.roots) if self.is_mean else total

    def _leaves(self, X: Array) -> Array:
        """The leaf of every row in every tree, (n_samples, n_trees)."""
        n, d = X.shape
        numbers, children = np.ascontiguousarray(X).ravel(), self.children.ravel()
        nodes = np.tile(self.roots, n)
        start = np.repeat(np.arange(n) * d, len(self.roots))
        moving = np.flatnonzero(children.take(2 * nodes) != nodes)
        at, start = nodes.take(moving), start.take(moving)
        while len(moving):
            is_right = numbers.take(start + self.feature.take(at)) > self.threshold.take(at)
            at = children.take(2 * at + is_right)
            nodes[moving] = at
            goes_on = np.flatnonzero(children.take(2 * at) != at)
            if len(goes_on) < len(moving):
                moving, at, start = moving.take(goes_on), at.take(goes_on), start.take(goes_on)
        return nodes.reshape(n, -1)

    def __iter__(self) -> Iterator[tuple[slice, Array]]:
        """The nodes of each tree, and the outputs that it adds to."""
        ends = [*self.roots[1:].tolist(), len(self.feature)]
        for tree, (first, last) in enumerate(zip(self.roots.tolist(), ends, strict=True)):
            own = np.arange(len(self.base)) if self.column is None else self.column[tree : tree + 1]
            yield slice(first, last), own


def trees_of_forest(forest: Any) -> Trees:
    """Take the trees out of one of scikit-learn's forests.

    Parameters
    ----------
    forest : estimator
        Fitted. A classifier's trees give a share for each class, or for several labels at
        once that of 1 for each.
    """
    grown = [estimator.tree_ for estimator in forest.estimators_]
    values = [_leaf_values(tree.value, forest) for tree in grown]
    return _joined(
        [tree.feature for tree in grown],
        [tree.threshold for tree in grown],
        [np.stack([tree.children_left, tree.children_right], axis=1) for tree in grown],
        [tree.children_left < 0 for tree in grown],
        values,
        base=np.zeros(values[0].shape[1]),
        is_mean=True,
    )


def trees_of_boosting(model: Any) -> Trees:
    """Take the trees out of scikit-learn's histogram boosting, from its private attributes."""
    stages = [(c, p.nodes) for stage in model._predictors for c, p in enumerate(stage)]
    nodes = [tree for _, tree in stages]
    return _joined(
        [tree["feature_idx"] for tree in nodes],
        [tree["num_threshold"] for tree in nodes],
        [np.stack([tree["left"], tree["right"]], axis=1) for tree in nodes],
        [tree["is_leaf"].astype(bool) for tree in nodes],
        [tree["value"][:, None] for tree in nodes],
        base=np.ravel(model._baseline_prediction),
        is_mean=False,
        column=np.array([c for c, _ in stages]),
    )


def _joined(
    feature: Sequence[Array],
    threshold: Sequence[Array],
    children: Sequence[Array],
    is_leaf: Sequence[Array],
    values: Sequence[Array],
    *,
    base: Array,
    is_mean: bool,
    column: Array | None = None,
) -> Trees:
    sizes = [len(leaves) for leaves in is_leaf]
    roots = np.cumsum([0, *sizes[:-1]])
    leaves = np.concatenate(is_leaf)
    # uint32 of boosting, int64 of forests.
    below = np.concatenate(children).astype(np.int64) + np.repeat(roots, sizes)[:, None]
    below[leaves] = np.flatnonzero(leaves)[:, None]
    return Trees(
        feature=np.where(leaves, 0, np.concatenate(feature).astype(np.int64)),
        threshold=np.where(leaves, np.inf, np.concatenate(threshold).astype(np.float64)),
        children=below,
        values=np.concatenate(values).astype(np.float64),
        roots=roots,
        column=column,
        base=np.asarray(base, np.float64),
        is_mean=is_mean,
    )


def _leaf_values(value: Array, forest: Any) -> Array:
    """What each node predicts, of ``(n_nodes, n_outputs, n_classes)`` numbers."""
    classes = getattr(forest, "classes_", None)
    if classes is None:
        return np.asarray(value[:, :, 0])
    if not isinstance(classes, list):
        return np.asarray(value[:, 0])
    # A label that was always 0, or always 1, has one column.
    ones = [value[:, i, np.flatnonzero(c == 1)].sum(axis=1) for i, c in enumerate(classes)]
    return np.stack(ones, axis=1)
