"""Heads in a file that can't run code."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from tests.artifacts.models import NEW_IMAGES, Evil, fitted, replace_file
from transferkit.estimators import TransferClassifier


@pytest.mark.parametrize(
    "head",
    [
        RandomForestClassifier(5, random_state=0),
        make_pipeline(StandardScaler(), SVC()),
        KNeighborsClassifier(3),
        LinearSVC(),
    ],
    ids=lambda head: type(head).__name__,
)
def test_heads_of_scikit_learn(head, tmp_path):
    model = fitted(head)
    again = TransferClassifier.load(model.save(tmp_path / "m"))
    assert again.predict(NEW_IMAGES).tolist() == model.predict(NEW_IMAGES).tolist()
    for method in ("predict_proba", "decision_function"):
        assert hasattr(again, method) == hasattr(model, method)
        if hasattr(model, method):
            np.testing.assert_array_equal(
                getattr(again, method)(NEW_IMAGES), getattr(model, method)(NEW_IMAGES)
            )


def test_nothing_is_pickled(saved, tmp_path):
    forest = fitted(RandomForestClassifier(3)).save(tmp_path / "forest")
    for folder in (saved, forest):
        names = {p.name for p in folder.iterdir()}
        assert names == {"model.json", "README.md", "head.skops", "train_ids.safetensors"}
        with zipfile.ZipFile(folder / "head.skops") as archive:
            assert archive.namelist()
            assert {Path(name).suffix for name in archive.namelist()} <= {".json", ".npy"}
            for name in archive.namelist():
                if name.endswith(".npy"):
                    with archive.open(name) as file:
                        np.load(file, allow_pickle=False)


def test_a_head_that_is_not_safe_is_not_saved(tmp_path):
    model = fitted(make_pipeline(FunctionTransformer(os.path.realpath), SVC()).set_params(
        functiontransformer__func=None))  # fmt: skip
    model.save(tmp_path / "harmless")
    model.head_.steps[0][1].func = os.path.basename
    with pytest.raises(ValueError, match=r"Pipeline can't be saved safely.*basename"):
        model.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("kind", ["function", "pickle", "type"])
def test_a_hostile_head_is_not_executed(saved, tmp_path, kind):
    from skops.io import dump

    trace = tmp_path / "executed"
    hostile = tmp_path / "hostile"
    if kind == "function":
        dump(FunctionTransformer(func=os.system), hostile)
    elif kind == "pickle":
        hostile.write_bytes(pickle.dumps(Evil(trace)))
    else:
        dump({"head": SVC()}, hostile)
        with zipfile.ZipFile(hostile) as archive:
            schema = json.loads(archive.read("schema.json"))
        schema |= {"__class__": "Popen", "__module__": "subprocess", "__loader__": "ObjectNode"}
        with zipfile.ZipFile(hostile, "w") as archive:
            archive.writestr("schema.json", json.dumps(schema))
    replace_file(saved, "head.skops", hostile)
    with pytest.raises(ValueError, match=r"types that are not allowed|can't be read"):
        TransferClassifier.load(saved)
    assert not trace.exists()


def test_the_type_is_named(saved, tmp_path):
    from skops.io import dump

    dump(FunctionTransformer(func=os.system), tmp_path / "hostile")
    replace_file(saved, "head.skops", tmp_path / "hostile")
    with pytest.raises(ValueError, match=r"not allowed \(posix\.system\) and was not loaded"):
        TransferClassifier.load(saved)
