import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from tests.pictures import picture
from transferkit import FeatureExtractor, TransferClassifier, TransferRegressor
from transferkit.estimators import load_estimator


@pytest.fixture
def lights():
    """Forty pictures and how light they are."""
    levels = np.random.default_rng(0).uniform(0.2, 1, 40)
    images = np.stack([(picture(i) * f).astype(np.uint8) for i, f in enumerate(levels)])
    return images, images.reshape(40, -1).mean(axis=1)


@pytest.fixture
def extractor(tmp_path):
    return FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, features="stage1.avg", store=tmp_path / "s"
    )


def test_head_is_fitted_on_the_features(lights, extractor):
    images, y = lights
    model = TransferRegressor(extractor, Ridge(alpha=0.1)).fit(images, y)
    expected = Ridge(alpha=0.1).fit(extractor.transform(images), y)
    np.testing.assert_allclose(model.predict(images), expected.predict(extractor.transform(images)))
    assert model.score(images, y) == pytest.approx(expected.score(extractor.transform(images), y))


@pytest.mark.parametrize("head", ["linear", "ridge", "knn", "forest"])
def test_heads_by_name_and_files(lights, extractor, tmp_path, head):
    images, y = lights
    model = TransferRegressor(extractor, head).fit(images, y)
    model.save(tmp_path / "model")
    loaded = TransferRegressor.load(tmp_path / "model", store=tmp_path / "s")
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))
    assert isinstance(load_estimator(tmp_path / "model"), TransferRegressor)
    with pytest.raises(ValueError, match=r"load it with TransferRegressor\.load"):
        TransferClassifier.load(tmp_path / "model")


def test_several_targets(lights, extractor):
    images, y = lights
    both = np.stack([y, -y], axis=1)
    model = TransferRegressor(extractor).fit(images, both)
    predicted = model.predict(images)
    assert predicted.shape == (40, 2)
    np.testing.assert_allclose(predicted[:, 0], -predicted[:, 1], atol=1e-3)
    assert model.target_names_.tolist() == [0, 1]


def test_validation_images_choose(lights, extractor):
    images, y = lights
    model = TransferRegressor(extractor).fit(images[:30], y[:30], validation=(images[30:], y[30:]))
    assert len(model.train_ids_) == 40


def test_grid_search_over_the_head(lights, extractor):
    images, y = lights
    search = GridSearchCV(
        TransferRegressor(extractor, Ridge()), {"head__alpha": [1e-3, 1e3]}, cv=3
    ).fit(images, y)
    assert search.best_params_ == {"head__alpha": 1e-3}
    assert clone(search.best_estimator_).head.alpha == 1e-3


def test_what_is_no_number_is_named(lights, extractor):
    images, y = lights
    for bad, words in ((["x"] + ["1"] * 39, "label of image 0 is 'x'"), ([np.nan, *y[1:]], "nan")):
        with pytest.raises(ValueError, match=words):
            TransferRegressor(extractor).fit(images, bad)
    with pytest.raises(ValueError, match="40 training images, but 39 labels"):
        TransferRegressor(extractor).fit(images, y[1:])


def test_several_labels_per_image(lights, extractor, tmp_path):
    images, y = lights
    matrix = np.stack([y > np.quantile(y, 0.3), y < np.quantile(y, 0.7)], axis=1).astype(int)
    model = TransferClassifier(extractor).fit(images, matrix)
    assert model.is_multilabel_
    assert model.predict(images).shape == (40, 2)
    assert set(np.unique(model.predict(images))) <= {0, 1}
    assert model.score(images, matrix) > 0.7
    proba = model.predict_proba(images)
    np.testing.assert_array_equal(model.predict(images), (proba > 0.5).astype(int))
    model.save(tmp_path / "model")
    loaded = TransferClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(images), model.predict(images))
    with pytest.raises(
        ValueError, match=r"column 0 of image \d+ is 2; numbers are learnt by regression"
    ):
        TransferClassifier(extractor).fit(images, matrix + 1)
