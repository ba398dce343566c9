"""Images of other kinds than files, through the extractor and the estimators."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.sources.tables import encoded, hugging_face
from tests.pictures import coloured, picture, write_pictures
from transferkit.estimators import (
    FeatureExtractor,
    FineTuneClassifier,
    TransferClassifier,
    TransferRegressor,
)
from transferkit.export import export_model
from transferkit.images import UnreadableImages, list_images
from transferkit.images import items as items_module
from transferkit.store import FeatureStore

pytestmark = pytest.mark.suites

IMAGES, CODES = coloured(6)
NAMES = np.array(["red", "green", "blue"])[CODES]


def tiny(**options):
    return FeatureExtractor("test_resnet", pretrained=False, image_size=64, **options)


@pytest.fixture
def paths(tmp_path):
    return write_pictures(tmp_path / "images", range(6))


@pytest.fixture
def coloured_paths(tmp_path):
    files = [tmp_path / f"{i:02}.png" for i in range(len(IMAGES))]
    for file, pixels in zip(files, IMAGES, strict=True):
        Image.fromarray(pixels).save(file)
    return files


def test_the_same_bytes_are_the_same_row_wherever_they_come_from(paths, tmp_path):
    store = FeatureStore(tmp_path / "store")
    expected = tiny(store=store).extract(paths)
    contents = [path.read_bytes() for path in paths]
    for source in (
        contents,
        [io.BytesIO(data) for data in contents],
        [{"bytes": data, "path": None} for data in contents],
        hugging_face([picture(i) for i in range(6)], range(6)),
    ):
        extraction = tiny(store=store).extract(source)
        assert extraction.ids == expected.ids
        assert extraction.n_computed == 0
        np.testing.assert_array_equal(
            extraction.rows["pre_logits"], expected.rows["pre_logits"], strict=True
        )


def test_a_data_set_is_kept_in_the_default_store_and_trained_on(builds):
    table = hugging_face(IMAGES, CODES, names=("red", "green", "blue"))
    classifier = TransferClassifier(tiny()).fit(table)
    assert classifier.classes_.tolist() == ["blue", "green", "red"]
    assert classifier.predict(table).tolist() == NAMES.tolist()
    (info,) = FeatureStore().list_keys()
    assert info.n_rows == len(IMAGES)
    n_built = len(builds)
    assert tiny().extract(table).n_computed == 0
    assert len(builds) == n_built


class Changing(items_module.LazyImage):
    """Another image whenever it is read."""

    def __init__(self, seeds):
        self.seeds = list(seeds)

    def read(self):
        return picture(self.seeds.pop(0))


def test_a_data_set_that_changes_its_images_gets_the_row_of_what_was_decoded():
    images = list_images([picture(9), picture(9)])
    items = (Changing([1, 2]), picture(5))
    changing = type(images)(items, images.names)
    extraction = tiny(store=False).extract(changing)
    expected = tiny(store=False).extract([picture(2), picture(5)])
    assert extraction.ids == expected.ids
    np.testing.assert_array_equal(extraction.rows["pre_logits"], expected.rows["pre_logits"])


def test_a_data_set_that_fails_is_named():
    images = list_images(hugging_face([picture(0), picture(1)], [0, 1]))
    images.items[1].rows.columns_["image"][1] = {"bytes": None, "path": "nowhere.png"}
    with pytest.raises(UnreadableImages, match=r"1 of 2 .*image 1 \(No such file"):
        tiny(store=False).extract(images)


def test_what_extraction_tells_of_its_images(paths):
    paths[2].write_bytes(b"")
    extraction = tiny(store=False).extract(paths, on_error="skip")
    assert extraction.paths == tuple(str(p) for i, p in enumerate(paths) if i != 2)
    folder = tiny(store=False).extract(paths[0].parent, on_error="skip")
    assert folder.paths == ("000.png", "001.png", "003.png", "004.png", "005.png")
    assert folder.hex_ids == tuple(row.hex() for row in extraction.ids)


# ---- images in memory and the default store ----


def in_memory(kind):
    make = {"bytes": encoded, "open": lambda p: io.BytesIO(encoded(p)), "PIL": Image.fromarray}
    return [make.get(kind, np.asarray)(pixels) for pixels in IMAGES]


@pytest.mark.parametrize("kind", ["bytes", "open", "PIL", "array"])
def test_images_in_memory_are_not_in_the_default_store(kind, tmp_path):
    classifier = TransferClassifier(tiny()).fit(in_memory(kind), NAMES)
    classifier.save(tmp_path / "model")
    served = TransferClassifier.load(tmp_path / "model")
    for image in in_memory(kind)[:5]:
        assert served.predict([image])[0] in NAMES
        served.extractor_.transform([image])
        served.extractor_.plan([image])
    FineTuneClassifier(
        tiny(), "last-1-stages", recipe={"epochs": 1, "views": 1}, folder=tmp_path / "run"
    ).fit(in_memory(kind), NAMES)
    assert not FeatureStore().path.exists()


def test_a_store_that_is_named_keeps_images_in_memory(tmp_path):
    tiny(store=tmp_path / "store").transform(IMAGES)
    assert FeatureStore(tmp_path / "store").list_keys()[0].n_rows == len(IMAGES)


def test_one_image_in_memory_is_enough(paths):
    tiny().transform([*paths, picture(0)])
    tiny().transform([[paths[0], picture(0)]])
    assert not FeatureStore().path.exists()
    tiny().transform([[paths[0], paths[1]]])
    assert FeatureStore().list_keys()[0].n_rows == 2  # a row of each image


@pytest.fixture
def computed(monkeypatch):
    """Numbers of images that are computed from now on, by call."""
    from transferkit.estimators import extractor as module

    numbers = []
    extract = module.extract

    def counted(*args, **options):
        extraction = extract(*args, **options)
        numbers.append(extraction.n_computed)
        return extraction

    monkeypatch.setattr(module, "extract", counted)
    return numbers


@pytest.mark.parametrize("kind", ["classifier", "pipeline"])
def test_a_search_over_arrays_computes_each_image_about_once(kind, computed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    images, codes = coloured(8, seed=7)
    if kind == "classifier":
        model, grid = TransferClassifier(tiny(), "ridge"), {"head__alpha": [0.1, 1.0, 10.0]}
    else:
        head = LogisticRegression(max_iter=2000)
        model, grid = make_pipeline(tiny(), head), {"logisticregression__C": [0.01, 0.1, 1.0]}
    GridSearchCV(model, grid, cv=3).fit(images, codes)
    # The first fold's test part is only predicted, and so computed once more.
    assert sum(computed) == len(images) + len(images) // 3
    assert not FeatureStore().path.exists()


def test_what_is_only_predicted_is_not_remembered(computed):
    images, codes = coloured(4, seed=8)
    classifier = TransferClassifier(tiny()).fit(images[:8], codes[:8])
    for _ in range(2):
        classifier.predict(images[:8])
        classifier.predict(images[8:])
    assert computed == [8, 0, 4, 0, 4]


# ---- several images of one item ----


def rooms(files):
    """Every item has the picture of its class and two of others'."""
    n = len(files)
    return [[files[i], files[(i + 3) % n], files[(i + 6) % n]] for i in range(n)]


@pytest.mark.parametrize("how", ["mean", "max", "concat"])
def test_several_images_give_one_row(how, paths):
    source = np.array([str(p) for p in paths]).reshape(3, 2)
    rows = tiny(reduce=how).fit(source).transform(source)
    single = tiny().transform(paths).reshape(3, 2, -1)
    expected = {
        "mean": single.astype(np.float64).mean(axis=1),
        "max": single.max(axis=1),
        "concat": single.reshape(3, -1),
    }
    np.testing.assert_allclose(rows, expected[how], rtol=1e-6)


def test_several_features_of_several_images_side_by_side(paths):
    extractor = tiny(features=["stage1.avg", "pre_logits"], reduce="concat")
    source = [[str(paths[0]), str(paths[1])]]
    rows = extractor.fit(source).transform(source)
    parts = [tiny(features=name).transform(source[0]) for name in ("stage1.avg", "pre_logits")]
    np.testing.assert_array_equal(rows[0], np.concatenate([part.reshape(-1) for part in parts]))
    names = extractor.get_feature_names_out()
    assert len(names) == rows.shape[1]
    assert (names[0], names[-1]) == ("stage1.avg_0", f"pre_logits_{2 * 96 - 1}")


def test_an_item_with_an_unreadable_image_fails_as_a_whole(paths):
    good = tiny(store=False).transform([[paths[0], paths[1]], paths[5:]])
    paths[2].write_bytes(b"")
    source = [[paths[0], paths[1]], [paths[2], paths[3], paths[4]], paths[5:]]
    with pytest.raises(UnreadableImages) as caught:
        tiny(store=False).transform(source)
    assert str(caught.value) == (
        f"1 of 3 images could not be read: {paths[2]} (empty file (0 bytes); one of the 3 images "
        f"of item 1)"
    )
    extraction = tiny(store=False).extract(source, on_error="skip")
    assert extraction.kept.tolist() == [0, 2]
    np.testing.assert_array_equal(extraction.rows["pre_logits"], good)
    with pytest.raises(UnreadableImages, match="1 of 1 images could not be read"):
        tiny(store=False).extract([[paths[2], "nowhere.png"]], on_error="skip")
    with pytest.raises(ValueError, match="on_error is 'drop'"):
        tiny(store=False).extract(source, on_error="drop")


@pytest.mark.parametrize("how", ["mean", "max", "concat"])
def test_estimators_of_items(how, coloured_paths, tmp_path):
    items = rooms([str(p) for p in coloured_paths])
    classifier = TransferClassifier(tiny(reduce=how)).fit(items, NAMES)
    assert classifier.train_ids_.shape == (len(items), 16)
    assert classifier.score(items, NAMES) == 1
    assert classifier.predict(np.array(items)).tolist() == NAMES.tolist()
    loaded = TransferClassifier.load(classifier.save(tmp_path / "model"))
    assert loaded.extractor_.reduce == how
    np.testing.assert_array_equal(loaded.predict_proba(items), classifier.predict_proba(items))
    if how == "concat":
        with pytest.raises(ValueError, match="the items have 1 image each, and those of fit had 3"):
            loaded.predict(coloured_paths)
        with pytest.raises(ValueError, match="puts the features of 3 images side by side, and an"):
            export_model(tmp_path / "model")
    regressor = TransferRegressor(tiny(reduce=how)).fit(items, CODES.astype(float))
    assert regressor.score(items, CODES) > 0.9


def test_an_item_that_fails_takes_its_label_along(coloured_paths):
    items = [[str(p)] * 2 for p in coloured_paths]
    coloured_paths[4].write_bytes(b"no picture")
    classifier = TransferClassifier(tiny()).fit(items, NAMES, on_error="skip")
    (failure,) = classifier.failures_
    assert (failure.index, len(classifier.train_ids_)) == (4, len(items) - 1)
    rest = [item for i, item in enumerate(items) if i != 4]
    plain = TransferClassifier(tiny()).fit(rest, np.delete(NAMES, 4))
    np.testing.assert_array_equal(classifier.predict_proba(rest), plain.predict_proba(rest))


def test_a_mean_model_takes_single_images_too(coloured_paths):
    items = [[str(p), str(p)] for p in coloured_paths]
    classifier = TransferClassifier(tiny()).fit(items, NAMES)
    assert classifier.predict(coloured_paths).tolist() == NAMES.tolist()


def test_wrong_numbers_of_images(coloured_paths):
    items = rooms([str(p) for p in coloured_paths])
    model = TransferClassifier(tiny(reduce="concat"))
    with pytest.raises(ValueError, match="item 0 has 3 images and item 17 has 1, so their rows"):
        model.fit([*items[:-1], items[-1][:1]], NAMES)
    model.fit(items, NAMES)
    with pytest.raises(ValueError, match="have 2 images each, and those of fit had 3; side by"):
        model.predict([item[:2] for item in items])
    with pytest.raises(ValueError, match="reduce is 'sum'; choose one of mean, max, concat"):
        tiny(reduce="sum").transform(coloured_paths)
    with pytest.raises(ValueError, match="item 0 has 3 images, and fine-tuning trains on one"):
        FineTuneClassifier(tiny()).fit(items, NAMES)


def test_a_generator_of_images(coloured_paths):
    classifier = TransferClassifier(tiny()).fit((p for p in coloured_paths), NAMES)
    assert classifier.predict(p for p in coloured_paths).tolist() == NAMES.tolist()
    with pytest.raises(ValueError, match="18 training images, but 17 labels"):
        TransferClassifier(tiny()).fit((p for p in coloured_paths), NAMES[1:])


WORKER = """
import sys, numpy as np
from transferkit.estimators import FeatureExtractor
from transferkit.estimators._memory import known_in_process
images = np.zeros((2, 32, 32, 3), np.uint8)
FeatureExtractor("test_resnet", pretrained=False, image_size=32).fit_transform(images)
print(known_in_process().path, known_in_process().path.exists())
"""


def test_what_is_remembered_ends_with_the_process():
    result = subprocess.run(
        [sys.executable, "-c", WORKER], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    path, existed = result.stdout.split()
    assert existed == "True"
    assert not Path(path).exists()
