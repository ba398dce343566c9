"""Mirrored, turned and zoomed views, against images that were changed before they were given."""

import numpy as np
import pytest
from PIL import Image

from tests.pictures import picture, write_pictures
from transferkit.backbones import resolve_backbone
from transferkit.estimators.extractor import FeatureExtractor
from transferkit.extract import View, extract, mirrored, turned, zoomed
from transferkit.extract.views import MIRRORED
from transferkit.finetune.augmentation import view_number
from transferkit.finetune.recipe import Recipe
from transferkit.images import UnreadableImages, corners_of_oriented, frame_of, list_images

FEATURES = ["stage2.map", "pre_logits"]


@pytest.fixture
def spec():
    return resolve_backbone("test_resnet", pretrained=False, image_size=(64, 96), crop_pct=1.0)


@pytest.fixture
def pixels():
    """Images of the network's size, so that nothing is resized before they are mirrored."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (5, 64, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cpu,cpu", marks=pytest.mark.kills)])
def test_the_rows_are_those_of_mirrored_images(spec, pixels, store, device):
    view = mirrored(spec.preprocess)
    images = list_images(pixels)
    options = {"device": device, "batch_size": 1 if "," in device else None}
    plain = extract(images, spec, FEATURES, store, **options)
    found = extract(images, spec, FEATURES, store, view=view, **options)
    expected = extract(list_images(pixels[:, :, ::-1].copy()), spec, FEATURES, None, **options)
    assert found.ids == plain.ids  # the rows are those of the plain image's id
    for name in FEATURES:
        np.testing.assert_array_equal(found.rows[name], expected.rows[name])
        assert not np.array_equal(found.rows[name], plain.rows[name])
    assert [info.spec.view for info in store.list_keys()].count(MIRRORED) == len(FEATURES)
    again = extract(images, spec, FEATURES, store, view=view, **options)
    assert (found.n_computed, again.n_computed) == (5, 0)
    np.testing.assert_array_equal(again.rows["stage2.map"], found.rows["stage2.map"])


def test_a_full_hit_builds_nothing(tmp_path, spec, store, monkeypatch):
    files = write_pictures(tmp_path / "files", range(4))
    images, view = list_images(files), mirrored(spec.preprocess)
    first = extract(images, spec, FEATURES, store, view=view)
    monkeypatch.setattr("transferkit.extract.job.Forward", None)
    monkeypatch.setattr("transferkit.extract.job.decode", None)
    again = extract(images, spec, FEATURES, store, view=view)
    np.testing.assert_array_equal(again.rows["pre_logits"], first.rows["pre_logits"])
    with pytest.raises(TypeError):  # the plain rows aren't there
        extract(images, spec, FEATURES, store)


def test_points_and_pixels_move_alike(spec):
    view = mirrored(spec.preprocess)
    image = np.zeros((64, 96, 3), np.uint8)
    image[20, 7] = 255
    frame = view.frame(b"0" * 16)
    ((x, y),) = frame.forward_points([[7.5, 20.5]]).tolist()
    seen = view.change(b"0" * 16, image)
    assert np.argwhere(seen.any(axis=2)).tolist() == [[int(y), int(x)]]
    assert frame.is_mirrored
    # Twice is once and back, from the image's own px too.
    size = (200, 500)
    whole, twice = frame_of(size, spec.preprocess), frame_of(size, spec.preprocess, frame)
    np.testing.assert_allclose(
        twice.then(frame).forward_points([[10, 20]]), whole.forward_points([[10, 20]])
    )


def test_unreadable_images_by_name(tmp_path, spec, store):
    files = write_pictures(tmp_path / "files", range(6))
    files[2].write_bytes(b"no picture")
    images, view = list_images(files), mirrored(spec.preprocess)
    with pytest.raises(UnreadableImages, match=r"1 of 6 images .*002\.png"):
        extract(images, spec, FEATURES, store, view=view)
    found = extract(images, spec, FEATURES, store, view=view, on_error="skip")
    assert (found.n_computed, found.kept.tolist()) == (0, [0, 1, 3, 4, 5])


def test_no_random_view_has_its_number():
    for n in (1, 999):
        for recipe in (
            Recipe(epochs=1, batch_size=1, flip=True, crop_scale=1.0),
            Recipe(epochs=1, batch_size=1, flip=True, crop_scale=0.001),
            Recipe(epochs=1, batch_size=1, flip=False, crop_scale=0.5, erasing=0.1),
        ):
            assert view_number(recipe, n) % 1000 != MIRRORED % 1000
    every = [turned(SQUARE.preprocess, quarters) for quarters in (1, 2, 3)]
    assert all(view.number % 1000 == 0 for view in every)
    with pytest.raises(ValueError, match="views is 1000; give a whole number from 0 to 999"):
        Recipe(epochs=1, batch_size=1, views=1000)


def test_a_view_that_no_other_process_can_be_told(spec, pixels, store):
    view = View(7, lambda row, pixels: pixels)
    with pytest.raises(ValueError, match="can't be sent to the processes of several devices"):
        extract(list_images(pixels), spec, FEATURES, store, view=view, device="cpu,cpu")
    assert not store.list_keys()


def test_an_extractor_passes_it_on(tmp_path, pixels):
    extractor = FeatureExtractor(
        "test_resnet",
        "stage2.map",
        pretrained=False,
        image_size=(64, 96),
        crop_pct=1.0,
        store=tmp_path / "store",
    )
    view = mirrored(extractor.resolve().preprocess)
    found = extractor.extract(pixels, view=view)
    again = extractor.extract(pixels, view=view, keep_rows="stored")
    expected = extractor.extract(pixels[:, :, ::-1].copy())
    assert (found.n_computed, again.n_computed, expected.n_computed) == (5, 0, 5)
    np.testing.assert_array_equal(found.rows["stage2.map"], expected.rows["stage2.map"])
    np.testing.assert_array_equal(again.stored["stage2.map"][:], found.rows["stage2.map"])
    # An item of two images, as ever.
    pairs = [[pixels[0], pixels[1]]]
    rows = extractor.extract(pairs, view=view).rows["stage2.map"]
    np.testing.assert_allclose(rows[0], found.rows["stage2.map"][:2].mean(axis=0), rtol=1e-5)


def test_images_in_memory_of_this_process(pixels):
    """A fit that keeps the mirrored rows in the process doesn't make plain ones of them."""
    extractor = FeatureExtractor("test_resnet", pretrained=False, image_size=(64, 96), seed=11)
    view = mirrored(extractor.resolve().preprocess)
    first = extractor.extract(pixels, remember=True, view=view)
    assert first.n_computed == 5
    assert extractor.extract(pixels, view=view).n_computed == 0
    assert extractor.extract(pixels).n_computed == 5


def test_a_picture_that_is_resized(tmp_path, spec):
    """A mirrored file gives the mirrored input, but for the resizing's rounding."""
    image = Image.fromarray(picture(3)).resize((300, 200))
    image.save(tmp_path / "a.png")
    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "b.png")
    view = mirrored(spec.preprocess)
    a, b = ([tmp_path / name] for name in ("a.png", "b.png"))
    found = extract(list_images(a), spec, ["pre_logits"], None, view=view).rows["pre_logits"]
    expected = extract(list_images(b), spec, ["pre_logits"], None).rows["pre_logits"]
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * abs(expected).max())


@pytest.mark.parametrize("direction", ["out", "in"])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_zoomed_point_is_where_the_frame_says(spec, direction, is_mirrored):
    view = zoomed(spec.preprocess, direction, is_mirrored=is_mirrored)
    frames = [view.frame(bytes([i] * 16)) for i in range(40)]
    factors = [abs(frame.scale[0]) for frame in frames]
    low, high = (0.5, 0.9) if direction == "out" else (1.1, 1.6)
    assert low <= min(factors) < max(factors) <= high
    assert len({frame.offset for frame in frames}) == 40
    n_seen = 0
    for i, frame in enumerate(frames):
        image = np.zeros((64, 96, 3), np.uint8)
        image[28:36, 44:52] = 255  # centre (48, 32)
        seen = view.change(bytes([i] * 16), image)
        assert seen.shape == image.shape
        white = np.argwhere(seen[..., 0] > 250)
        if len(white) < 9:
            continue
        n_seen += 1
        ((x, y),) = frame.forward_points([[48, 32]]).tolist()
        if 8 < x < 88 and 8 < y < 56:
            np.testing.assert_allclose(white.mean(0) + 0.5, [y, x], atol=0.6)
    assert n_seen > 20


SQUARE = resolve_backbone("test_resnet", pretrained=False, image_size=(64, 64), crop_pct=1.0)


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_square_is_turned_pixel_by_pixel(quarters, is_mirrored):
    view = turned(SQUARE.preprocess, quarters, is_mirrored=is_mirrored)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = np.rot90(image, quarters)
    seen = view.change(b"0" * 16, image)
    np.testing.assert_array_equal(seen, expected[:, ::-1] if is_mirrored else expected)
    assert view.frame(b"0" * 16).is_mirrored == is_mirrored


def test_half_a_turn_fits_any_input(spec, pixels):
    view = turned(spec.preprocess, 2)
    np.testing.assert_array_equal(view.change(b"0" * 16, pixels[0]), pixels[0, ::-1, ::-1])


@pytest.mark.parametrize("quarters", [1, 3])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_quarter_turn_of_another_shape_is_put_somewhere_into_it(spec, quarters, is_mirrored):
    view = turned(spec.preprocess, quarters, is_mirrored=is_mirrored)
    rows = [bytes([i] * 16) for i in range(60)]
    frames = [view.frame(row) for row in rows]
    assert frames == [view.frame(row) for row in rows]
    factors = [abs(frame.scale[0]) for frame in frames]
    assert 64 / 96 <= min(factors) < 0.72
    assert 0.93 < max(factors) <= 1
    assert len({frame.offset for frame in frames}) == 60
    image = np.zeros((64, 96, 3), np.uint8)
    box = np.array([[30.0, 24, 36, 12, 0]])
    image[18:30, 12:48] = 255
    n_seen = 0
    for row, frame in zip(rows, frames, strict=True):
        assert abs(frame.scale[0]) == abs(frame.scale[1])
        # The input's shorter side is filled, and the longer one's part is inside of it.
        left, top, right, bottom = frame.forward_boxes([[0, 0, 96, 64]])[0]
        assert left >= -1e-9
        assert right <= 96 + 1e-9
        assert top <= 1e-9
        assert bottom >= 64 - 1e-9
        seen = view.change(row, image)[..., 0] > 128
        assert seen.shape == (64, 96)
        corners = corners_of_oriented(frame.forward_oriented(box))[0]
        expected = np.concatenate([corners.min(0), corners.max(0)])
        if expected[1] < 0 or expected[3] > 64:
            continue
        n_seen += 1
        # What isn't bare is black, and the bare rest grey.
        at = np.argwhere(seen & (view.change(row, image)[..., 0] > 200))[:, ::-1]
        np.testing.assert_allclose([*at.min(0), *(at.max(0) + 1)], expected, atol=1.5)
    assert n_seen > 20


def test_what_is_bare_has_the_mean_colour(spec):
    view = turned(spec.preprocess, 1)
    white = np.full((64, 96, 3), 255, np.uint8)
    seen = view.change(b"1" * 16, white)
    colour = [round(255 * value) for value in spec.preprocess.mean]
    assert (seen == colour).all(2).any()
    assert ((seen == colour) | (seen == 255)).all(2).mean() > 0.9


@pytest.mark.parametrize("quarters", [0, 4, -1])
def test_no_turn_is_no_view(spec, quarters):
    with pytest.raises(ValueError, match=f"quarters is {quarters}; give 1, 2 or 3"):
        turned(spec.preprocess, quarters)


def test_views_are_rows_of_different_keys(spec, pixels, store):
    images = list_images(pixels)
    views = [
        mirrored(spec.preprocess),
        *(zoomed(spec.preprocess, d, is_mirrored=m) for d in ("out", "in") for m in (False, True)),
        *(turned(spec.preprocess, q, is_mirrored=m) for q in (1, 2, 3) for m in (False, True)),
    ]
    rows = [extract(images, spec, ["pre_logits"], store, view=v).rows["pre_logits"] for v in views]
    assert len({view.number for view in views}) == 11
    for i, one in enumerate(rows):
        assert all((one != other).any() for other in rows[i + 1 :])
    again = extract(images, spec, ["pre_logits"], store, view=views[3])
    assert again.n_computed == 0
    np.testing.assert_array_equal(again.rows["pre_logits"], rows[3])
