"""A saved model as one ONNX file, against the model itself and against its own metadata."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from tests.pictures import coloured, picture, write_pictures
from transferkit.estimators import FeatureExtractor, TransferClassifier, TransferRegressor
from transferkit.export import export_model
from transferkit.heads import create_head

pytestmark = pytest.mark.engines

IMAGES, CODES = coloured(6)
NEW = coloured(3, seed=1)[0][:, :48, :48]
NAMES = np.array(["red", "grün", "blue"])
SEVERAL = np.stack([CODES == 0, CODES > 0], axis=1).astype(int)


def extractor(name="test_resnet", **options):
    options = {"image_size": 48, "crop_pct": 1.0, **options}
    return FeatureExtractor(name, pretrained=False, store=False, **options)


def session_of(path):
    return onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])


def outputs(path, pixels):
    session = session_of(path)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))


def metadata(path):
    return json.loads(session_of(path).get_modelmeta().custom_metadata_map["transferkit"])


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A model, and its export: the network takes 48 px, the images have 64."""
    model = TransferClassifier(extractor(crop_pct=0.8)).fit(IMAGES, NAMES[CODES])
    saved = model.save(tmp_path_factory.mktemp("linear") / "model")
    return model, saved, export_model(saved)


def test_an_image_prepared_by_the_metadata_alone(linear, tmp_path, pil_pixels):
    model, _, exported = linear
    [path] = write_pictures(tmp_path, [5])
    Image.fromarray(picture(5, (90, 64))).save(path)
    told = metadata(exported.path)
    side = int(told["preprocess"]["image_size"][0] / told["preprocess"]["crop_pct"])
    image = Image.open(path).convert("RGB")
    assert (image.width, image.height) == (64, 90)
    interpolation = Image.Resampling[told["preprocess"]["interpolation"].upper()]
    image = image.resize((side, int(side * 90 / 64)), interpolation)
    left, top = round((side - 48) / 2), round((image.height - 48) / 2)
    pixels = np.asarray(image.crop((left, top, left + 48, top + 48)))[None]
    found = outputs(exported.path, pixels)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba([path]), atol=1e-5)
    assert [told["names"][i] for i in found["label"]] == model.predict([path]).tolist()


def test_any_number_of_images(linear):
    model, _, exported = linear
    whole = TransferClassifier.load(linear[1], store=False)
    assert whole.classes_.tolist() == model.classes_.tolist()
    every = outputs(exported.path, NEW)["probabilities"]
    assert every.shape == (9, 3)
    for n in (1, 2, 5):
        part = outputs(exported.path, NEW[:n])["probabilities"]
        np.testing.assert_allclose(part, every[:n], atol=1e-6)


def test_what_the_file_tells(linear):
    model, _, exported = linear
    graph = onnx.load(exported.path)
    told = metadata(exported.path)
    assert told["names"] == ["blue", "grün", "red"]
    assert told["task"] == "classification"
    assert told["preprocess"]["mean"] == list(model.extractor_.resolve().preprocess.mean)
    assert told["weights"] == "random:0"
    assert told["exported_with"]["onnx"] == onnx.__version__
    assert list(told["outputs"]) == [o.name for o in graph.graph.output]
    pixels = graph.graph.input[0]
    dims = pixels.type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == told["input"]["shape"]
    assert pixels.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert exported.n_bytes == exported.path.stat().st_size


def test_no_path_of_this_machine_is_in_it(linear):
    content = linear[2].path.read_bytes()
    for path in (sys.prefix, str(linear[1].parent), "site-packages", ".py"):
        assert path.encode() not in content


def test_a_second_export_needs_leave(linear):
    with pytest.raises(FileExistsError, match="exists; choose another place"):
        export_model(linear[1])


def test_several_labels_from_tokens_in_float16(tmp_path):
    head = create_head("mlp", max_epochs=2, hidden=(8,))
    features = ["block1.cls_norm", "pre_logits"]
    own = extractor("test_vit", features=features, storage="float16")
    model = TransferClassifier(own, head).fit(IMAGES, SEVERAL)
    exported = export_model(model.save(tmp_path / "model"), check=tmp_path_of_images(tmp_path))
    assert (exported.check.n, exported.check.n_same) == (3, 3)
    found = outputs(exported.path, NEW)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(NEW), atol=1e-3)
    np.testing.assert_array_equal(found["labels"], model.predict(NEW))


def test_int8_features_are_not_rounded_in_the_export(tmp_path):
    # A head whose outputs change little with its features.
    head = create_head("linear", C=1e-3)
    model = TransferClassifier(extractor(storage="int8"), head).fit(IMAGES, CODES)
    exported = export_model(model.save(tmp_path / "model"), check=tmp_path_of_images(tmp_path))
    assert exported.check.difference <= exported.check.tolerance == 0.05
    found = outputs(exported.path, NEW)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(NEW), atol=0.05)


def tmp_path_of_images(folder):
    write_pictures(folder / "images", [1, 2, 3])
    return folder / "images"


def test_trees_give_numbers(tmp_path):
    head = create_head("forest", "regression", n_trees=5)
    model = TransferRegressor(extractor(features="stage2.gem"), head)
    model.fit(IMAGES, np.stack([CODES, 10.0 - CODES], axis=1))
    exported = export_model(model.save(tmp_path / "model"), tmp_path / "deep" / "numbers.onnx")
    found = outputs(exported.path, NEW)
    assert list(found) == ["values"]
    np.testing.assert_allclose(found["values"], model.predict(NEW), atol=1e-4)


def test_an_estimator_of_scikit_learns(tmp_path):
    head = make_pipeline(StandardScaler(), LogisticRegression())
    model = TransferClassifier(extractor(), head).fit(IMAGES, NAMES[CODES])
    exported = export_model(model.save(tmp_path / "model"))
    found = outputs(exported.path, NEW)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(NEW), atol=1e-5)
    assert model.classes_[found["label"]].tolist() == model.predict(NEW).tolist()


@pytest.mark.parametrize(
    ("head", "y", "reason"),
    [
        (create_head("svm", probability=True), CODES, "'svm' .* come from a calibration"),
        (create_head("boosting", library="xgboost"), CODES, "its trees are xgboost's"),
        (LinearSVC(), CODES, "'LinearSVC' .*it gives no probabilities"),
        (create_head("boosting"), np.ones((18, 2), int), "nothing that depends on the features"),
    ],
)
def test_heads_that_cannot(tmp_path, head, y, reason):
    saved = TransferClassifier(extractor(), head).fit(IMAGES, y).save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"{reason}.*train one that can") as error:
        export_model(saved)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_what_skl2onnx_says_is_passed_on(tmp_path, monkeypatch):
    import skl2onnx

    def refuse(*args, **options):
        raise RuntimeError("no converter\nfor this")

    monkeypatch.setattr(skl2onnx, "convert_sklearn", refuse)
    model = TransferClassifier(extractor(), GaussianNB()).fit(IMAGES, CODES)
    with pytest.raises(ValueError, match=r"'GaussianNB' can't .*\(skl2onnx: no converter for this"):
        export_model(model.save(tmp_path / "model"))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_the_extra(linear, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"needs onnx.*pip install 'transferkit\[onnx\]'"):
        export_model(linear[1], tmp_path / "a.onnx")


def test_without_skl2onnx(tmp_path, monkeypatch):
    saved = TransferClassifier(extractor(), GaussianNB()).fit(IMAGES, CODES).save(tmp_path / "m")
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"'GaussianNB' needs skl2onnx .*transferkit\[onnx\]"):
        export_model(saved)


def test_a_backbone_that_torch_cannot_trace(linear, tmp_path, monkeypatch):
    import torch

    def refuse(*args, **options):
        raise RuntimeError("data-dependent\nloop")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ValueError, match=r"'test_resnet' can't be written .*data-dependent loop"):
        export_model(linear[1], tmp_path / "a.onnx")


def test_too_much_for_one_file(linear, tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.export.onnx.MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="at most 2 GB; choose a smaller backbone"):
        export_model(linear[1], tmp_path / "a.onnx")


def test_images_that_cannot_be_read_are_named(linear, tmp_path):
    folder = tmp_path_of_images(tmp_path)
    (folder / "bad.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 4 images could not be read: bad.png \(empty file"):
        export_model(linear[1], tmp_path / "a.onnx", check=folder)


def test_places_that_are_somebody_elses(linear, tmp_path):
    with pytest.raises(FileExistsError, match="is no earlier export of this format"):
        export_model(linear[1], tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="unknown export format 'onxn'; did you mean 'onnx'"):
        export_model(linear[1], format="onxn")
