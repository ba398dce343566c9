"""model.json: nothing in it is believed that was changed behind its back."""

import json

import pytest

from tests.artifacts.models import rewrite
from transferkit import artifacts
from transferkit.estimators import TransferClassifier


def test_a_class_renamed_in_the_file_is_noticed(saved):
    file = saved / "model.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("grün", "grau"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model\.json' is damaged: it isn't what was saved"):
        TransferClassifier.load(saved)
    file.write_text(json.dumps(json.loads(text)), encoding="utf-8")  # only spaces differ
    assert TransferClassifier.load(saved).classes_.tolist() == ["blue", "grün", "red"]


def test_what_is_no_model(saved, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is no saved model: it has no model\.json"):
        TransferClassifier.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="is no saved model"):
        TransferClassifier.load(tmp_path / "nowhere")
    for text in ("[]", '{"format": "other"}', "3"):
        (saved / "model.json").write_text(text)
        with pytest.raises(ValueError, match="doesn't describe a transferkit model"):
            TransferClassifier.load(saved)


@pytest.mark.parametrize("version", [2, None, "1"])
def test_a_newer_format(saved, version):
    rewrite(saved, lambda c: c.update(version=version))
    with pytest.raises(ValueError, match=f"format version {version!r}; .* reads 1: upgrade it"):
        TransferClassifier.load(saved)


@pytest.mark.parametrize("name", ["keys", "classes", "files", "backbone"])
def test_an_entry_is_missing(saved, name):
    rewrite(saved, lambda c: c.pop(name))
    with pytest.raises(ValueError, match=f"damaged: it lacks {name}"):
        TransferClassifier.load(saved)


def places(value, path=()):
    """Every value in a JSON document, as the names and numbers that lead to it."""
    if path:
        yield path
    for name, one in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(one, dict | list):
            yield from places(one, (*path, name))
        else:
            yield (*path, name)


def replaced(content, path, value):
    for name in path[:-1]:
        content = content[name]
    content[path[-1]] = value


def loaded_or_refused(path):
    """What is loaded, or the sentence of the only error that may come."""
    try:
        model = artifacts.load(path)
    except ValueError as error:
        return str(error)
    return model.task, model.keys, model.classes.tolist(), model.head.coef_.tobytes()


@pytest.mark.parametrize(
    "wrong", [None, True, 5, -0.5, 10**30, "", "../x", [], [5], {}, {"a": 5}], ids=repr
)
def test_wrong_values_in_every_place(saved, wrong):
    """With digests that fit, as somebody would make them who knows how."""
    original = (saved / "model.json").read_text(encoding="utf-8")
    expected = loaded_or_refused(saved)
    n_refused = 0
    for path in places(json.loads(original)):
        (saved / "model.json").write_text(original, encoding="utf-8")
        if path == ("backbone", "pretrained") and wrong is True:
            continue  # that is a right value, and has the weights loaded from the hub
        rewrite(saved, lambda content, path=path: replaced(content, path, wrong))
        result = loaded_or_refused(saved)
        if isinstance(result, str):
            n_refused += 1
            assert str(saved) in result, path
            assert "\n" not in result, (path, result)
            assert len(result) < 600, (path, result)
        elif path[0] != "classes":  # those are names, and may be any
            assert result == expected, path
    assert n_refused > 25


def test_the_sentence_says_what_stands_there(saved):
    rewrite(saved, lambda c: c.update(features=[5]))
    with pytest.raises(
        ValueError, match=r"is damaged: its features is \[5\], not a list of feature names; copy"
    ):
        TransferClassifier.load(saved)
