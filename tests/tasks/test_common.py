"""Every task of the folder: what it says of itself is true."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from transferkit import estimators, metrics, tasks
from transferkit.heads import TASKS as HEAD_KINDS
from transferkit.heads import create_head
from transferkit.tasks import Task, asked_names, task_of

NAMES = tasks.names()
FOLDER = Path(tasks.__file__).parent


def test_every_file_is_a_task():
    files = [file for file in FOLDER.glob("*.py") if not file.name.startswith("_")]
    assert len(NAMES) == len(files) > 0
    assert [task_of(name).name for name in NAMES] == NAMES


def test_a_task_that_is_not_there():
    with pytest.raises(ValueError, match="unknown task 'regresion'; did you mean 'regression'"):
        task_of("regresion")


@pytest.mark.parametrize("name", NAMES)
def test_what_it_names_exists(name):
    task = task_of(name)
    assert isinstance(task, Task)
    assert task.head_kind in HEAD_KINDS
    assert task.activation in ("softmax", "sigmoid", "identity")
    assert task.has_classes == (task.activation != "identity")
    create_head(task.default_head, task.head_kind)
    for kind in (task.estimator, task.fine_tuner):
        own = task_of(getattr(estimators, kind).default_task)
        assert own.has_classes == task.has_classes
    assert hasattr(metrics, f"{task.report}_report")
    assert "2" in task.summary.format(n=2)
    assert pickle.loads(pickle.dumps(task)) == task
    if task.of_columns is not None:
        assert task_of(task.of_columns).name not in asked_names()


@pytest.mark.parametrize("name", asked_names())
def test_several_columns_make_the_task_that_it_says(name):
    task = task_of(name)
    assert task.of_targets(np.zeros(3)) is task
    assert task.of_targets(np.zeros((3, 1))) is task
    assert task.of_targets(np.zeros((3, 2))).name == (task.of_columns or name)


@pytest.mark.parametrize("name", NAMES)
def test_targets_are_checked_and_written_as_json(name):
    task = task_of(name)
    shape = (4, 2) if task.has_several_labels or not task.has_classes else (4,)
    values = np.array([0, 1, 1, 0, 0, 1, 0, 1])[: int(np.prod(shape))].reshape(shape)
    targets = task.targets(values, None)
    np.testing.assert_array_equal(targets, values)
    written = [task.written(value, ["a", "b"]) for value in targets.tolist()]
    assert json.loads(json.dumps(written)) == written
    wrong = values.astype(object)
    wrong[(2,) * values.ndim if values.ndim == 1 else (2, 1)] = None
    with pytest.raises(ValueError, match=r"the label of 'c' is .*None.*; give "):
        task.targets(wrong, ["a", "b", "c", "d"])


@pytest.mark.parametrize("name", [n for n in NAMES if task_of(n).residual is not None])
def test_residuals_are_predictions_less_truths(name):
    task = task_of(name)
    assert task.residual(3.0, 1.0) == 2.0
    assert task.residual({"a": 3.0, "b": 0.0}, {"a": 1.0, "b": 1.0}) == {"a": 2.0, "b": -1.0}


def test_confidence_of_one_class_and_of_several_labels():
    proba = np.array([0.1, 0.2, 0.7])
    assert task_of("classification").confidence(proba) == 0.7
    assert task_of("multilabel").confidence(proba) == pytest.approx(0.7)
    assert task_of("multilabel").confidence(np.array([0.6, 0.99])) == 0.6
