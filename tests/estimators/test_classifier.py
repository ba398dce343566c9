import copy
import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from tests.pictures import coloured, picture
from transferkit.backbones import create_backbone
from transferkit.estimators import FeatureExtractor, TransferClassifier
from transferkit.heads import create_head
from transferkit.images import UnreadableImages, list_images

IMAGES, CODES = coloured(10)
NEW_IMAGES, NEW_CODES = coloured(4, seed=1)


def tiny(**options):
    return FeatureExtractor("test_resnet", pretrained=False, image_size=64, **options)


def classifier(head="linear", **options):
    return TransferClassifier(tiny(**options), head)


def features_of(images):
    return tiny().transform(images)


def save(images, names, folder):
    for image, name in zip(images, names, strict=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


# ---- labels -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["Zebra", "apple", "Äpfel"]),
        np.array([300, -1, 7]),
        np.array([2.0, 0.0, 1.0]),
        np.array(["cat", "Cat", "CAT"], dtype=object),
        np.array([3, 1, 2], dtype=np.uint8),
    ],
    ids=["str", "int", "float", "object", "uint8"],
)
def test_labels_come_back_as_written(labels):
    y = labels[CODES]
    model = classifier().fit(IMAGES, y)
    predicted = model.predict(NEW_IMAGES)
    assert predicted.dtype == labels.dtype
    assert predicted.tolist() == labels[NEW_CODES].tolist()
    assert model.classes_.tolist() == sorted(labels.tolist())
    assert model.score(NEW_IMAGES, labels[NEW_CODES]) == 1
    assert model.score(NEW_IMAGES, labels[(NEW_CODES + 1) % 3]) == 0
    probabilities = model.predict_proba(NEW_IMAGES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (model.classes_[probabilities.argmax(axis=1)] == predicted).all()
    assert model.decision_function(NEW_IMAGES).shape == (12, 3)


def test_bool_labels_and_lists():
    model = classifier().fit(list(IMAGES), (CODES == 1).tolist())
    predicted = model.predict(NEW_IMAGES)
    assert predicted.dtype == bool
    assert predicted.tolist() == (NEW_CODES == 1).tolist()
    assert model.decision_function(NEW_IMAGES).shape == (12,)


def test_predictions_are_those_of_the_head_on_the_features():
    model = classifier().fit(IMAGES, CODES)
    head = create_head("linear").fit(features_of(IMAGES), CODES)
    X = features_of(NEW_IMAGES)
    np.testing.assert_array_equal(model.predict_proba(NEW_IMAGES), head.predict_proba(X))
    np.testing.assert_array_equal(model.decision_function(NEW_IMAGES), head.decision_function(X))
    np.testing.assert_array_equal(model.predict_features(X), head.predict(X))


# ---- folders, tables, splits --------------------------------------------------------

NAMES = np.array(["red", "green", "blue"])


def test_labels_of_folders_and_tables(tmp_path):
    names = [f"{NAMES[c]}/{i:02d}.png" for i, c in enumerate(CODES)]
    save(IMAGES, names, tmp_path / "folder")
    rows = [f"folder/{name},{name.split('/')[0]}" for name in names]
    (tmp_path / "table.csv").write_text("\n".join(["path,label", *rows]))
    given = classifier().fit(IMAGES, NAMES[CODES])
    expected = given.predict_proba(NEW_IMAGES)
    for source in (tmp_path / "folder", str(tmp_path / "table.csv")):
        model = classifier().fit(source)
        assert model.classes_.tolist() == ["blue", "green", "red"]
        assert model.predict(NEW_IMAGES).tolist() == NAMES[NEW_CODES].tolist()
        assert len(model.train_ids_) == 30
    # The table keeps the images' order, so even the held-out rows are the same.
    np.testing.assert_array_equal(model.predict_proba(NEW_IMAGES), expected)


def test_y_beats_the_labels_of_the_folders(tmp_path):
    names = [f"{NAMES[c]}/{i:02d}.png" for i, c in enumerate(CODES)]
    save(IMAGES, names, tmp_path)
    listed = list_images(tmp_path)
    y = np.array([label[0].upper() for label in listed.labels])
    model = classifier().fit(tmp_path, y)
    assert model.predict(NEW_IMAGES).tolist() == [NAMES[c][0].upper() for c in NEW_CODES]


@pytest.fixture
def noisy():
    """Training and validation parts of which the best C lies inside the path."""
    rng = np.random.default_rng(0)
    images = np.stack([picture(i) for i in range(60)])
    labels = NAMES[
        np.where(rng.random(60) < 0.3, rng.integers(0, 3, 60), images.mean((1, 2)).argmax(1))
    ]
    return images[:40], labels[:40], images[40:], labels[40:]


def by_hand(images, y, held_images, held_y, **parameters):
    head = create_head("linear", **parameters)
    return head.fit(features_of(images), y, validation=(features_of(held_images), held_y))


def test_split_folders_val_chooses_C(tmp_path, noisy):
    images, y, held_images, held_y = noisy
    test_images, test_codes = NEW_IMAGES, NEW_CODES
    save(images, [f"train/{label}/{i:02d}.png" for i, label in enumerate(y)], tmp_path)
    save(held_images, [f"val/{label}/{i:02d}.png" for i, label in enumerate(held_y)], tmp_path)
    names = [f"test/{NAMES[c]}/{i:02d}.png" for i, c in enumerate(test_codes)]
    save(test_images, names, tmp_path)
    model = classifier().fit(tmp_path)
    listed = list_images(tmp_path)
    train, val = listed.split("train"), listed.split("val")
    expected = by_hand(train, np.array(train.labels), val, np.array(val.labels))
    np.testing.assert_array_equal(
        model.predict_proba(test_images), expected.predict_proba(features_of(test_images))
    )
    assert model.head_.C_ == expected.C_
    losses = [point["log_loss"] for point in model.head_.C_path_]
    assert len(set(losses)) > 2
    ids = [row.tobytes() for row in model.train_ids_]
    assert ids == [*tiny().extract(train).ids, *tiny().extract(val).ids]
    assert not set(ids) & set(tiny().extract(listed.split("test")).ids)
    # Without the validation part it is another model.
    alone = classifier().fit(train)
    assert len(alone.train_ids_) == 40
    assert not np.array_equal(alone.predict_proba(test_images), model.predict_proba(test_images))


def test_validation_images_and_labels(noisy):
    images, y, held_images, held_y = noisy
    model = classifier().fit(images, y, validation=(held_images, held_y))
    expected = by_hand(images, y, held_images, held_y)
    X = features_of(NEW_IMAGES)
    np.testing.assert_array_equal(model.predict_proba(NEW_IMAGES), expected.predict_proba(X))
    assert len(model.train_ids_) == 60


def test_validation_folder(tmp_path, noisy):
    images, y, held_images, held_y = noisy
    save(held_images, [f"{label}/{i:02d}.png" for i, label in enumerate(held_y)], tmp_path)
    held = list_images(tmp_path)
    expected = by_hand(images, y, held, np.array(held.labels)).predict_proba(features_of(images))
    for given in (held, (tmp_path, None), (str(tmp_path), held.labels)):
        model = classifier().fit(images, y, validation=given)
        np.testing.assert_array_equal(model.predict_proba(images), expected)


def test_a_head_that_chooses_nothing_gets_both_parts(noisy):
    images, y, held_images, held_y = noisy
    head = KNeighborsClassifier(1)
    model = classifier(head).fit(images, y, validation=(held_images, held_y))
    assert model.predict(held_images).tolist() == held_y.tolist()
    alone = classifier(head).fit(images, y)
    assert alone.predict(held_images).tolist() != held_y.tolist()


def test_a_class_that_only_the_validation_part_has():
    rest = CODES < 2
    model = classifier().fit(IMAGES[rest], CODES[rest], validation=(IMAGES[~rest], CODES[~rest]))
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.predict_proba(NEW_IMAGES).shape == (12, 3)
    assert model.predict(NEW_IMAGES).tolist() == NEW_CODES.tolist()


def test_splits_without_a_training_part(tmp_path):
    save(IMAGES[:4], ["val/a/0.png", "val/b/1.png", "test/a/2.png", "test/b/3.png"], tmp_path)
    with pytest.raises(ValueError, match=r"splits \(val, test\), but none is 'train'"):
        classifier().fit(tmp_path)
    chosen = list_images(tmp_path).split("val")  # that's said plainly
    assert len(classifier().fit(chosen).train_ids_) == 2


# ---- unreadable images, weights -----------------------------------------------------


def test_skipping_drops_image_label_and_weight_together(tmp_path):
    names = [f"{i:02d}.png" for i in range(30)]
    save(IMAGES, names, tmp_path)
    paths = [tmp_path / name for name in names]
    bad = [0, 7, 8, 29]
    for i in bad:
        paths[i].write_bytes(b"no picture")
    good = np.setdiff1d(np.arange(30), bad)
    weights = np.linspace(0.1, 2, 30)
    with pytest.raises(UnreadableImages, match="4 of 30"):
        classifier().fit(paths, CODES)
    model = classifier().fit(paths, CODES, sample_weight=weights, on_error="skip")
    assert [f.index for f in model.failures_] == bad
    assert len(model.train_ids_) == 26
    head = create_head("linear").fit(
        features_of(IMAGES[good]), CODES[good], sample_weight=weights[good]
    )
    np.testing.assert_array_equal(
        model.predict_proba(NEW_IMAGES), head.predict_proba(features_of(NEW_IMAGES))
    )
    with pytest.raises(UnreadableImages, match=r"07\.png \(not an image"):
        model.predict(paths[5:8])
    again = model.fit(IMAGES, CODES)
    assert again.failures_ == []


def test_skipping_in_the_validation_part(tmp_path, noisy):
    images, y, held_images, held_y = noisy
    save(held_images, [f"{i:02d}.png" for i in range(20)], tmp_path)
    (tmp_path / "03.png").write_bytes(b"")
    good = np.arange(20) != 3
    model = classifier().fit(images, y, validation=(tmp_path, held_y), on_error="skip")
    expected = by_hand(images, y, held_images[good], held_y[good])
    X = features_of(NEW_IMAGES)
    np.testing.assert_array_equal(model.predict_proba(NEW_IMAGES), expected.predict_proba(X))
    assert [f.name for f in model.failures_] == ["03.png"]


def test_sample_weight_reaches_the_head():
    weights = np.where(CODES == 2, 0.0, 1.0)
    model = classifier(LogisticRegression(max_iter=2000)).fit(IMAGES, CODES, sample_weight=weights)
    assert not (model.predict(NEW_IMAGES) == 2).any()
    model = classifier("linear").fit(IMAGES, CODES, sample_weight=weights.tolist())
    assert not (model.predict(NEW_IMAGES) == 2).any()


def test_sample_weight_with_validation_and_any_head():
    weights = np.where(CODES == 2, 0.0, 1.0)
    model = classifier(LogisticRegression(max_iter=2000))
    model.fit(IMAGES, CODES, sample_weight=weights, validation=(NEW_IMAGES, NEW_CODES))
    both = np.concatenate([weights, np.ones(12)])
    expected = LogisticRegression(max_iter=2000).fit(
        features_of(np.concatenate([IMAGES, NEW_IMAGES])), np.concatenate([CODES, NEW_CODES]), both
    )
    np.testing.assert_array_equal(model.head_.coef_, expected.coef_)


# ---- heads --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        RandomForestClassifier(20, random_state=0),
        make_pipeline(StandardScaler(), SVC()),
        LinearSVC(random_state=0),
        KNeighborsClassifier(3),
    ],
    ids=lambda head: type(head).__name__,
)
def test_any_estimator_is_a_head(head):
    model = classifier(head)
    assert hasattr(model, "predict_proba") == hasattr(head, "predict_proba")
    model.fit(IMAGES, NAMES[CODES])
    assert model.head_ is not head
    assert not hasattr(head, "classes_")
    assert model.predict(NEW_IMAGES).tolist() == NAMES[NEW_CODES].tolist()
    plain = clone(head).fit(features_of(IMAGES), NAMES[CODES])
    X = features_of(NEW_IMAGES)
    for method in ("predict_proba", "decision_function"):
        assert hasattr(model, method) == hasattr(plain, method)
        if hasattr(plain, method):
            np.testing.assert_allclose(
                getattr(model, method)(NEW_IMAGES), getattr(plain, method)(X), rtol=1e-6
            )


def test_no_probabilities_where_the_head_has_none():
    model = classifier(LinearSVC()).fit(IMAGES, CODES)
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba(NEW_IMAGES)


# ---- parameters, copies -------------------------------------------------------------


def test_parameters_of_a_head_given_by_name():
    model = classifier("linear")
    assert model.get_params()["head__C"] == "auto"
    assert "head__C" not in model.get_params(deep=False)
    assert model.get_params()["backbone__image_size"] == 64
    copied = clone(model).set_params(head__C=0.5, head__tol=1e-3, backbone__features="final.max")
    assert (copied.head.C, copied.head.tol) == (0.5, 1e-3)
    assert model.head == "linear"
    copied.fit(IMAGES, CODES)
    assert copied.head_.C_ == 0.5
    assert copied.extractor_.features == "final.max"
    assert model.set_params(head=LinearSVC(), head__C=3.0).head.C == 3.0
    assert model.set_params(head="linear", head__C=2.0).head.C == 2.0
    with pytest.raises(ValueError, match="alpha"):
        classifier().set_params(head__alpha=1)


def test_grid_search_over_the_head_and_its_parameters():
    search = GridSearchCV(
        classifier(),
        [{"head__C": [1e-5, 1.0]}, {"head": [KNeighborsClassifier()], "head__n_neighbors": [1, 3]}],
        cv=2,
    ).fit(IMAGES, NAMES[CODES])
    assert len(search.cv_results_["params"]) == 4
    assert search.predict(NEW_IMAGES).tolist() == NAMES[NEW_CODES].tolist()


def test_copies_of_a_fitted_model(builds):
    model = classifier().fit(IMAGES, NAMES[CODES])
    expected = model.predict_proba(NEW_IMAGES)
    assert len(builds) == 1
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        other.extractor_.set_params(store=False)
        np.testing.assert_array_equal(other.predict_proba(NEW_IMAGES), expected)
    with pytest.raises(NotFittedError):
        clone(model).predict(NEW_IMAGES)
    assert len(pickle.dumps(model)) < 100_000
    refitted = clone(model).fit(IMAGES, NAMES[CODES])
    np.testing.assert_array_equal(refitted.predict_proba(NEW_IMAGES), expected)
    assert len(builds) == 1


def test_a_backbone_object_is_shared_by_clones(builds):
    backbone = create_backbone("test_resnet", pretrained=False, image_size=64)
    model = TransferClassifier(backbone, store=False).fit(IMAGES, CODES)
    assert model.extractor_.backbone is backbone
    assert clone(model).backbone is backbone
    assert copy.deepcopy(model).extractor_.backbone is backbone
    assert model.predict(NEW_IMAGES).tolist() == NEW_CODES.tolist()
    assert len(builds) == 1


def test_options_given_to_the_classifier(tmp_path):
    backbone = create_backbone("test_resnet", pretrained=False, image_size=64)
    model = TransferClassifier(
        backbone, features=["final", "stage2.max"], store=tmp_path, batch_size=3, device="cpu"
    ).fit(IMAGES, CODES)
    assert model.head_.n_features_in_ == 96 + 48
    assert sorted(info.spec.feature for info in model.extractor_.open_store().list_keys()) == [
        "final.avg",
        "stage2.max",
    ]
    assert model.extractor_.open_store().path == tmp_path
    assert (model.extractor_.batch_size, model.extractor_.device) == (3, "cpu")


def test_the_given_extractor_is_not_the_fitted_one():
    extractor = tiny()
    model = TransferClassifier(extractor).fit(IMAGES, CODES)
    assert model.extractor_ is not extractor
    assert model.extractor_.get_params() == extractor.get_params()


# ---- errors -------------------------------------------------------------------------


def test_errors_of_labels(tmp_path):
    model = classifier()
    with pytest.raises(ValueError, match="the training images have no labels; put each class"):
        model.fit(IMAGES)
    with pytest.raises(ValueError, match="30 training images, but 29 labels; give one per image"):
        model.fit(IMAGES, CODES[:-1])
    with pytest.raises(ValueError, match="12 validation images, but 30 labels"):
        model.fit(IMAGES, CODES, validation=(NEW_IMAGES, CODES))
    with pytest.raises(ValueError, match="the validation images have no labels"):
        model.fit(IMAGES, CODES, validation=(NEW_IMAGES, None))
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(IMAGES, np.linspace(0, 1, 30))
    save(IMAGES[:4], ["a/0.png", "b/1.png", "2.png", "b/3.png"], tmp_path)
    with pytest.raises(ValueError, match=r"1 of 4 training images have no label.*'2\.png'"):
        model.fit(tmp_path)
    # A folder's images are counted too, whichever way there are too few or too many labels.
    for n in (3, 5):
        with pytest.raises(ValueError, match=f"4 training images, but {n} labels"):
            model.fit(tmp_path, CODES[:n])
        with pytest.raises(ValueError, match=f"4 validation images, but {n} labels"):
            model.fit(IMAGES, CODES, validation=(str(tmp_path), CODES[:n]))


@pytest.mark.parametrize("odd", [None, float("nan")])
def test_an_image_without_a_label_is_named(odd):
    labels = np.array(["red", "green", "blue"], dtype=object)[CODES]
    labels[7] = odd
    with pytest.raises(ValueError, match=r"the label of image 7 is (None|nan); give it a label"):
        classifier().fit(IMAGES, labels)
    with pytest.raises(ValueError, match="the label of image 3 is nan"):
        classifier().fit(IMAGES, np.where(np.arange(30) == 3, np.nan, CODES))


def test_labels_of_two_kinds_are_refused():
    labels = CODES.astype(object)
    labels[4] = "four"
    with pytest.raises(ValueError, match=r"image 0 is \d and that of image 4 is 'four'"):
        classifier().fit(IMAGES, labels)


WEIGHTS = {"red": 1.0, "green": 30.0, "blue": 1.0}


@pytest.mark.parametrize("labels", [["red", "green", "blue"], [7, 1, 2]], ids=["str", "int"])
def test_class_weights_go_by_label(labels, tmp_path):
    y, noise = np.array(labels)[CODES], np.random.default_rng(0).integers(0, 3, 30)
    y[:20] = np.array(labels)[noise[:20]]  # so that a weight changes something
    weights = dict(zip(labels, WEIGHTS.values(), strict=True))
    model = classifier(create_head("ridge", alpha=1.0, class_weight=weights)).fit(IMAGES, y)
    each = np.array([weights[label] for label in y.tolist()])
    by_sample = classifier(create_head("ridge", alpha=1.0)).fit(IMAGES, y, sample_weight=each)
    np.testing.assert_allclose(
        model.decision_function(IMAGES), by_sample.decision_function(IMAGES), atol=1e-4
    )
    assert (model.predict(IMAGES) != classifier("ridge").fit(IMAGES, y).predict(IMAGES)).any()
    assert model.head.class_weight == weights
    # On the command line every key is a string; inside a pipeline the parameter has a prefix.
    texts = {str(label): weight for label, weight in weights.items()}
    inner = make_pipeline(StandardScaler(), LogisticRegression(class_weight=texts, max_iter=1000))
    assert set(classifier(inner).fit(IMAGES, y).predict(IMAGES)) <= set(labels)
    again = TransferClassifier.load(model.save(tmp_path / "m"))
    assert again.head.class_weight == weights
    again.fit(IMAGES, y)
    np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))
    with pytest.raises(ValueError, match="unknown class in class_weight: 'rad'"):
        classifier(create_head("ridge", class_weight={"rad": 2})).fit(IMAGES, y)


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    model = classifier().fit(IMAGES, CODES)
    before = dict(vars(model))
    expected = model.predict(NEW_IMAGES)
    for bad in ({"on_error": "foo"}, {"sample_weight": np.ones(3)}):
        with pytest.raises(ValueError, match=r"foo|sample_weight"):
            model.fit(IMAGES[::-1], CODES, **bad)
    with pytest.raises(ValueError, match="one class"):
        model.fit(IMAGES, np.zeros(30, int))
    assert vars(model) == before
    np.testing.assert_array_equal(model.predict(NEW_IMAGES), expected)
    with pytest.raises(NotFittedError, match="TransferClassifier"):
        classifier().predict(NEW_IMAGES)


def test_labels_of_two_types_are_refused():
    # NumPy would make the strings "0", "1", "2" of these.
    with pytest.raises(ValueError, match="give labels of the same type"):
        classifier().fit(IMAGES, CODES, validation=(NEW_IMAGES, NEW_CODES.astype(str)))


@pytest.mark.parametrize("n", [29, 31])
def test_wrong_number_of_weights(n):
    with pytest.raises(ValueError, match=f"sample_weight has {n} values for 30 images"):
        classifier().fit(IMAGES, CODES, sample_weight=np.ones(n))


def test_errors_of_names_and_options():
    with pytest.raises(ValueError, match=r"head 'linaer'.*did you mean 'linear'"):
        classifier("linaer").fit(IMAGES, CODES)
    with pytest.raises(TypeError, match="give an object"):
        classifier(LinearSVC).fit(IMAGES, CODES)
    with pytest.raises(ValueError, match="stage9"):
        classifier(features="stage9").fit(IMAGES, CODES)
    with pytest.raises(ValueError, match=r"'final\.map' is a map, and a head takes vectors"):
        classifier(features="final.map").fit(IMAGES, CODES)
    with pytest.raises(NotFittedError):
        classifier().predict(IMAGES)
    with pytest.raises(ValueError, match="on_error is 'drop'"):
        classifier().fit(IMAGES, CODES, on_error="drop")


def test_options_beside_an_extractor_come_before_its_own(tmp_path):
    beside = TransferClassifier(tiny(), features="stage1.avg", store=tmp_path / "store")
    beside.fit(IMAGES, CODES)
    inside = TransferClassifier(tiny(features="stage1.avg")).fit(IMAGES, CODES)
    assert beside.extractor_.features == "stage1.avg"
    assert beside.backbone.features == "pre_logits"  # the parameter stays as it was given
    assert (tmp_path / "store").exists()
    np.testing.assert_array_equal(beside.predict_proba(IMAGES), inside.predict_proba(IMAGES))


@pytest.mark.parametrize("name", ["features", "backbone__features"])
@pytest.mark.parametrize("backbone", ["extractor", "name"])
def test_a_search_over_features(name, backbone, tmp_path):
    made = tiny() if backbone == "extractor" else "bundled:mobilenetv2_050_distilled"
    model = TransferClassifier(made, "ridge")
    sets = ["stage1.max", ["stage2.avg", "pre_logits"]]
    search = GridSearchCV(model, {name: sets}, cv=2).fit(IMAGES, CODES)
    assert search.best_estimator_.extractor_.features in sets
    widths = [clone(model).set_params(**{name: f}).fit(IMAGES, CODES) for f in sets]
    assert len({m.head_.n_features_in_ for m in widths}) == 2


def test_parameters_of_a_backbone_given_by_name():
    model = TransferClassifier("test_resnet").set_params(backbone__image_size=32, head="knn")
    assert isinstance(model.backbone, FeatureExtractor)
    assert (model.backbone.backbone, model.backbone.image_size) == ("test_resnet", 32)
    with pytest.raises(ValueError, match="Invalid parameter 'extractor' for"):
        model.set_params(extractor__features="final")


# ---- features, groups, copies -------------------------------------------------------


def test_features_instead_of_images(noisy):
    images, y, held_images, held_y = noisy
    X, X_held = features_of(images), features_of(held_images)
    expected = classifier().fit(images, y, validation=(held_images, held_y))
    model = classifier().fit_features(X, y, validation=(X_held, held_y))
    np.testing.assert_array_equal(
        model.predict_proba(NEW_IMAGES), expected.predict_proba(NEW_IMAGES)
    )
    assert model.train_ids_.shape == (0, 16)
    ids = [*tiny().extract(images).ids, *tiny().extract(held_images).ids]
    model.fit_features(X, y, validation=(X_held, held_y), ids=ids)
    np.testing.assert_array_equal(model.train_ids_, expected.train_ids_)
    weights = np.linspace(0.1, 2, 40)
    np.testing.assert_array_equal(
        model.fit_features(X, y, sample_weight=weights).predict_proba(NEW_IMAGES),
        classifier().fit(images, y, sample_weight=weights).predict_proba(NEW_IMAGES),
    )


def test_features_that_do_not_fit():
    X = np.zeros((4, 3), np.float32)
    for arguments, options, words in (
        ((X, list("aabb")), {"ids": [b"a" * 16]}, "1 ids for 4 rows; give one per row"),
        ((X, list("aabb")), {"groups": [1, 2]}, "2 groups for 4 rows"),
        ((X, list("aab")), {}, r"features of shape \(4, 3\) and 3 targets"),
        ((X[0], list("aab")), {}, r"features of shape \(3,\)"),
        ((X, list("aabb")), {"sample_weight": [1.0]}, "sample_weight has 1 values for 4 images"),
    ):
        with pytest.raises(ValueError, match=words):
            classifier().fit_features(*arguments, **options)


def test_groups_stay_together_where_C_is_chosen(noisy, monkeypatch):
    images, y, *_ = noisy
    groups = [f"g{i // 4}" for i in range(40)]
    head = type(create_head("linear"))
    seen = []
    fit = head.fit

    def recorded(self, X, y, validation=None, **options):
        seen.append((X, validation))
        return fit(self, X, y, validation=validation, **options)

    recorded.__signature__ = __import__("inspect").signature(fit)
    monkeypatch.setattr(head, "fit", recorded)
    model = classifier().fit(images, y, groups=groups)
    X = features_of(images)
    row_of = {row.tobytes(): i for i, row in enumerate(X)}
    train = {groups[row_of[row.tobytes()]] for row in seen[0][0]}
    held = {groups[row_of[row.tobytes()]] for row in seen[0][1][0]}
    assert len(held) == 2
    assert train | held == set(groups)
    assert not train & held
    # The model knows its images in the order in which they were given.
    assert [row.tobytes() for row in model.train_ids_] == list(tiny().extract(images).ids)
    seen.clear()
    classifier().fit(np.concatenate([images, images]), [*y, *y])  # copies are groups too
    train = {row.tobytes() for row in seen[0][0]}
    assert not train & {row.tobytes() for row in seen[0][1][0]}
    seen.clear()
    classifier().fit(images, y)
    classifier(create_head("linear", folds=3)).fit(images, y, groups=groups)
    classifier().fit(images, y, groups=groups, sample_weight=np.ones(40))
    assert [validation for _, validation in seen] == [None] * 3
    with pytest.raises(ValueError, match="40 items, but 3 groups; give one of each per image"):
        classifier().fit(images, y, groups=[1, 2, 3])


def test_copies_in_the_validation_part_choose_nothing(noisy, caplog):
    images, y, held_images, held_y = noisy
    with_copies = np.concatenate([held_images, images[:8]]), np.concatenate([held_y, y[:8]])
    model = classifier().fit(images, y, validation=with_copies)
    assert (
        "of 28 validation images 8 have the same bytes as training images: these are trained on, "
        "and choose nothing" in caplog.text
    )
    expected = by_hand(
        np.concatenate([images, images[:8]]), np.concatenate([y, y[:8]]), held_images, held_y
    )
    np.testing.assert_array_equal(
        model.predict_proba(NEW_IMAGES), expected.predict_proba(features_of(NEW_IMAGES))
    )
    assert len(model.train_ids_) == 68
    all_copies = classifier().fit(images, y, validation=(images, y))
    assert len(all_copies.train_ids_) == 80


def test_val_is_left_to_measure_with(tmp_path, noisy):
    images, y, held_images, held_y = noisy
    save(images, [f"train/{label}/{i:02d}.png" for i, label in enumerate(y)], tmp_path)
    save(held_images, [f"val/{label}/{i:02d}.png" for i, label in enumerate(held_y)], tmp_path)
    listed = list_images(tmp_path)
    model = classifier().fit(tmp_path)
    alone = classifier().fit(listed.split("train"))
    np.testing.assert_array_equal(model.train_ids_, alone.train_ids_)
    assert model.head_.C_ == alone.head_.C_
    assert len(classifier().fit(tmp_path, validation=listed.split("val")).train_ids_) == 60


def test_out_of_fold(noisy):
    from transferkit.datasets import Dataset, folds
    from transferkit.estimators import fit_folds

    images, y, *_ = noisy
    X = features_of(images)
    fold_of = folds(40, 4, 0, labels=y)
    model = classifier().fit_features(X, y)
    of_folds = fit_folds(model, Dataset(X=X, y=y), fold_of)
    predicted, proba = of_folds.predict_features(X), of_folds.predict_proba_features(X)
    for k in range(4):
        rows = fold_of == k
        head = create_head("linear").fit(X[~rows], y[~rows])
        assert predicted[rows].tolist() == head.predict(X[rows]).tolist()
        np.testing.assert_array_equal(proba[rows], head.predict_proba(X[rows]))
    assert of_folds.classes_.tolist() == model.classes_.tolist()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        of_folds.nothing  # noqa: B018
