"""The tuned model is a model like any other."""

import re

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone

import transferkit
from tests.finetune.conftest import classifier, extractor
from tests.pictures import coloured
from transferkit import FineTuneClassifier, FineTuneRegressor, TransferClassifier, UnreadableImages
from transferkit.estimators import load_estimator

pytestmark = pytest.mark.finetuning

IMAGES, CODES = coloured(8)
LABELS = np.array(["red", "green", "blue"])[CODES]


def test_a_saved_model_is_loaded_by_everyone(tmp_path):
    # Without validation the last epoch is kept, whether it is better than the probe or not.
    model = classifier(tmp_path / "run", validation_fraction=0.0).fit(IMAGES, LABELS)
    path = model.save(tmp_path / "model")
    assert sorted(p.name for p in (path / "backbone").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    for load in (FineTuneClassifier.load, TransferClassifier.load, load_estimator):
        loaded = load(path)
        np.testing.assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))
        np.testing.assert_allclose(
            loaded.predict_proba(IMAGES), model.predict_proba(IMAGES), atol=1e-6
        )
        assert loaded.score(IMAGES, LABELS) == model.score(IMAGES, LABELS)
    tuned, plain = loaded.extractor_.resolve(), extractor().resolve()
    assert tuned.weights != plain.weights
    assert tuned.weights.startswith("sha256:")
    assert tuned.architecture == plain.architecture
    assert tuned.arguments == plain.arguments
    assert tuned.preprocess == plain.preprocess


def test_timm_loads_the_saved_backbone(tmp_path):
    import timm
    import torch

    model = classifier(tmp_path / "run", validation_fraction=0.0).fit(IMAGES, LABELS)
    folder = model.save(tmp_path / "model") / "backbone"
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    batch = torch.stack([transform(Image.fromarray(image)) for image in IMAGES])
    with torch.no_grad():
        features = network(batch).numpy()
    np.testing.assert_allclose(features, model.extractor_.transform(IMAGES), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(model.predict_features(features), model.predict(IMAGES))


@pytest.mark.parametrize(
    "name",
    ["test_vit", "test_convnext", "bundled:mobilenetv2_050_distilled", "torchvision:googlenet"],
)
def test_backbones_of_every_source(name, tmp_path):
    size = {"test_vit": 160, "torchvision:googlenet": 64}.get(name, 32)
    given = extractor(name, image_size=size, pretrained=name.startswith("bundled"))
    model = classifier(tmp_path / "run", "norm-only", backbone=given, epochs=1)
    model.fit(IMAGES[:12], LABELS[:12])
    loaded = load_estimator(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(loaded.predict(IMAGES[:12]), model.predict(IMAGES[:12]))
    assert loaded.extractor_.resolve().preprocess == given.resolve().preprocess


@pytest.mark.parametrize("name", ["test_resnet", "bundled:mobilenetv2_050_distilled"])
def test_how_images_are_read_is_kept(name, tmp_path):
    given = extractor(
        name, image_size=32, pretrained=name.startswith("bundled"), decode="scaled", exif=True,
        crop_pct=0.8, crop_mode="squash", interpolation="bilinear",
    )  # fmt: skip
    model = classifier(tmp_path / "run", "norm-only", backbone=given, epochs=1)
    model.fit(IMAGES[:12], LABELS[:12])
    loaded = load_estimator(model.save(tmp_path / "model"))
    assert loaded.extractor_.resolve().preprocess == given.resolve().preprocess
    np.testing.assert_array_equal(loaded.predict(IMAGES[:12]), model.predict(IMAGES[:12]))


def test_it_starts_from_the_probe(tmp_path):
    model = classifier(tmp_path, epochs=1, learning_rate=1e-12).fit(IMAGES, LABELS)
    probe = model.history_[0]
    assert model.history_[1]["val_loss"] == pytest.approx(probe["val_loss"], rel=1e-3)
    fresh = classifier(tmp_path, "full", epochs=1, learning_rate=1e-12).fit(IMAGES, LABELS)
    assert fresh.history_[0]["val_loss"] == pytest.approx(np.log(3), rel=0.1)


def test_it_starts_from_a_saved_model(tmp_path):
    first = classifier(tmp_path / "first").fit(IMAGES, LABELS)
    path = first.save(tmp_path / "model")
    options = {"recipe": {"epochs": 1, "learning_rate": 1e-12, "validation_fraction": 0.0}}
    second = FineTuneClassifier(init=path, folder=tmp_path / "b", **options).fit(IMAGES, LABELS)
    np.testing.assert_allclose(second.head_.coef_, first.head_.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(second.predict_proba(IMAGES), first.predict_proba(IMAGES), atol=1e-3)
    with pytest.raises(ValueError, match="is a test_resnet, and backbone a test_convnext; leave"):
        FineTuneClassifier(extractor("test_convnext"), init=path).fit(IMAGES, LABELS)


def test_regression(tmp_path):
    light = np.linspace(20, 220, 24)
    images = np.stack([np.full((32, 32, 3), v, np.uint8) for v in light])
    for y in (light * 3 + 7, np.stack([light, -light], axis=1)):
        model = FineTuneRegressor(
            extractor(),
            recipe={"epochs": 3, "crop_scale": 1.0, "jitter": 0.0},
            folder=tmp_path / "r",
        ).fit(images, y)
        assert model.predict(images).shape == y.shape
        assert model.score(images, y) > 0.9
        loaded = FineTuneRegressor.load(model.save(tmp_path / "model", overwrite=True))
        np.testing.assert_allclose(loaded.predict(images), model.predict(images), rtol=1e-5)


@pytest.mark.parametrize("offset", [1e8 + 3, 1.7e9 + 61, -1e12])
def test_large_numbers_are_learnt_like_small_ones(offset, tmp_path):
    light = np.linspace(20, 220, 24)
    images = np.stack([np.full((32, 32, 3), v, np.uint8) for v in light])
    recipe = {"epochs": 2, "crop_scale": 1.0, "jitter": 0.0, "flip": False}
    for y in (light, np.stack([light, -light], axis=1)):
        small, large = (
            FineTuneRegressor(extractor(), recipe=recipe, folder=tmp_path / "r").fit(
                images, numbers
            )
            for numbers in (y, offset + y)
        )
        predicted = large.predict(images)
        assert predicted.dtype == np.float64
        # The grid of float64 at the offset is the limit, not that of float32.
        np.testing.assert_allclose(
            predicted - offset, small.predict(images), atol=0.05 + 4 * np.spacing(abs(offset))
        )
        assert large.score(images, offset + y) > 0.9
        loaded = FineTuneRegressor.load(large.save(tmp_path / "model", overwrite=True))
        np.testing.assert_array_equal(loaded.predict(images), predicted)
        again = FineTuneRegressor(
            init=tmp_path / "model", folder=tmp_path / "s",
            recipe={**recipe, "epochs": 1, "learning_rate": 1e-12, "validation_fraction": 0.0},
        )  # fmt: skip
        again.fit(images, offset + y)
        np.testing.assert_allclose(again.predict(images), predicted, atol=0.05, rtol=0)


def test_several_labels_per_image(tmp_path):
    y = np.stack([CODES == 0, CODES != 2], axis=1).astype(int)
    model = classifier(tmp_path / "run", backbone=extractor()).fit(IMAGES, y)
    assert model.predict(IMAGES).shape == y.shape
    loaded = load_estimator(model.save(tmp_path / "model"))
    assert loaded.is_multilabel_
    np.testing.assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))


def test_validation_images_of_an_unknown_class(tmp_path, caplog):
    known = CODES < 2
    model = classifier(tmp_path / "run").fit(
        IMAGES[known][:12], LABELS[known][:12], validation=(IMAGES[4:], LABELS[4:])
    )
    assert model.classes_.tolist() == ["green", "red"]
    assert "7 are of classes that aren't trained on: these are left out" in caplog.text
    assert len(model.train_ids_) == 12 + 4


def test_two_classes(tmp_path):
    chosen = CODES < 2
    model = classifier(tmp_path / "run").fit(IMAGES[chosen], LABELS[chosen])
    assert model.head_.coef_.shape == (1, model.head_.n_features_in_)
    assert model.score(IMAGES[chosen], LABELS[chosen]) > 0.9


def test_splits_of_the_images_are_used(tmp_path):
    for i, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        folder = tmp_path / "images" / ("val" if i % 4 == 0 else "train") / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    model = classifier(tmp_path / "run").fit(tmp_path / "images")
    assert len(model.train_ids_) == 18  # without a test part val is left to measure with
    assert model.classes_.tolist() == ["blue", "green", "red"]
    (tmp_path / "images" / "test" / "red").mkdir(parents=True)
    Image.fromarray(IMAGES[0] // 2).save(tmp_path / "images" / "test" / "red" / "new.png")
    model = classifier(tmp_path / "other").fit(tmp_path / "images")
    assert len(model.train_ids_) == 24  # and with one val chooses the epoch
    with pytest.raises(TypeError, match="fine-tuning trains a network on images"):
        model.fit_features(np.zeros((2, 3)), ["a", "b"])


def test_unreadable_images(tmp_path):
    files = []
    for i, image in enumerate(IMAGES):
        files.append(tmp_path / f"{i:02}.png")
        Image.fromarray(image).save(files[-1])
    files[3].write_text("no picture")
    with pytest.raises(UnreadableImages, match=r"1 of 24 images could not be read: .*03.png"):
        classifier(tmp_path / "run").fit(files, LABELS)
    model = classifier(tmp_path / "run", "last-1-stages").fit(files, LABELS, on_error="skip")
    assert len(model.train_ids_) == 23
    assert [f.name for f in model.failures_] == [str(files[3])]


def test_cached_maps_are_computed_once(tmp_path, monkeypatch):
    from transferkit.forward import Forward

    store = tmp_path / "store"
    first = classifier(tmp_path / "a", "last-2-stages", backbone=extractor(store=store))
    first.fit(IMAGES, LABELS)

    def forbidden(*arguments):
        raise AssertionError("the frozen part ran")

    monkeypatch.setattr(Forward, "rows", forbidden)
    again = classifier(tmp_path / "b", "last-2-stages", backbone=extractor(store=store))
    again.fit(IMAGES, LABELS)
    np.testing.assert_array_equal(first.head_.coef_, again.head_.coef_)
    other = classifier(tmp_path / "c", "last-2-stages", backbone=extractor(store=store), jitter=0.4)
    with pytest.raises(AssertionError, match="the frozen part ran"):
        other.fit(IMAGES, LABELS)


def test_no_gain_keeps_backbone_and_features(tmp_path, monkeypatch, caplog):
    from transferkit.forward import Forward

    given = extractor(store=tmp_path / "store")
    settings = {"learning_rate": 1.0, "optimizer": "sgd", "warmup": 0.0, "validation_fraction": 0.3}
    for strategy in ("lp-ft", "lora", "last-1-stages"):
        model = classifier(tmp_path / strategy, strategy, backbone=given, epochs=1, **settings)
        model.fit(IMAGES, LABELS)
        assert model.best_epoch_ == 0
        assert model.history_[0]["val_metric"] == 1
        assert model.extractor_.resolve() == given.resolve()
        assert sorted(p.name for p in (tmp_path / strategy).iterdir()) == ["curves.png", "log.csv"]
        message = (
            r"no gain: the probe is kept, and the backbone as it was; none of 1 epochs was better "
            r"on the held-out part \(at best [01]\.\d+, before 1\.000\)"
        )
        assert re.search(message, caplog.text)
        caplog.clear()
    monkeypatch.setattr(Forward, "rows", None)  # nothing is computed again
    probe = TransferClassifier(given).fit(IMAGES, LABELS)
    np.testing.assert_array_equal(model.predict(IMAGES), probe.predict(IMAGES))
    loaded = load_estimator(model.save(tmp_path / "model"), store=tmp_path / "store")
    np.testing.assert_array_equal(loaded.predict(IMAGES), probe.predict(IMAGES))


def test_no_gain_over_a_saved_model_keeps_it(tmp_path, caplog):
    first = classifier(tmp_path / "first", validation_fraction=0.0).fit(IMAGES, LABELS)
    path = first.save(tmp_path / "model")
    recipe = {"learning_rate": 1.0, "optimizer": "sgd", "warmup": 0.0, "epochs": 1}
    second = FineTuneClassifier(init=path, folder=tmp_path / "b", recipe=recipe).fit(IMAGES, LABELS)
    assert second.best_epoch_ == 0
    assert second.extractor_.resolve().weights == first.extractor_.resolve().weights
    assert "no gain: the model it started from is kept" in caplog.text
    again = load_estimator(second.save(tmp_path / "again"))
    np.testing.assert_array_equal(again.predict(IMAGES), first.predict(IMAGES))


def test_parameters():
    model = FineTuneClassifier("test_resnet", recipe={"epochs": 3})
    assert model.get_params()["recipe__epochs"] == 3
    copy = clone(model).set_params(recipe__epochs=5, strategy="full")
    assert (copy.recipe["epochs"], model.recipe["epochs"]) == (5, 3)
    assert copy.strategy == "full"
    with pytest.raises(ValueError, match="Invalid parameter 'epochs'"):
        model.set_params(epochs=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FineTuneClassifier(), "backbone is None; give a backbone, or init"),
        (lambda: FineTuneClassifier("test_resnet", "lpft"), "unknown strategy 'lpft'"),
        (
            lambda: FineTuneClassifier(extractor(features="final.avg")),
            "features are final.avg; fine-tuning trains a head on 'pre_logits'",
        ),
        (lambda: FineTuneClassifier(extractor(), recipe={"x": 1}), "unknown setting of the recipe"),
    ],
)
def test_wrong_parameters(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make().fit(IMAGES, LABELS)


def test_weights_of_samples_are_refused():
    with pytest.raises(ValueError, match="sample_weight was given, and fine-tuning weighs no sin"):
        classifier().fit(IMAGES, LABELS, sample_weight=np.ones(24))


def test_a_failed_fit_leaves_the_model(tmp_path):
    model = classifier(tmp_path).fit(IMAGES, LABELS)
    before = model.predict(IMAGES)
    with pytest.raises(ValueError, match="all of one class"):
        model.fit(IMAGES, ["x"] * 24)
    np.testing.assert_array_equal(model.predict(IMAGES), before)


def test_without_a_folder_it_works_in_the_cache():
    from transferkit.folders import cache_folder

    model = classifier().fit(IMAGES, LABELS)
    assert model.folder_.parent == cache_folder() / "finetuned"


def test_its_names_are_public():
    assert transferkit.FineTuneClassifier is FineTuneClassifier
    assert transferkit.FineTuneRegressor is FineTuneRegressor
