"""model.json: nothing in it is believed that was changed behind its back."""

import json

import pytest

from tests.artifacts.models import rewrite
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
