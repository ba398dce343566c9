"""The file ``head.skops`` holds a fitted head, and can't run code.

A skops file names the types that it builds; only scikit-learn's public ones, the heads
of this package and the list below are allowed.
"""

from __future__ import annotations

from io import BufferedReader
from pathlib import Path
from typing import Any

from transferkit import registry
from transferkit.datasets import is_unread
from transferkit.heads import TASKS, head_names

__all__ = ["allowed_types", "load_head", "save_head"]

# Private parts of public scikit-learn estimators, which only hold numbers. skops trusts
# the public types by itself. Our own forests and boosted trees hold arrays; scikit-learn's
# trees are for its estimators as heads, and for models that were saved before.
_PARTS = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "transferkit.heads._trees.Trees",  # as it was called before
    "transferkit.solvers.trees.Trees",
)


def allowed_types() -> list[str]:
    """Types that a head's file may name besides scikit-learn's public ones.

    Each class of ours is allowed under its own name, and as ``Classifier`` or ``Regressor`` of its
    file, which was its name when older models were saved.
    """
    names = list(_PARTS)
    for head in head_names():
        module = registry.load("transferkit.heads", head, "head")
        for attribute in TASKS.values():
            if hasattr(module, attribute):
                kind = getattr(module, attribute)
                names += [f"{module.__name__}.{attribute}", f"{kind.__module__}.{kind.__name__}"]
    return names


def _unsafe_types(file: Path | BufferedReader) -> list[str]:
    from skops.io import get_untrusted_types

    return sorted(set(get_untrusted_types(file=file)) - set(allowed_types()))


def save_head(path: Path, head: Any) -> None:
    """Write a fitted head.

    Raises
    ------
    ValueError
        If its file would hold types that loading doesn't allow, or rows that aren't read yet.
    """
    from skops.io import dump

    unread = [name for name, value in vars(head).items() if is_unread(value)]
    if unread:
        raise ValueError(
            f"{type(head).__name__} keeps its training features ({unread[0]}), which lie in a "
            f"store and would be saved with the model; fit it on an array of them "
            f"(numpy.asarray), or choose another head"
        )
    dump(head, path)
    unsafe = _unsafe_types(path)
    if unsafe:
        raise ValueError(
            f"head {type(head).__name__} can't be saved safely: its file would hold "
            f"{', '.join(unsafe)}, which is not among the types that loading allows; choose "
            f"another head, or keep its features (extract) and train it where it is needed"
        )


def load_head(file: BufferedReader) -> Any:
    """Read a fitted head from an open file.

    Raises
    ------
    ValueError
        If the file holds types that aren't allowed, or can't be read.
    """
    from skops.io import load as load_skops

    name = str(file.name)
    try:
        unsafe = _unsafe_types(file)
        head = None if unsafe else load_skops(file, trusted=allowed_types())
    except Exception as error:  # nearly anything, where a schema holds a stranger's values
        raise ValueError(
            f"{name!r} can't be read ({type(error).__name__}: {error}); was it saved with another "
            f"scikit-learn?"
        ) from error
    if unsafe:
        raise ValueError(
            f"{name!r} holds types that are not allowed ({', '.join(unsafe)}) and was not loaded; "
            f"get the model from a source that you trust"
        )
    return head
