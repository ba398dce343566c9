"""Features that take more memory than they may stay in the store."""

import json
import re

import numpy as np
import pytest

from tests.cli.conftest import BACKBONE
from transferkit.store import StoredRows

pytestmark = pytest.mark.suites


def fitted(call, images, tmp_path, name, *options):
    store = ("--store", tmp_path / "store")
    result = call("fit", images, *BACKBONE, *store, "--out", tmp_path / name, "--json", *options)
    assert result.code == 0, result.err
    told = json.loads(result.out)
    told.pop("fit_seconds")
    return told | {"model": None}


@pytest.fixture
def never_gathered(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("all rows were gathered")

    def forbid():
        monkeypatch.setattr(StoredRows, "__array__", refuse)

    return forbid


@pytest.mark.parametrize("options", [(), ("--folds", "3")])
def test_fit_evaluate_and_predict(call, images, tmp_path, never_gathered, monkeypatch, options):
    expected = fitted(call, images, tmp_path, "array", *options)
    never_gathered()
    found = fitted(call, images, tmp_path, "streamed", *options, "--memory", "0")
    assert found == expected
    store = ("--store", tmp_path / "store")
    commands = (("predict",), ("evaluate", "--all", "--json"))
    answers = {}
    for memory in (10**9, 0):
        monkeypatch.setattr("transferkit.memory.memory_for_features", lambda m=memory: m)
        monkeypatch.setattr("transferkit.extract.job.memory_for_features", lambda m=memory: m)
        told = [call(c[0], tmp_path / "array", images, *store, *c[1:]) for c in commands]
        assert [one.code for one in told] == [0, 0], told
        answers[memory] = [one.out for one in told]
    numbers = [np.array(re.findall(r"\d\.\d+", out[0]), float) for out in answers.values()]
    np.testing.assert_allclose(*numbers, atol=2e-6)
    assert answers[0][1] == answers[10**9][1]


def test_damaged_rows_are_computed_again(call, images, tmp_path, never_gathered):
    expected = fitted(call, images, tmp_path, "array")
    shard = next((tmp_path / "store").rglob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    never_gathered()
    assert fitted(call, images, tmp_path, "streamed", "--memory", "0") == expected


def test_a_head_that_needs_all_rows(call, images, tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.estimators._rows.available_memory", lambda: 1000)
    arguments = ("fit", images, *BACKBONE, "--store", tmp_path / "store", "--head", "forest")
    result = call(*arguments, "--out", tmp_path / "model", "--memory", "0")
    assert result.code == 1
    assert "choose a head that reads them block by block (centroid, knn, lda" in result.err
    assert not (tmp_path / "model").exists()
    assert call(*arguments, "--out", tmp_path / "model", "--memory", "1").code == 0
