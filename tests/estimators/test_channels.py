"""Images of five channels and 12 bits, from files to a saved model's predictions."""

import numpy as np
import pytest
import tifffile

from tests.pictures import coloured
from transferkit import (
    FeatureExtractor,
    FineTuneClassifier,
    TransferClassifier,
    TransferSegmenter,
)
from transferkit.annotations import Annotations
from transferkit.estimators import load_estimator
from transferkit.extract import mirrored
from transferkit.images import UnreadableImages

STATED = {"in_chans": 5, "mean": 0.4, "std": 0.3, "value_range": (100, 4095), "crop_pct": 1.0}


def extractor(store, **options):
    return FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, store=store, **STATED | options
    )


@pytest.fixture
def pictures():
    """Pictures whose class is their brightest of five channels."""
    images, codes = coloured(6, 3)
    rest = images[:, :, :, :2] // 3
    return np.concatenate([images, rest], axis=3).astype(np.uint16) * 16, codes


@pytest.fixture
def files(pictures, tmp_path):
    images, codes = pictures
    for i, (image, code) in enumerate(zip(images, codes, strict=True)):
        folder = tmp_path / "images" / f"class {code}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{i:02d}.tif"
        tifffile.imwrite(file, image, photometric="minisblack", planarconfig="contig")
    return tmp_path / "images"


def test_a_saved_model_keeps_all_of_it(files, tmp_path):
    store = tmp_path / "store"
    model = TransferClassifier(extractor(store)).fit(files)
    model.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model", store=False)
    expected = model.predict_proba(files)
    np.testing.assert_allclose(again.predict_proba(files), expected, atol=1e-5)
    spec = model.extractor_.resolve()
    assert again.extractor_.resolve().preprocess == spec.preprocess
    assert again.extractor_.resolve().feature_spec("logits").key == spec.feature_spec("logits").key
    card = (tmp_path / "model" / "README.md").read_text()
    assert "5 channels, values 100 to 4095, 64 × 64 px" in card


def test_files_arrays_and_other_formats_have_the_same_rows(files, pictures, tmp_path):
    images, _ = pictures
    paths = sorted(files.rglob("*.tif"), key=lambda path: path.name)
    expected = extractor(False).transform(paths)
    np.testing.assert_allclose(extractor(False).transform(list(images)), expected, atol=1e-5)
    first = tmp_path / "first"
    first.mkdir()
    for i, image in enumerate(images):
        np.save(first / f"{i:02d}.npy", np.moveaxis(image, 2, 0))
    found = extractor(False, layout="CHW").transform(first)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_batches_are_not_changed_by_normalisation(files):
    spec = extractor(False).resolve()
    from transferkit.forward import Forward
    from transferkit.pooling import parse_feature

    pixels = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 5)).astype(np.float32)
    before = pixels.copy()
    forward = Forward(spec, [parse_feature("pre_logits")], device="cpu")
    first = forward.rows(pixels)["pre_logits"]
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(forward.rows(pixels)["pre_logits"], first)


def test_arrays_in_memory_that_differ_in_16_bits_differ(tmp_path):
    images = [np.full((64, 64, 5), value, np.uint16) for value in (1000, 1001)]
    rows = extractor(tmp_path / "store").extract(images)
    assert len(set(rows.ids)) == 2
    assert np.abs(rows.rows["pre_logits"][0] - rows.rows["pre_logits"][1]).max() > 0


def test_without_a_range_every_image_is_named(files):
    with pytest.raises(UnreadableImages, match=r"18 of 18 .*uint16 values from .*--value-range"):
        extractor(False, value_range=None).transform(files)


def test_a_view_of_it(files, tmp_path):
    paths = sorted(files.rglob("*.tif"))[:3]
    own = extractor(tmp_path / "store")
    found = own.extract(paths, view=mirrored(own.resolve().preprocess)).rows["pre_logits"]
    flipped = [tifffile.imread(path)[:, ::-1] for path in paths]
    np.testing.assert_allclose(found, extractor(False).transform(flipped), atol=1e-5)


def test_pixels_are_classified_too(pictures, tmp_path):
    images, _ = pictures
    truth = [Annotations((64, 64), (image[:, :, 0] > 1500).astype(np.int16)) for image in images]
    settings = {"recipe": {"epochs": 1}, "head": "linear", "neck": "none"}
    model = TransferSegmenter(extractor(tmp_path / "store"), **settings)
    model.fit(list(images), truth)
    assert model.predict(list(images[:2]))[0].map.shape == (64, 64)
    for options, match in (
        ({"layout": "CHW"}, "layout is 'CHW', and annotations are read"),
        ({}, "tiles are cut of 8-bit RGB"),
    ):
        tiles = {} if options else {"tiles": "2x2"}
        model = TransferSegmenter(extractor(tmp_path / "store", **options), **settings, **tiles)
        with pytest.raises(ValueError, match=match):
            model.fit(list(images), truth)


def test_it_isn_t_exported(files, tmp_path):
    from transferkit.export import export_model

    TransferClassifier(extractor(tmp_path / "store")).fit(files).save(tmp_path / "model")
    with pytest.raises(ValueError, match="stated channels or values, and an exported one takes"):
        export_model(tmp_path / "model")


def test_an_option_isn_t_an_argument_too():
    with pytest.raises(ValueError, match=r"'in_chans' is an option of its own: .*--in-chans"):
        extractor(False, arguments={"in_chans": 5}).resolve()


@pytest.mark.finetuning
@pytest.mark.parametrize("strategy", ["full", "last-1-stages"])
def test_it_is_fine_tuned(pictures, tmp_path, strategy):
    images, codes = pictures
    recipe = {"epochs": 2, "batch_size": 6, "jitter": 0.1}
    model = FineTuneClassifier(
        extractor(tmp_path / "store"), strategy, recipe=recipe, folder=tmp_path / "tuned"
    )
    model.fit(list(images), codes.tolist())
    model.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model", store=False)
    expected = model.predict_proba(list(images))
    np.testing.assert_allclose(again.predict_proba(list(images)), expected, atol=1e-4)
    assert again.extractor_.resolve().preprocess == extractor(False).resolve().preprocess
