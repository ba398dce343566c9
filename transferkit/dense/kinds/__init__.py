"""Kinds of objects: what the tasks that find objects differ in, apart from their heads.

A file of this folder is one dense task that finds objects, and offers its ``KIND``.
"""

from transferkit import registry
from transferkit.dense.kinds._kind import ObjectKind

__all__ = ["ObjectKind", "object_kind"]


def object_kind(task: str) -> ObjectKind:
    """Find the kind of objects that a dense task finds.

    Parameters
    ----------
    task : str
        Its name, such as ``"detection"``.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those that exist.
    """
    kind: ObjectKind = registry.load(__name__, task, "task that finds objects").KIND
    return kind
