import copy
import importlib.util
import inspect
import itertools
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from tests.pictures import coloured, picture, write_pictures
from transferkit.backbones import create_backbone, resolve_backbone
from transferkit.estimators import FeatureExtractor, side_by_side
from transferkit.estimators import extractor as extractor_module
from transferkit.images import UnreadableImages
from transferkit.store import FeatureStore


@pytest.fixture
def images():
    return np.stack([picture(i) for i in range(4)])


@pytest.fixture
def paths(tmp_path):
    return write_pictures(tmp_path / "images", range(4))


def tiny(**options):
    return FeatureExtractor("test_resnet", pretrained=False, image_size=64, **options)


def test_features_in_the_images_order(images):
    extractor = tiny(store=False)
    rows = extractor.transform(images)
    assert rows.shape == (4, 96)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[::-1], extractor.transform(images[::-1]))
    np.testing.assert_array_equal(rows, extractor.fit(images).transform(images))
    np.testing.assert_array_equal(rows, extractor.fit_transform(images, [0, 1, 0, 1]))


def test_several_features_stand_side_by_side(images):
    names = ["stage3.avg", "pre_logits", "final.max"]
    rows = tiny(features=names, store=False).transform(images)
    parts = [tiny(features=name, store=False).transform(images) for name in names]
    np.testing.assert_allclose(rows, np.concatenate(parts, axis=1), rtol=1e-5, atol=1e-6)
    assert rows.shape == (4, 192 + 96 + 96)


def test_dense_features(images):
    maps = tiny(features="stage4.map", store=False).transform(images)
    assert maps.shape == (4, 96, 2, 2)
    pooled = tiny(features="stage4.avg", store=False).transform(images)
    np.testing.assert_allclose(maps.mean((2, 3)), pooled, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"'stage4\.map' is a map and can't stand beside others"):
        tiny(features=["pre_logits", "stage4.map"], store=False).transform(images)


def test_side_by_side_of_one_feature_is_no_copy(images):
    extraction = tiny(store=False).extract(images)
    assert side_by_side(extraction) is extraction.rows["pre_logits"]


def test_unreadable_images_raise_or_are_left_out(paths):
    paths[1].write_bytes(b"")
    extractor = tiny(store=False)
    with pytest.raises(UnreadableImages, match=r"001\.png \(empty file"):
        extractor.transform(paths)
    extraction = extractor.extract(paths, on_error="skip")
    assert extraction.kept.tolist() == [0, 2, 3]
    good = extractor.transform([paths[0], paths[2], paths[3]])
    np.testing.assert_array_equal(extraction.rows["pre_logits"], good)


def test_where_features_are_kept(paths, tmp_path, monkeypatch):
    tiny().transform(paths)
    (info,) = FeatureStore().list_keys()  # $TRANSFERKIT_STORE
    assert info.n_rows == 4
    for number, given in enumerate(("text", Path, FeatureStore)):
        place = tmp_path / f"store {number}"
        store = str(place) if given == "text" else given(place)
        tiny(store=store).transform(paths)
        assert FeatureStore(place).list_keys()[0].n_rows == 4
    assert tiny(store=False).open_store() is None
    with pytest.raises(ValueError, match="store is True; give a path"):
        tiny(store=True).transform(paths)


def test_options_reach_the_backbone():
    extractor = FeatureExtractor(
        "test_resnet",
        pretrained=False,
        seed=3,
        image_size=(96, 64),
        crop_pct=0.5,
        crop_mode="squash",
        interpolation="bilinear",
        exif=True,
        arguments={"output_stride": 16},
    )
    spec = extractor.resolve()
    assert spec.weights == "random:3"
    assert spec.arguments["output_stride"] == 16
    p = spec.preprocess
    assert (p.image_size, p.crop_pct, p.crop_mode) == ((96, 64), 0.5, "squash")
    assert (p.interpolation, p.exif) == ("bilinear", True)
    assert FeatureExtractor(spec).resolve() is spec


def test_a_spec_and_a_backbone_instead_of_a_name(images, builds):
    expected = tiny(store=False).transform(images)
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
    backbone = create_backbone("test_resnet", pretrained=False, image_size=64)
    builds.clear()
    for given in (spec, backbone):
        rows = FeatureExtractor(given, store=False).transform(images)
        np.testing.assert_array_equal(rows, expected)
    assert builds == []


@pytest.mark.parametrize("kind", ["BackboneSpec", "Backbone"])
def test_options_beside_a_backbone_that_is_made(images, kind):
    make = create_backbone if kind == "Backbone" else resolve_backbone
    made = make("test_resnet", pretrained=False)
    with pytest.raises(ValueError, match=f"image_size was given beside a {kind}, which is made"):
        FeatureExtractor(made, image_size=64, store=False).transform(images)
    with pytest.raises(ValueError, match="pretrained, seed were given beside"):
        FeatureExtractor(made, pretrained=False, seed=1).fit(images)


def test_the_defaults_are_those_of_the_signature():
    parameters = inspect.signature(FeatureExtractor).parameters
    defaults = {name: parameters[name].default for name in extractor_module._FOR_A_NAME}
    assert defaults == extractor_module._FOR_A_NAME
    assert set(defaults) - {"arguments"} < set(inspect.signature(resolve_backbone).parameters)


def test_fit_checks_the_name():
    with pytest.raises(ValueError, match="did you mean"):
        FeatureExtractor("resnet8").fit(None)
    with pytest.raises(ValueError, match="stage7"):
        tiny(features="stage7", store=False).transform([picture(0)])


@pytest.mark.parametrize("kind", ["name", "spec", "backbone"])
def test_copies_never_copy_or_reload_a_backbone(images, builds, kind):
    make = {
        "name": lambda: "test_resnet",
        "spec": lambda: resolve_backbone("test_resnet", pretrained=False),
        "backbone": lambda: create_backbone("test_resnet", pretrained=False),
    }
    options = {"pretrained": False} if kind == "name" else {}
    extractor = FeatureExtractor(make[kind](), features=["final", "pre_logits"], **options)
    expected = extractor.transform(images)
    n_built = len(builds)
    assert n_built == 1
    copies = [clone(extractor), copy.copy(extractor), copy.deepcopy(extractor)]
    if kind != "backbone":  # one that travels to another process is built there
        copies.append(pickle.loads(pickle.dumps(extractor)))
        assert len(pickle.dumps(extractor)) < 20_000
    for other in copies:
        assert other.get_params().keys() == extractor.get_params().keys()
        if kind == "backbone":
            assert other.backbone is extractor.backbone
        np.testing.assert_array_equal(other.set_params(store=False).transform(images), expected)
    assert len(builds) == n_built


def test_a_pickled_backbone_is_its_name_not_its_weights(images):
    backbone = create_backbone("test_resnet", pretrained=False, image_size=64)
    extractor = FeatureExtractor(backbone, store=False)
    data = pickle.dumps(extractor)
    assert len(data) < 20_000
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.transform(images), extractor.transform(images))


def test_in_a_pipeline():
    images, codes = coloured(8)
    names = np.array(["red", "green", "blue"])[codes]
    model = Pipeline([("features", tiny()), ("head", LogisticRegression(max_iter=2000))])
    model.fit(images[:15], names[:15])
    assert model.score(images[15:], names[15:]) == 1
    assert model.score(images[15:], np.roll(names[15:], 1)) == 0
    by_hand = LogisticRegression(max_iter=2000).fit(tiny().transform(images[:15]), names[:15])
    np.testing.assert_array_equal(
        model.predict_proba(images[15:]), by_hand.predict_proba(tiny().transform(images[15:]))
    )
    assert cross_val_score(model, images, names, cv=3).min() == 1


@pytest.fixture
def searched(tmp_path):
    """Paths of pictures and a label that some features tell better than others."""
    paths = np.array([str(p) for p in write_pictures(tmp_path / "images", range(24))])
    means = np.array([picture(i).mean((0, 1)) for i in range(24)])
    return paths, means[:, 0] > means[:, 1]


@pytest.mark.kills
def test_grid_search_over_head_and_features(searched, builds, n_jobs):
    paths, y = searched
    model = Pipeline([("extractor", tiny()), ("head", LogisticRegression(max_iter=5000))])
    sets = ["pre_logits", "stage1.max", ["stage2.avg", "stage3.avg"]]
    for names in sets:
        tiny(features=names).transform(paths)
    n_built = len(builds)
    grid = {"head__C": [1e-4, 1.0], "extractor__features": sets}
    here = GridSearchCV(model, grid, cv=3).fit(paths, y)
    assert len(builds) == n_built  # every row came from the store
    there = GridSearchCV(model, grid, cv=3, n_jobs=n_jobs).fit(paths, y)
    for search in (here, there):
        assert len(search.cv_results_["params"]) == 6
    # The second way: features by hand, a plain search on each.
    for names in sets:
        X = tiny(features=names).transform(paths)
        plain = GridSearchCV(LogisticRegression(max_iter=5000), {"C": [1e-4, 1.0]}, cv=3).fit(X, y)
        of_these = [p["extractor__features"] == names for p in here.cv_results_["params"]]
        expected = plain.cv_results_["mean_test_score"]
        for search in (here, there):
            scores = search.cv_results_["mean_test_score"][of_these]
            np.testing.assert_allclose(scores, expected)
    assert len(set(here.cv_results_["mean_test_score"])) > 1


SPAWNED = """
import pickle, sys
import transferkit.forward
def forbidden(*args, **options):
    raise AssertionError("a network was built")
transferkit.forward.engines.build_backbone = forbidden
extractor, paths = pickle.load(sys.stdin.buffer)
import numpy as np
np.save(sys.stdout.buffer, extractor.transform(paths))
"""


@pytest.mark.kills
def test_another_process_takes_rows_from_the_store(paths, tmp_path):
    extractor = tiny()
    expected = extractor.transform(paths)
    result = subprocess.run(
        [sys.executable, "-c", SPAWNED],
        input=pickle.dumps((extractor, paths)),
        capture_output=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    (tmp_path / "rows.npy").write_bytes(result.stdout)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), expected)


def test_names_of_the_columns(paths, builds):
    extractor = tiny(features=["stage3.avg", "pre_logits"])
    rows = extractor.transform(paths)
    n_built = len(builds)
    names = extractor.get_feature_names_out()
    assert len(builds) == n_built  # a full hit loads no network, nor do its names
    assert names.dtype == object
    assert names.tolist() == [f"stage3.avg_{i}" for i in range(192)] + [
        f"pre_logits_{i}" for i in range(96)
    ]
    assert rows.shape[1] == len(names)
    extractor_module._ROW_SHAPES.clear()
    assert clone(extractor).get_feature_names_out(["path"]).tolist() == names.tolist()
    with pytest.raises(ValueError, match=r"'stage4\.map' is a map, whose values have no columns"):
        tiny(features="stage4.map").get_feature_names_out()
    with pytest.raises(ValueError, match="with reduce='concat' the columns are known after fit"):
        tiny(reduce="concat").get_feature_names_out()


@pytest.mark.parametrize("columns", [0, [0], [0, 1]])
def test_in_a_column_transformer(paths, columns):
    table = np.array([[str(a), str(b), i] for i, (a, b) in enumerate(itertools.pairwise(paths))])
    table = table.astype(object)
    transformer = ColumnTransformer(
        [("image", tiny(), columns), ("number", FunctionTransformer(), [2])]
    )
    rows = transformer.fit_transform(table)
    items = table[:, 0] if columns != [0, 1] else table[:, :2]
    np.testing.assert_array_equal(rows[:, :96].astype(np.float32), tiny().transform(items))
    np.testing.assert_array_equal(rows[:, 96].astype(int), [0, 1, 2])
    transformer.set_params(number="drop")
    names = transformer.fit(table).get_feature_names_out()
    assert (names[0], len(names)) == ("image__pre_logits_0", 96)


def test_output_as_a_data_frame(paths):
    extractor = tiny(features="stage3.avg")
    extractor.set_output(transform="pandas")
    if importlib.util.find_spec("pandas") is None:
        with pytest.raises(ImportError, match="requires pandas to be installed"):
            extractor.transform(paths)
        return
    frame = extractor.transform(paths)
    assert frame.columns.tolist() == [f"stage3.avg_{i}" for i in range(192)]
    np.testing.assert_array_equal(frame, tiny(features="stage3.avg").transform(paths))
    assert extractor.fit_transform(paths).columns.tolist() == frame.columns.tolist()
