"""Small trained models, and changes to what was saved of them."""

import json
import shutil
from pathlib import Path

import numpy as np

from tests.pictures import coloured
from transferkit.artifacts.description import content_digest
from transferkit.digests import file_digest
from transferkit.estimators import FeatureExtractor, TransferClassifier

IMAGES, CODES = coloured(6)
NEW_IMAGES, _ = coloured(3, seed=1)
NAMES = np.array(["red", "grün", "blue"])


def fitted(head="linear", labels=NAMES, **options):
    options = {"pretrained": False, "image_size": 64, **options}
    name = options.pop("name", "test_resnet")
    return TransferClassifier(FeatureExtractor(name, **options), head).fit(IMAGES, labels[CODES])


def keys_of(model):
    spec = model.extractor_.resolve()
    options = {"precision": model.extractor_.precision, "storage": model.extractor_.storage}
    return [spec.feature_spec(name, **options).key for name in model.extractor_.feature_names]


def assert_same(path, model):
    """What was loaded predicts the same, from other rows than those in the store."""
    again = TransferClassifier.load(path, store=False)
    assert keys_of(again) == keys_of(model)
    np.testing.assert_array_equal(again.predict(NEW_IMAGES), model.predict(NEW_IMAGES))
    np.testing.assert_array_equal(again.predict_proba(NEW_IMAGES), model.predict_proba(NEW_IMAGES))
    return again


def rewrite(path, change):
    """Change model.json as somebody would who knows how it is made."""
    file = path / "model.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    content["digest"] = content_digest(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def replace_file(path, name, source):
    """Put another file in, and its digest and size into model.json."""
    shutil.copyfile(source, path / name)
    rewrite(path, lambda c: c["files"].update({name: file_digest(path / name).hex()}))
    rewrite(path, lambda c: c["n_bytes"].update({name: (path / name).stat().st_size}))


class Evil:
    """Leaves a trace where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)
