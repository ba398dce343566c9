"""Export forests and boosted trees as one ONNX operator, which sums leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferkit.solvers.trees import Trees

__all__ = ["Tree", "TreeSum", "separate_trees", "tree_sum_nodes"]


@dataclass(frozen=True, eq=False)
class Tree:
    """A binary tree: a row goes left where its feature is at most the threshold.

    Parameters
    ----------
    feature, left, right : ndarray of int, shape (n_nodes,)
        Of inner nodes.
    threshold : ndarray of shape (n_nodes,)
        Of inner nodes, float64.
    is_leaf : ndarray of bool, shape (n_nodes,)
        Whether a row ends there.
    targets : ndarray of int, shape (n_own,)
        The outputs that the tree adds to.
    values : ndarray of shape (n_nodes, n_own)
        What a leaf adds to them.
    """

    feature: np.ndarray
    left: np.ndarray
    right: np.ndarray
    threshold: np.ndarray
    is_leaf: np.ndarray
    targets: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class TreeSum:
    """Trees whose sum, or mean, a head predicts.

    Parameters
    ----------
    trees : sequence of Tree
        The trees.
    base : ndarray of shape (n_outputs,)
        What is added to their sum.
    is_mean : bool
        Whether the sum is divided by the number of trees: once, so that half of the votes
        is exactly a half.
    kind : {"probabilities", "values"}
        What comes out.
    function : {"", "sigmoid", "softmax", "odds"}
        What is applied to the sum; ``"odds"`` makes two probabilities of the second's log odds.
    """

    trees: Sequence[Tree]
    base: np.ndarray
    is_mean: bool
    kind: str
    function: str

    @property
    def has_jumps(self) -> bool:
        """Whether a small change of the features can be a large one of the output."""
        return True


def separate_trees(grown: Trees, first: int, factor: float) -> Iterator[Tree]:
    """Yield each tree, with its outputs counted from `first` and its values times a factor."""
    for part, own in grown:
        left, right = (grown.children[part] - part.start).T
        yield Tree(
            feature=grown.feature[part],
            left=left,
            right=right,
            threshold=grown.threshold[part],
            is_leaf=left == np.arange(len(left)),
            targets=first + own,
            values=grown.values[part] * factor,
        )


# ---- as an operator -----------------------------------------------------------------


def tree_sum_nodes(trees: TreeSum) -> list[Any]:
    """ONNX nodes from ``features`` to the output that is named as its kind.

    Parameters
    ----------
    trees : TreeSum
        The trees.
    """
    import onnx

    make = onnx.helper.make_node
    total = "head/total" if trees.function else trees.kind
    how = "AVERAGE" if trees.is_mean else "SUM"
    attributes = _attributes(trees.trees) | {"n_targets": len(trees.base)}
    base = onnx.numpy_helper.from_array(trees.base.astype(np.float32), "head/base")
    nodes = [
        make("TreeEnsembleRegressor", ["features"], ["head/sum"], domain="ai.onnx.ml",
             aggregate_function=how, **attributes),
        # The operator's base_values aren't used: ONNX Runtime forgets that of an output without
        # trees.
        make("Constant", [], ["head/base"], value=base),
        make("Add", ["head/sum", "head/base"], [total]),
    ]  # fmt: skip
    if trees.function == "softmax":
        nodes.append(make("Softmax", [total], [trees.kind], axis=1))
    elif trees.function == "sigmoid":
        nodes.append(make("Sigmoid", [total], [trees.kind]))
    elif trees.function == "odds":
        nodes.append(make("Neg", [total], ["head/neg"]))
        nodes.append(make("Concat", ["head/neg", total], ["head/both"], axis=1))
        nodes.append(make("Sigmoid", ["head/both"], [trees.kind]))
    return nodes


def _attributes(trees: Sequence[Tree]) -> dict[str, Any]:
    columns: dict[str, Any] = {name: [] for name in (*_NODE, *_TARGET)}
    for number, tree in enumerate(trees):
        n = len(tree.is_leaf)
        inner = ~tree.is_leaf
        columns["nodes_treeids"] += [number] * n
        columns["nodes_nodeids"] += range(n)
        columns["nodes_featureids"] += np.where(inner, tree.feature, 0).tolist()
        columns["nodes_values"] += np.where(inner, _below(tree.threshold), 0).tolist()
        columns["nodes_modes"] += np.where(inner, "BRANCH_LEQ", "LEAF").tolist()
        columns["nodes_truenodeids"] += np.where(inner, tree.left, 0).tolist()
        columns["nodes_falsenodeids"] += np.where(inner, tree.right, 0).tolist()
        leaves = np.flatnonzero(tree.is_leaf)
        columns["target_treeids"] += [number] * (len(leaves) * len(tree.targets))
        columns["target_nodeids"] += np.repeat(leaves, len(tree.targets)).tolist()
        columns["target_ids"] += np.tile(tree.targets, len(leaves)).tolist()
        columns["target_weights"] += tree.values[leaves].astype(np.float32).ravel().tolist()
    return columns


_NODE = (
    *("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes"),
    *("nodes_truenodeids", "nodes_falsenodeids"),
)
_TARGET = ("target_treeids", "target_nodeids", "target_ids", "target_weights")


def _below(threshold: np.ndarray) -> np.ndarray:
    """Round a threshold down to float32, which changes no comparison with a float32."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
