import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from tests.pictures import coloured, picture
from transferkit.estimators import (
    FeatureExtractor,
    NoActivationMaps,
    TransferClassifier,
    TransferRegressor,
    class_activation_maps,
)
from transferkit.heads import create_head, linear_map

IMAGES, CODES = coloured(6)
NEW = coloured(2, seed=1)[0]


def tiny(name="test_resnet", features="final.avg", size=64):
    return FeatureExtractor(name, features, pretrained=False, image_size=size, store=False)


def scores_of(model, images):
    """What the head itself says, a column for each class."""
    rows = model.extractor_.transform(images)
    scores = np.asarray(model.head_.decision_function(rows))
    return scores if scores.ndim > 1 else np.stack([-scores, scores], axis=1)


HEADS = {
    "linear": create_head("linear", C=1.0),
    "ridge": create_head("ridge"),
    "lda": create_head("lda"),
    "svm": create_head("svm", kernel="linear", C=1.0),
    "scikit-learn's": LogisticRegression(),
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_the_mean_of_a_map_is_the_score(head, n_classes):
    kept = n_classes > CODES
    model = TransferClassifier(tiny(), head).fit(IMAGES[kept], CODES[kept])
    for code in range(n_classes):
        found = class_activation_maps(model, NEW, [code] * len(NEW))
        assert found.scores.shape == (len(NEW), 2, 2)
        expected = scores_of(model, NEW)[:, code]
        assert np.allclose(found.scores.mean((1, 2)), expected, rtol=1e-4, atol=1e-4)
        assert found.scores.std((1, 2)).min() > 0  # places differ


@pytest.mark.parametrize(
    ("name", "feature", "size", "shape"),
    [
        ("test_resnet", "pre_logits", 64, (2, 2)),
        ("test_resnet", "stage2.avg", 64, (8, 8)),
        # Without its class token, which is no place of the image.
        ("test_vit", "final.avg", 160, (10, 10)),
        ("test_vit", "block1.avg_norm", 160, (10, 10)),
    ],
)
def test_of_convolutional_networks_and_transformers(name, feature, size, shape):
    model = TransferClassifier(tiny(name, feature, size), "lda").fit(IMAGES, CODES)
    said = model.predict(NEW)
    found = class_activation_maps(model, NEW, said)
    expected = scores_of(model, NEW)[np.arange(len(NEW)), said]
    assert found.scores.shape == (len(NEW), *shape)
    assert np.allclose(found.scores.mean((1, 2)), expected, rtol=1e-4, atol=1e-4)
    assert found.image_size == (size, size)


@pytest.mark.parametrize(
    "head", ["ridge", create_head("svm", "regression", kernel="linear", C=1.0)]
)
def test_of_numbers_the_mean_is_the_prediction(head):
    y = np.stack([IMAGES.mean((1, 2, 3)), 100 + 3 * IMAGES[..., 0].mean((1, 2))], axis=1)
    model = TransferRegressor(tiny(), head).fit(IMAGES, y)
    for j in range(2):
        found = class_activation_maps(model, NEW, [j] * len(NEW))
        expected = model.predict(NEW)[:, j]
        assert found.scores.mean((1, 2)) == pytest.approx(expected, rel=1e-4)


def test_of_several_labels_each_has_its_own():
    y = np.stack([CODES == 0, CODES != 1], axis=1).astype(int)
    model = TransferClassifier(tiny(), create_head("linear", C=1.0)).fit(IMAGES, y)
    scores = model.head_.decision_function(model.extractor_.transform(NEW))
    for j in range(2):
        found = class_activation_maps(model, NEW, [j] * len(NEW))
        assert np.allclose(found.scores.mean((1, 2)), scores[:, j], rtol=1e-4, atol=1e-4)


def test_places_are_where_they_are_in_the_image(tmp_path):
    """The centre crop of a wide image: the frame leads from its px to the network's."""
    Image.fromarray(picture(0, (100, 200))).save(tmp_path / "wide.png")
    model = TransferClassifier(tiny(), "lda").fit(IMAGES, CODES)
    found = class_activation_maps(model, [tmp_path / "wide.png"], [0])
    assert found.sizes == [(100, 200)]
    ((x, y),) = found.frames[0].forward_points([[100, 50]])
    assert (x, y) == pytest.approx((32, 32), abs=0.51)
    ((left, _),) = found.frames[0].forward_points([[0, 50]])
    assert left < 0  # cropped away


@pytest.mark.parametrize(
    ("features", "head", "reason"),
    [
        ("final.max", "lda", "'final.max' isn't the mean of a map"),
        ("logits", "lda", "'logits' isn't the mean of a map"),
        ("stage1.avg,final.avg", "lda", "2 features side by side"),
        ("final.avg", "knn", r"KNNClassifier\) aren't linear"),
        ("final.avg", "svm", r"SVMClassifier\) aren't linear"),
        ("final.avg", "centroid", r"CentroidClassifier\) aren't linear"),
    ],
)
def test_says_why_there_is_none(features, head, reason):
    model = TransferClassifier(tiny(features=features), head).fit(IMAGES, CODES)
    with pytest.raises(NoActivationMaps, match=reason):
        class_activation_maps(model, NEW, [0] * len(NEW))


def test_pre_logits_that_are_no_mean_are_found_out():
    """The class token after the last norm, or a norm after the pooling: neither is a mean."""
    model = TransferClassifier(tiny("test_vit", "pre_logits", 160), "lda").fit(IMAGES, CODES)
    with pytest.raises(NoActivationMaps, match=r"'pre_logits' isn't the mean.*'final.avg'"):
        class_activation_maps(model, NEW, [0] * len(NEW))


def test_classes_are_checked():
    model = TransferClassifier(tiny(), "lda").fit(IMAGES, np.array(["a", "b", "c"])[CODES])
    with pytest.raises(ValueError, match="unknown class 'd'"):
        class_activation_maps(model, NEW[:1], ["d"])
    with pytest.raises(ValueError, match="2 images and 1 classes"):
        class_activation_maps(model, NEW[:2], ["a"])


def test_heads_that_are_not_linear_have_no_coefficients():
    X, y = np.random.default_rng(0).normal(size=(30, 4)), np.arange(30) % 3
    for name in ("knn", "forest", "mlp", "centroid", "svm"):
        assert linear_map(create_head(name).fit(X, y)) is None
