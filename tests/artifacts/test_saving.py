"""Writing: a folder whole or not at all, and nothing of the user's overwritten."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.artifacts.models import assert_same, fitted
from transferkit.artifacts import replacing, saving
from transferkit.estimators import FeatureExtractor, TransferClassifier


def test_what_is_there_is_not_overwritten(model, saved, tmp_path):
    before = {p.name: p.read_bytes() for p in saved.iterdir()}
    with pytest.raises(FileExistsError, match=r"holds a model already.*overwrite=True"):
        model.save(saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == before
    other = fitted(labels=np.array([1, 2, 3]))
    assert other.save(saved, overwrite=True) == saved
    assert_same(saved, other)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("kind", ["file", "folder", "full folder"])
def test_what_is_no_model_is_never_overwritten(model, tmp_path, kind):
    path = tmp_path / "place"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
    if kind == "full folder":
        (path / "mine").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="exists and is no model"):
            model.save(path, overwrite=overwrite)
    assert path.exists()
    assert kind != "full folder" or (path / "mine").read_text() == "mine"


@pytest.mark.parametrize("step", ["save_backbone", "save_head", "serialized", "write_description"])
@pytest.mark.parametrize("is_there", [False, True])
def test_interrupted_while_saving(model, tmp_path, monkeypatch, step, is_there):
    path = tmp_path / "folder" / "m"
    if is_there:
        model.save(path)
    other = fitted(labels=np.array([1, 2, 3]))

    def interrupt(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(saving, step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            other.save(path, overwrite=True)
    assert [p.name for p in path.parent.iterdir()] == (["m"] if is_there else [])
    if is_there:
        assert_same(path, model)


def test_a_model_that_cannot_be_replaced_stays(model, tmp_path, monkeypatch):
    path = model.save(tmp_path / "m")
    rename = Path.rename

    def fail_to_put_the_new_one(self, target):
        if Path(target) == path and ".new-" in self.name:
            raise OSError("no space")
        return rename(self, target)

    monkeypatch.setattr(replacing, "exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", fail_to_put_the_new_one)
    with pytest.raises(
        OSError, match=r"could not write model '.*m': no space; what is there already is kept"
    ):
        fitted(labels=np.array([1, 2, 3])).save(path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert_same(path, model)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("limit", [1, 500, 3000, 100_000])
def test_a_full_disk_is_named_and_costs_nothing(weights, tmp_path, limit):
    """Files can't grow any more, whoever writes them: weights, head, ids, description."""
    import resource

    model = fitted(pretrained=True, weights=weights)
    path = model.save(tmp_path / "m")
    assert (path / "backbone" / "weights.safetensors").stat().st_size > 100_000
    other = fitted(pretrained=True, weights=weights, labels=np.array([1, 2, 3]))
    other.extractor_.resolve()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match=r"^could not write model '.*m': File too large; what is"):
            other.save(path, overwrite=True)
        with pytest.raises(OSError, match=r"^could not write model '.*new': File too large$"):
            other.save(tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "mine.safetensors"]
    assert_same(path, model)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_others_may_read_it_as_they_may_other_folders(saved, tmp_path):
    (tmp_path / "plain").mkdir()
    assert saved.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted yet"):
        TransferClassifier(FeatureExtractor("test_resnet")).save(tmp_path / "m")
