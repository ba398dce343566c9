"""What a benchmark's key holds: everything that decides the number."""

import ast
import dataclasses
import inspect
import types

import numpy as np
import pytest

from tests.protocols.test_common import NAMES
from transferkit import protocols
from transferkit.benchmark import grid
from transferkit.benchmark.evaluation import parts_of
from transferkit.benchmark.grid import Cell
from transferkit.datasets import Division
from transferkit.heads import create_head, head_names
from transferkit.protocols import Geometry, create_protocol

SPEC = types.SimpleNamespace(feature_spec=lambda name, **_: types.SimpleNamespace(key=name))
# What says how a number is shown or drawn, not what it is: signs, halves, squares, axes.
HARMLESS = {0, 1, 2, 0.5, -1}


def key(probe, kind="protocol"):
    return Cell("b", probe, kind, "pre_logits", None, None).key("rows", SPEC, {})


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, Geometry):
        return Geometry(32)
    if isinstance(value, tuple):
        return (*value, 7)
    return value + "x" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_part_of_the_key(name, monkeypatch):
    named = create_protocol(name)
    keys = {key(name)}
    fields = dataclasses.fields(named.settings)
    for field in fields:
        value = other(getattr(named.settings, field.name))
        changed = dataclasses.replace(named.settings, **{field.name: value})
        with monkeypatch.context() as patch:
            patch.setattr(
                grid, "create_protocol", lambda _, s=changed: dataclasses.replace(named, settings=s)
            )
            keys.add(key(name))
    assert len(keys) == 1 + len(fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_published_number_is_a_setting(name):
    """No literal stands in a function: neither a number nor a word given to one by name."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(create_protocol(name).function)))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    literals = set()
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
                literals.add(node.value)
            if isinstance(node, ast.keyword) and isinstance(node.value, ast.Constant):
                literals.add(node.value.value)
    # The base of logarithms; the search for a minimum that there is one of.
    assert literals - HARMLESS - {True, False, None, 10.0, "n_iter", "strong_wolfe"} == set()


@pytest.mark.parametrize("name", head_names())
def test_a_head_s_parameters_are_part_of_the_key(name, monkeypatch):
    keys = {key(name, "head")}
    for parameter, value in create_head(name).get_params().items():
        with monkeypatch.context() as patch:
            changed = lambda n, task, p=parameter: _with(n, task, p)  # noqa: E731
            patch.setattr(grid, "create_head", changed)
            keys.add(key(name, "head"))
        assert value != "other"
    monkeypatch.setattr(grid, "HEADS_VERSION", -1)
    keys.add(key(name, "head"))
    assert len(keys) == 2 + len(create_head(name).get_params())


def _with(name, task, parameter):
    head = create_head(name, task)
    return head.set_params(**{parameter: "other"}) if parameter in head.get_params() else head


def test_every_protocol_was_a_subject():
    assert len(NAMES) == len(protocols.protocol_names()) > 0


def test_few_shots_come_without_the_validation_part():
    X = np.arange(24.0)[:, None]
    y = np.arange(24) % 2
    division = Division(np.arange(12), np.arange(12, 18), np.arange(18, 24))
    dataset = types.SimpleNamespace(task="classification", name="d")
    few = parts_of(Cell("b", "simpleshot", "protocol", "pre_logits", 5, 0), X, y, division, dataset)
    assert few.validation is None
    assert len(few.X) == 10
    assert few.X.max() < 12
    full = parts_of(Cell("b", "clip", "protocol", "pre_logits", None, 0), X, y, division, dataset)
    assert len(full.validation[0]) == 6
