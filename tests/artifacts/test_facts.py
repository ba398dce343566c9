"""What is found out after a model was saved."""

import json

import pytest

from tests.artifacts.models import assert_same
from transferkit.artifacts import add_facts, describe, load
from transferkit.artifacts import facts as module

METRICS = [{"name": "accuracy", "value": 0.75, "low": 0.5, "high": 1.0, "n": 8}]


def test_facts_are_added_and_nothing_else_changes(model, saved):
    before, files = describe(saved), {p.name: p.read_bytes() for p in saved.iterdir()}
    add_facts(saved, {"data": {"images": "things"}})
    add_facts(saved, {"metrics": METRICS})
    after = describe(saved)
    assert after["facts"] == before["facts"] | {"data": {"images": "things"}, "metrics": METRICS}
    rest = {k: v for k, v in after.items() if k not in ("facts", "digest")}
    assert rest == {k: v for k, v in before.items() if k not in ("facts", "digest")}
    assert load(saved).facts["metrics"] == METRICS
    assert "| accuracy | 0.75 | 0.5 to 1 | 8 |" in (saved / "README.md").read_text()
    now = {p.name: p.read_bytes() for p in saved.iterdir()}
    assert now.keys() == files.keys()
    assert {n for n in now if now[n] != files[n]} == {"model.json", "README.md"}
    assert_same(saved, model)


def test_interrupted_while_adding(model, saved, monkeypatch):
    before = (saved / "model.json").read_bytes()

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module.os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            add_facts(saved, {"metrics": METRICS})
    assert (saved / "model.json").read_bytes() == before
    assert not [p for p in saved.iterdir() if p.name.endswith(".tmp")]
    assert_same(saved, model)


def test_of_a_damaged_model(saved):
    content = json.loads((saved / "model.json").read_text())
    content["task"] = "other"
    (saved / "model.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is damaged"):
        add_facts(saved, {})
