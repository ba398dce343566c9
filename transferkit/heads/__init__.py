"""Heads: scikit-learn estimators from features to predictions, one file per head.

A file of this folder is a head, and the file's name is the head's name. Its estimators have
names of their own, such as ``LinearClassifier``. The file gives them a second one, ``Classifier``
and, where there is one, ``Regressor``: that is how `create_head` finds them, and how models that
were saved before the classes had names of their own do. Heads know nothing of images.
"""

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transferkit import registry

if TYPE_CHECKING:
    from transferkit.heads._coefficients import linear_map
    from transferkit.solvers.statistics import FeatureStatistics

__all__ = [
    "TASKS",
    "FeatureStatistics",
    "HeadInfo",
    "create_head",
    "describe",
    "head_names",
    "linear_map",
]

TASKS = {"classification": "Classifier", "regression": "Regressor"}


@dataclass(frozen=True)
class HeadInfo:
    """Description of a head, as in the list of heads.

    Parameters
    ----------
    name : str
        The head's name.
    summary : str
        First line of its file's docstring.
    tasks : tuple of str
        The tasks that it knows, out of `TASKS`.
    multilabel : bool
        Whether its classifier takes several labels per sample, as columns of 0 and 1.
    probabilities : bool
        Whether its classifier has `predict_proba` as it comes; others may be calibrated.
    sample_weight : bool
        Whether all of its estimators take weights of samples.
    streams : bool
        Whether it reads features block by block, so that they needn't fit into memory.
    """

    name: str
    summary: str
    tasks: tuple[str, ...]
    multilabel: bool
    probabilities: bool
    sample_weight: bool
    streams: bool


def __getattr__(name: str) -> Any:
    if name == "FeatureStatistics":
        from transferkit.solvers.statistics import FeatureStatistics  # late: it needs scikit-learn

        return FeatureStatistics
    if name == "linear_map":
        from transferkit.heads._coefficients import linear_map  # late: it needs scikit-learn

        return linear_map
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def head_names() -> list[str]:
    """Names of all heads, sorted.

    Examples
    --------
    >>> "linear" in head_names()
    True
    """
    return registry.names(__name__)


def describe(name: str) -> HeadInfo:
    """Describe a head, with the tasks that it knows.

    Parameters
    ----------
    name : str
        The head's name.

    Returns
    -------
    HeadInfo
        Name, summary, tasks, and what its estimators can do, asked of themselves.

    Examples
    --------
    >>> describe("linear").tasks
    ('classification', 'regression')
    """
    from sklearn.utils import get_tags  # late: names alone shouldn't wait for scikit-learn
    from sklearn.utils.validation import has_fit_parameter

    module = registry.load(__name__, name, "head")
    lines = (module.__doc__ or "").strip().splitlines()
    tasks = tuple(task for task, attribute in TASKS.items() if hasattr(module, attribute))
    estimators = {task: getattr(module, TASKS[task])() for task in tasks}
    classifier = estimators.get("classification")
    return HeadInfo(
        name,
        lines[0] if lines else "",
        tasks,
        multilabel=classifier is not None and get_tags(classifier).classifier_tags.multi_label,
        probabilities=hasattr(classifier, "predict_proba"),
        sample_weight=all(has_fit_parameter(e, "sample_weight") for e in estimators.values()),
        streams=all(getattr(e, "streams", False) for e in estimators.values()),
    )


def create_head(head: object, task: str = "classification", **parameters: Any) -> Any:
    """Make an unfitted head out of a name or a scikit-learn estimator.

    Parameters
    ----------
    head : str or estimator
        A head's name, or any scikit-learn estimator, which is cloned.
    task : {"classification", "regression"}, default="classification"
        Which of a named head's estimators is wanted.
    **parameters
        The head's parameters.

    Returns
    -------
    estimator
        Unfitted, with its parameters set.

    Raises
    ------
    TypeError
        If `head` is a class, or neither a name nor an estimator.
    ValueError
        If there is no such head, task or parameter, or the head doesn't know the task.

    See Also
    --------
    head_names : Names of the heads.
    describe : Tells what a head can do.
    TransferClassifier : Trains a head on the features of images.

    Examples
    --------
    >>> create_head("linear", C=1.0)
    LinearClassifier(C=1.0)
    """
    if task not in TASKS:
        raise registry.unknown("task", task, TASKS)
    if isinstance(head, str):
        estimator = _named(head, task)
        label = f"parameter of head {head!r}:"
    else:
        estimator = _cloned(head)
        label = f"parameter of {type(head).__name__}:"
    known = estimator.get_params(deep=True)
    for name in parameters:
        if name not in known:
            raise registry.unknown(label, name, sorted(known))
    return estimator.set_params(**parameters)


def _named(name: str, task: str) -> Any:
    module = registry.load(__name__, name, "head")
    if not hasattr(module, TASKS[task]):
        others = [n for n in head_names() if task in describe(n).tasks]
        raise ValueError(
            f"head {name!r} doesn't do {task}; heads that do: {', '.join(others) or 'none'}; "
            "or give a scikit-learn estimator"
        )
    return getattr(module, TASKS[task])()


def _cloned(head: object) -> Any:
    from sklearn.base import clone  # late: listing names shouldn't wait for scikit-learn

    if inspect.isclass(head):
        raise TypeError(f"head is the class {head.__name__}; give an object, {head.__name__}()")
    if not (hasattr(head, "fit") and hasattr(head, "get_params")):
        raise TypeError(
            f"head is {head!r}; give one of {', '.join(head_names())} or a scikit-learn estimator"
        )
    return clone(head)
