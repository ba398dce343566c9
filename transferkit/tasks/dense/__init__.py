"""Dense tasks, such as segmentation. Each file of this folder is one, and bears its name."""

from transferkit import registry
from transferkit.tasks.dense._task import DenseTask

__all__ = ["DenseTask", "dense_task_of", "names"]


def names() -> list[str]:
    """Names of all dense tasks, sorted.

    Examples
    --------
    >>> names()
    ['anomaly', 'detection', 'instances', 'oriented', 'segmentation']
    """
    return registry.names(__name__)


def dense_task_of(name: str) -> DenseTask:
    """Find a dense task by its name.

    Parameters
    ----------
    name : str
        One of `names`.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those that exist.
    """
    task: DenseTask = registry.load(__name__, name, "dense task").TASK
    return task
