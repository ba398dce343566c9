"""Estimators that cut images into tiles, on large pictures of small things."""

import itertools

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import VOID, Annotations, AnnotationSet
from transferkit.estimators import (
    FeatureExtractor,
    TransferDetector,
    TransferSegmenter,
    load_estimator,
)
from transferkit.estimators._tiles import extract_tiles, map_of_tiles
from transferkit.images import Tiling, UnreadableImages, list_images

SIZE = (192, 256)


def picture(seed, n=6, side=10, size=SIZE):
    """Small bright squares on a dark ground, and their boxes."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
    cells = [(x, y) for x in range(0, size[1] - 31, 32) for y in range(0, size[0] - 31, 32)]
    corners = np.array([cells[i] for i in rng.permutation(len(cells))[:n]]).reshape(-1, 2)
    corners = corners + rng.integers(0, 32 - side, (n, 2))
    for left, top in corners:
        pixels[top : top + side, left : left + side] += 180
    return pixels, np.concatenate((corners, corners + side), axis=1).astype(float)


def classes_of(boxes, size=SIZE):
    classes = np.zeros(size, dtype=np.int64)
    for left, top, right, bottom in boxes.astype(int):
        classes[top:bottom, left:right] = 1
    return classes


def extractor(**options):
    return FeatureExtractor(
        "resnet18", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        features=["stage1.map", "stage2.map"], **options,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    for seed in range(3):
        Image.fromarray(picture(seed)[0]).save(tmp_path / "images" / f"{seed}.png")
    return tmp_path / "images"


# ---- rows ----


def test_what_tiles_tell_is_told_of_images(folder):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:2000])
    images = list_images(folder)
    found = extract_tiles(extractor(), images, Tiling.of("2x2"), on_error="skip")
    plain = extractor().extract(images, on_error="skip")
    assert found.images.kept.tolist() == plain.kept.tolist() == [0, 2]
    assert found.images.ids == plain.ids
    assert found.images.paths == plain.paths
    assert [(f.index, f.name) for f in found.images.failures] == [(1, "1.png")]
    assert found.images.sizes.tolist() == [[192, 256]] * 2
    assert found.image_of.tolist() == [0] * 4 + [1] * 4
    assert found.boxes[:4] == found.boxes[4:] == Tiling.of("2x2").boxes(SIZE)
    assert len(found.tiles.rows["stage1.map"]) == 8
    assert "8 images" in found.images.summary()


@pytest.mark.parametrize("n_bad", [1, 3])
def test_images_that_cannot_be_read_are_named_and_not_their_tiles(folder, n_bad):
    for path in sorted(folder.iterdir())[:n_bad]:
        path.write_bytes(path.read_bytes()[:2000])
    on_error = "raise" if n_bad == 1 else "skip"
    with pytest.raises(UnreadableImages, match=rf"{n_bad} of 3 images .*: 0.png \(") as caught:
        extract_tiles(extractor(), list_images(folder), Tiling.of("2x2"), on_error=on_error)
    assert len(caught.value.failures) == n_bad


# ---- maps ----


def test_each_pixel_is_of_the_tile_that_sees_most_around_it():
    rng = np.random.default_rng(0)
    size, boxes = (50, 70), Tiling.of("2x3,whole").boxes((50, 70))
    maps = [rng.integers(0, 5, (b - t, r - x)) for x, t, r, b in boxes]
    found = map_of_tiles([Annotations(m.shape, map=m) for m in maps], boxes[:-1] + boxes[-1:], size)
    # The whole image has no inner edge at all.
    assert np.array_equal(found.map, maps[-1])
    found = map_of_tiles([Annotations(m.shape, map=m) for m in maps[:-1]], boxes[:-1], size).map
    for y, x in itertools.product(range(50), range(70)):
        depths = []
        for left, top, right, bottom in boxes[:-1]:
            inner = [x + 0.5 - left] * (left > 0) + [right - x - 0.5] * (right < 70)
            inner += [y + 0.5 - top] * (top > 0) + [bottom - y - 0.5] * (bottom < 50)
            depths.append(min(inner))
        best = np.flatnonzero(np.array(depths) == max(depths))
        left, top = np.array(boxes)[best, 0], np.array(boxes)[best, 1]
        allowed = [maps[i][y - t, x - s] for i, t, s in zip(best, top, left, strict=True)]
        assert found[y, x] in allowed


def test_pixels_that_no_tile_knows_are_void():
    one = Annotations((2, 4), map=np.array([[VOID, 1, 1, 1]] * 2))
    two = Annotations((2, 4), map=np.array([[2, 2, VOID, VOID]] * 2))
    found = map_of_tiles([one, two], [(0, 0, 4, 2), (2, 0, 6, 2)], (2, 6)).map
    assert found.tolist() == [[VOID, 1, 1, 2, VOID, VOID]] * 2


# ---- segmentation ----


RECIPE = {"epochs": 12, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    """A segmenter that was trained on tiles, with its store's extractor."""
    store = tmp_path_factory.mktemp("store")
    pictures = [picture(seed) for seed in range(6)]
    images, maps = [p for p, _ in pictures], [classes_of(b) for _, b in pictures]
    model = TransferSegmenter(extractor(store=store), "fpn", recipe=RECIPE, tiles="3x4")
    return model.fit(images, maps), images, maps


def test_tiles_find_what_is_too_small_without(segmented):
    model, images, maps = segmented
    without = TransferSegmenter(model.backbone, "fpn", recipe=RECIPE).fit(images, maps)
    held = [picture(100 + i) for i in range(3)]
    pixels, true = [p for p, _ in held], [classes_of(b) for _, b in held]
    assert [one.size for one in model.predict(pixels)] == [SIZE] * 3
    assert model.score(pixels, true) > 0.9
    assert model.score(pixels, true) > without.score(pixels, true) + 0.1


def test_a_second_fit_on_tiles_computes_nothing(segmented):
    model, images, maps = segmented
    again = TransferSegmenter(model.backbone, "fpn", recipe=RECIPE, tiles="3x4").fit(images, maps)
    assert "no weights loaded" in again.summary_
    a, b = (one.predict(images)[0].map for one in (model, again))
    assert np.array_equal(a, b)


def test_tiles_are_saved(segmented, tmp_path):
    model, images, _ = segmented
    again = load_estimator(model.save(tmp_path / "model"))
    assert again.tiling_ == Tiling.of("3x4")
    assert np.array_equal(again.predict(images[:1])[0].map, model.predict(images[:1])[0].map)
    twice = load_estimator(again.save(tmp_path / "again"))
    assert twice.tiling_ == again.tiling_


def test_plan_counts_tiles(segmented):
    _, images, _ = segmented
    estimate = TransferSegmenter(extractor(store=False), tiles="3x4").plan(images)
    assert estimate.n_missing == 2 * 12 * len(images)  # and their mirror images


def test_an_input_size_suits_the_tiles():
    images = [np.zeros((1200, 1600, 3), np.uint8)] * 3
    model = TransferSegmenter("bundled", tiles="384x290px")
    assert model._extractor(list_images(images)).resolve().preprocess.image_size == (384, 288)


def test_what_is_no_tiling_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="tiles is 'many'"):
        TransferSegmenter(extractor(), tiles="many").fit(
            [np.zeros((64, 64, 3), np.uint8)], [np.zeros((64, 64), int)]
        )


# ---- detection ----


DETECTION = {"epochs": 12, "zoomed": False, "learning_rate": 0.005}


def truth_of(boxes):
    return Annotations(SIZE, boxes=boxes, labels=np.ones(len(boxes), dtype=int))


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """A detector that was trained on tiles, with its images and their objects."""
    store = tmp_path_factory.mktemp("store")
    pictures = [picture(seed, side=12) for seed in range(8)]
    images, truth = [p for p, _ in pictures], [truth_of(b) for _, b in pictures]
    model = TransferDetector(extractor(store=store), "fcos", recipe=DETECTION, tiles="2x3")
    return model.fit(images, truth), images, truth


def test_tiles_find_objects_that_are_too_small_without(detected):
    model, images, truth = detected
    without = TransferDetector(model.backbone, "fcos", recipe=DETECTION).fit(images, truth)
    held = [picture(100 + i, side=12) for i in range(3)]
    pixels, true = [p for p, _ in held], [truth_of(b) for _, b in held]
    reports = [one.measure(pixels, true) for one in (without, model)]
    assert reports[0].ap50 < 0.5
    assert reports[1].ap50 > 0.9


def test_an_object_over_a_seam_is_found_once(detected):
    model, _, _ = detected
    pixels, _ = picture(50, n=0)
    # Tiles begin at 0, 78 and 157 and are 99 px wide; at 0 and 85, and are 107 px high.
    corners = np.array([(72, 40), (94, 140), (30, 80), (220, 100), (150, 92), (152, 20)])
    for left, top in corners:
        pixels[top : top + 12, left : left + 12] += 180
    [found] = model.predict([pixels])
    sure = found.boxes[found.scores >= 0.5]
    expected = np.concatenate((corners, corners + 12), axis=1)
    assert len(sure) == len(expected)
    nearest = np.abs(sure[:, None] - expected[None]).max(2).argmin(1)
    assert sorted(nearest.tolist()) == list(range(len(expected)))
    assert np.abs(sure - expected[nearest]).max() < 4


def test_alone_or_among_others_and_again_the_same(detected, tmp_path):
    model, images, truth = detected
    again = TransferDetector(model.backbone, "fcos", recipe=DETECTION, tiles="2x3")
    again.fit(images, truth)
    assert "no weights loaded" in again.summary_
    loaded = load_estimator(model.save(tmp_path / "model"))
    assert loaded.tiling_ == Tiling.of("2x3")
    expected = model.predict(images)
    others = [
        again.predict(images),
        loaded.predict(images),
        [model.predict([image])[0] for image in images],
    ]
    for found in others:
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
            np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)


def test_samples_are_tiles_with_the_objects_that_they_show(detected):
    model, images, truth = detected
    samples = model._samples(list_images(images[:2]), annotation_set(truth[:2]), recipe=None)
    boxes = Tiling.of("2x3").boxes(SIZE)
    assert len(samples) == 2 * len(boxes)
    assert samples.image_of.tolist() == [0] * 6 + [1] * 6
    for row, (left, top, right, bottom) in enumerate(boxes):
        scale = 64 / (right - left), 64 / (bottom - top)
        true = truth[0].boxes.clip([left, top, left, top], [right, bottom, right, bottom])
        area = np.prod(truth[0].boxes[0, 2:] - truth[0].boxes[0, :2])
        seen = (true[:, 2:] - true[:, :2]).prod(1)
        target = samples.objects[0][row]
        expected = (true[seen > 0] - [left, top, left, top]) * [*scale, *scale]
        np.testing.assert_allclose(target["boxes"].numpy(), expected, atol=1e-4)
        is_void = seen[seen > 0] < 0.3 * area
        assert (target["labels"].numpy() == np.where(is_void, VOID, 1)).all()
    assert samples.most_objects == max(
        sum(len(samples.objects[0][row]["labels"]) for row in range(start, start + 6))
        for start in (0, 6)
    )


def annotation_set(truth):
    return AnnotationSet(["background", "square"], truth)
