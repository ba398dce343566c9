"""Trained models as folders that load on another machine and can't run code.

::

    MODEL/
      model.json              what it is, the digest of every other file, and its own
      README.md               its card, written from model.json; yours to edit: no digest
      head.skops              the fitted head; head.safetensors of a dense task
      train_ids.safetensors   row ids of the images it was trained on
      backbone/               the backbone's weights, if they came from a local file

Nothing in it is a pickle; `transferkit.artifacts.head` says which types a head may have.
"""

from transferkit.artifacts.description import describe, task_of
from transferkit.artifacts.facts import add_facts
from transferkit.artifacts.loading import load
from transferkit.artifacts.model import TASKS, Model
from transferkit.artifacts.saving import check_writable, save
from transferkit.artifacts.tensors import ModuleHead

__all__ = [
    "TASKS",
    "Model",
    "ModuleHead",
    "add_facts",
    "check_writable",
    "describe",
    "load",
    "save",
    "task_of",
]
