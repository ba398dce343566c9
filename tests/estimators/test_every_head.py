"""Every head, saved here and loaded in a fresh process at another place."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.pictures import coloured
from transferkit import FeatureExtractor, TransferClassifier, TransferRegressor
from transferkit.heads import describe, head_names

pytestmark = pytest.mark.suites

SCRIPT = """
import json, sys
import numpy as np
from transferkit.estimators import load_estimator
images = np.load(sys.argv[1])
names = json.loads(sys.argv[3])
models = {n: load_estimator(f"{sys.argv[2]}/{n}", store=False) for n in names}
print(json.dumps({n: model.predict(images).tolist() for n, model in models.items()}))
"""
QUICK = {"mlp": {"max_epochs": 5}, "boosting": {"max_iter": 5}}


@pytest.fixture
def images():
    return coloured(10)


@pytest.fixture
def extractor(tmp_path):
    return FeatureExtractor("test_resnet", pretrained=False, image_size=64, store=tmp_path / "s")


def fitted(kind, extractor, name, images, y):
    model = kind(extractor, name)
    known = model.get_params()
    quick = {f"head__{k}": v for k, v in QUICK.get(name, {}).items()}
    return model.set_params(**{k: v for k, v in quick.items() if k in known}).fit(images, y)


def test_the_same_predictions_in_a_fresh_process(images, extractor, tmp_path):
    pictures, codes = images
    labels = np.array(["red", "green", "blue"])[codes]
    several = np.stack([codes != 0, codes != 1], axis=1).astype(int)
    expected = {}
    for name in head_names():
        info = describe(name)
        model = fitted(TransferClassifier, extractor, name, pictures, labels)
        expected[name] = model.predict(pictures).tolist()
        model.save(tmp_path / "here" / name)
        if info.multilabel:
            model = fitted(TransferClassifier, extractor, name, pictures, several)
            expected[f"{name}-several"] = model.predict(pictures).tolist()
            model.save(tmp_path / "here" / f"{name}-several")
        if "regression" in info.tasks:
            model = fitted(TransferRegressor, extractor, name, pictures, codes + 0.5)
            expected[f"{name}-numbers"] = model.predict(pictures).tolist()
            model.save(tmp_path / "here" / f"{name}-numbers")
    known = [describe(name) for name in head_names()]
    n_cases = [1 + info.multilabel + ("regression" in info.tasks) for info in known]
    assert len(expected) == sum(n_cases)
    shutil.move(tmp_path / "here", tmp_path / "there")
    np.save(tmp_path / "images.npy", pictures)
    out = subprocess.run(
        [sys.executable, "-c", SCRIPT, tmp_path / "images.npy", tmp_path / "there",
         json.dumps(list(expected))],
        capture_output=True, text=True, check=True, env=os.environ,
    ).stdout  # fmt: skip
    found = json.loads(out)
    for name, predictions in expected.items():
        if name.endswith("-numbers"):
            np.testing.assert_allclose(found[name], predictions, rtol=1e-5, err_msg=name)
        else:
            assert found[name] == predictions, name


@pytest.mark.parametrize("name", head_names())
def test_labels_come_back_as_written(images, extractor, name):
    pictures, codes = images
    labels = np.array(["red", "green", "blue"])[codes]
    model = fitted(TransferClassifier, extractor, name, pictures, labels)
    assert set(model.predict(pictures)) <= {"red", "green", "blue"}
    assert model.classes_.tolist() == ["blue", "green", "red"]
    assert model.score(pictures, labels) > 0.8
