"""Tasks, such as classification. Each file of this folder is one, and bears its name."""

from transferkit import registry
from transferkit.tasks._task import Task

__all__ = ["Task", "asked_name", "asked_names", "names", "task_of"]


def names() -> list[str]:
    """Names of all tasks, sorted.

    Examples
    --------
    >>> {"classification", "multilabel", "regression"} <= set(names())
    True
    """
    return registry.names(__name__)


def task_of(name: str) -> Task:
    """Find a task by its name.

    Parameters
    ----------
    name : str
        One of `names`.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those that exist.

    Examples
    --------
    >>> task_of("regression").has_classes
    False
    """
    task: Task = registry.load(__name__, name, "task").TASK
    return task


def asked_names() -> list[str]:
    """Names of the tasks that a user can ask for. Others follow from the targets' shape.

    Examples
    --------
    >>> "multilabel" in asked_names()
    False
    """
    known = names()
    derived = {task_of(name).of_columns for name in known}
    return [name for name in known if name not in derived]


def asked_name(task: Task) -> str:
    """Name under which a user asks for a task, which the targets' shape may have changed.

    Examples
    --------
    >>> asked_name(task_of("multilabel")), asked_name(task_of("regression"))
    ('classification', 'regression')
    """
    others = (name for name in names() if task_of(name).of_columns == task.name)
    return next(others, task.name)
