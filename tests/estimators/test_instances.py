"""`TransferInstanceSegmenter`, on small pictures of discs whose pixels are known."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from transferkit import artifacts
from transferkit.annotations import Annotations, AnnotationSet, Masks
from transferkit.dense.tiles import merged
from transferkit.estimators import (
    FeatureExtractor,
    FineTuneInstanceSegmenter,
    TransferInstanceSegmenter,
    load_estimator,
)
from transferkit.images import list_images

RECIPE = {"epochs": 18, "learning_rate": 0.01, "zoomed": False}
QUICK = {"epochs": 1, "zoomed": False}
CLASSES = ("background", "dark", "bright")
SMALL = {
    "head_options": {"width": 16, "box_width": 32, "mask_width": 16, "mask_depth": 2},
    "neck_options": {"width": 16},
}
SIZES = ((60, 80), (80, 60), (64, 64))
N = 24


def drawn(size, discs, seed=0):
    """Discs (centre x and y, radius, class) on a grey ground, dark or bright."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 140, (*size, 3), dtype=np.uint8)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    masks = np.zeros((len(discs), *size), dtype=bool)
    for mask, (cx, cy, radius, label) in zip(masks, discs, strict=True):
        mask[:] = (x - cx) ** 2 + (y - cy) ** 2 <= radius**2
        pixels[mask] = (0, 0, 250)[label]
    held = Masks.of_array(masks)
    labels = np.array([label for *_, label in discs], dtype=np.int64)
    return pixels, Annotations(size, boxes=held.boxes, masks=held, labels=labels)


def picture(seed, size=(64, 64)):
    rng = np.random.default_rng(seed)
    radius = min(size) // 4
    x, y = (rng.integers(radius, n - radius) for n in size[::-1])
    return drawn(size, [(x, y, radius, seed % 2 + 1)], seed)


def annotated(objects):
    return AnnotationSet(CLASSES, objects)


def segmenter(backbone, recipe=QUICK, **options):
    return TransferInstanceSegmenter(backbone, recipe=recipe, **{**SMALL, **options})


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """With a store that all tests share: maps are extracted once."""
    return FeatureExtractor(
        "resnet18", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        features=["stage1.map", "stage2.map"], store=tmp_path_factory.mktemp("store"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Image files, and their true objects."""
    images = tmp_path_factory.mktemp("images")
    truth = []
    for i in range(N):
        pixels, objects = picture(i, SIZES[i % 3])
        Image.fromarray(pixels).save(images / f"{i:02}.png")
        truth.append(objects)
    return images, annotated(truth)


@pytest.fixture(scope="module")
def trained(backbone, folder):
    """A model that finds the discs; tests don't change it."""
    return segmenter(backbone, RECIPE).fit(*folder)


def same(one, other):
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(np.asarray(one.masks), np.asarray(other.masks))


def test_learns_masks_and_predicts_in_the_images_px(trained):
    sizes = [(55, 90), (120, 90), (64, 64), (80, 70)]
    pictures = [picture(100 + i, size) for i, size in enumerate(sizes)]
    found = trained.predict([pixels for pixels, _ in pictures])
    for one, (_, true), size in zip(found, pictures, sizes, strict=True):
        assert one.size == one.masks.size == size
        assert one.masks[:1].overlaps(true.masks)[0, 0] > 0.6
        assert one.labels[0] == true.labels[0]
        assert (np.diff(one.scores) <= 0).all()
        assert (one.masks.areas > 0).all()


def test_it_is_saved_and_loaded(trained, folder, tmp_path):
    trained.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert type(again) is TransferInstanceSegmenter
    assert (again.head, again.classes_) == ("mask-rcnn", CLASSES)
    assert (again.suppression_, again.threshold_) == (trained.suppression_, trained.threshold_)
    some = sorted(folder[0].iterdir())[:3]
    for a, b in zip(*(one.predict(some) for one in (trained, again)), strict=True):
        assert len(a.boxes)
        same(a, b)
    assert "TransferInstanceSegmenter.load" in (tmp_path / "model" / "README.md").read_text()
    assert artifacts.describe(tmp_path / "model")["task"] == "instances"


def test_a_second_fit_computes_nothing_and_gives_the_same(backbone, folder):
    first, again = (segmenter(backbone).fit(*folder) for _ in range(2))
    assert "no weights loaded" in again.summary_
    some = sorted(folder[0].iterdir())[:3]
    for a, b in zip(*(one.predict(some) for one in (first, again)), strict=True):
        same(a, b)


def test_alone_or_among_others_the_same(trained, folder):
    paths = sorted(folder[0].iterdir())[:5]
    for path, one in zip(paths, trained.predict(paths), strict=True):
        (alone,) = trained.predict([path])
        np.testing.assert_allclose(alone.boxes[0], one.boxes[0], atol=0.01)
        np.testing.assert_allclose(alone.scores[0], one.scores[0], atol=1e-4)
        assert alone.masks[:1].overlaps(one.masks[:1])[0, 0] > 0.98


def test_held_out_images_choose_the_threshold_and_a_line_tells_of_the_objects(backbone, folder):
    images, truth = list_images(folder[0]), folder[1]
    first, last = np.arange(18), np.arange(18, N)
    model = segmenter(backbone, {**RECIPE, "epochs": 4})
    model.fit(images.select(first), truth.select(first),
              validation=(images.select(last), truth.select(last)))  # fmt: skip
    assert len(model.train_ids_) == 18
    assert model.threshold_ != 0.5
    (found,) = model.predict(images.select(last[:1]))
    sure = model.believed(found)
    line = model.line(found)
    assert line["objects"] == len(sure.labels) == len(line["boxes"])
    for told, i in zip(line["boxes"], range(len(sure.labels)), strict=True):
        assert told["label"] == CLASSES[sure.labels[i]]
        assert told["area"] == np.asarray(sure.masks)[i].sum()
        np.testing.assert_allclose(told["box"], sure.boxes[i], atol=0.01)
    missing = {"objects": None, "count": {"dark": None, "bright": None}, "boxes": None}
    assert model.line(None) == missing


def test_masks_decide_what_is_learnt(backbone, folder):
    """Other masks in the same boxes make another model."""
    images, truth = list_images(folder[0]).select(np.arange(6)), folder[1].select(np.arange(6))
    halves = []
    for one in truth:
        masks = np.asarray(one.masks).copy()
        masks[:, ::2] = False
        halves.append(dataclasses.replace(one, masks=Masks.of_array(masks)))
    models = [segmenter(backbone).fit(images, each) for each in (truth, annotated(halves))]
    weights = [model.network_.head.mask_head[-1].weight for model in models]
    assert not (weights[0] == weights[1]).all()


def test_images_without_objects_are_trained_on(backbone, folder):
    truth = list(folder[1])
    for i in (0, 3):
        size = truth[i].size
        truth[i] = Annotations(
            size, boxes=np.zeros((0, 4)), masks=Masks(size, []), labels=np.zeros(0, np.int64)
        )
    model = segmenter(backbone).fit(folder[0], annotated(truth))
    assert len(model.train_ids_) == N
    with pytest.raises(ValueError, match="no object"):
        segmenter(backbone).fit(
            list_images(folder[0]).select([0, 3]), annotated(truth).select([0, 3])
        )


def test_a_crowd(backbone):
    """More than 300 objects, some of one pixel, and some cut by the views."""
    rng = np.random.default_rng(0)
    places = [(x, y) for x in range(5, 160, 8) for y in range(5, 144, 8)]
    radii = rng.choice([0.4, 2.5, 3.4], len(places)).tolist()
    discs = [(x + 0.5, y + 0.5, r, 1 + x // 8 % 2) for (x, y), r in zip(places, radii, strict=True)]
    crowd, truth = drawn((144, 160), discs)
    assert len(truth.labels) > 300
    assert (truth.masks.areas == 1).any()
    empty = np.full((144, 160, 3), 120, dtype=np.uint8)
    nothing = Annotations(
        (144, 160), boxes=np.zeros((0, 4)), masks=Masks((144, 160), []), labels=np.zeros(0, int)
    )
    model = segmenter(backbone, {"epochs": 1, "batch_size": 2})
    model.fit([crowd, empty], annotated([truth, nothing]))
    assert model.suppression_.limit == 2 * len(discs)
    found = model.predict([crowd, empty])
    assert len(found[0].boxes) > 50
    # What is held of a mask is no larger than its box.
    for box, region in zip(found[0].boxes, found[0].masks.regions, strict=True):
        assert region.pixels.shape <= (np.ceil(box[3]) - np.floor(box[1]), 160)
        assert (np.array(region.box) >= np.floor(box) - 1e-3)[:2].all()
        assert (np.array(region.box) <= np.ceil(box) + 1e-3)[2:].all()


def test_small_objects_enlarge_the_input(folder, tmp_path):
    images = list_images(folder[0])
    sides = {}
    for radius in (1.5, 6, 20):
        model = TransferInstanceSegmenter("test_resnet", store=tmp_path)
        model._look_at(annotated([drawn((64, 64), [(32, 32, radius, 1)])[1]]))
        size = model._suited_size(FeatureExtractor("test_resnet", pretrained=False), images)
        sides[radius] = max(size)
        # Never beyond 512 px, and not more than is needed.
        assert 256 <= max(size) <= 512
        assert max(size) == 512 or radius * 2 * max(size) / 64 >= 32 * 0.9
    assert sides[1.5] == 512 > sides[20] == 256
    # Maps of stride 4 are for what is still smaller than a cell of stride 8.
    model._small_side = 0.01
    assert model._strides_for((512, 512))[0] == 4
    model._small_side = 0.02
    assert model._strides_for((512, 512))[0] == 8
    tiled = TransferInstanceSegmenter("test_resnet", store=tmp_path, tiles="2x2")
    tiled._small_side = 0.001
    assert tiled._strides_for((512, 512))[0] == 8


def test_the_views_that_are_trained_on_show_the_same_masks(backbone, folder):
    images, truth = list_images(folder[0]).select(np.arange(6)), folder[1].select(np.arange(6))
    model = segmenter(backbone)
    model.extractor_ = model._extractor(images)
    recipe = model.recipe_kind(epochs=1, turned=True)
    samples = model._samples(images, truth, recipe=recipe)
    # Mirrored; zoomed out and in, and turned by three quarters, mirrored or not.
    assert len(samples.views) == 2 + 4 + 6
    ids = model.extractor_.extract(images).ids
    views = model._views_of(model.extractor_, recipe)
    for view, targets in zip(views, samples.objects[1:], strict=True):
        for i, target in enumerate(targets):
            pixels, _ = picture(i, SIZES[i % 3])
            resized = np.array(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC))
            seen = view.change(ids[i], resized).astype(float).mean(2)
            shown = np.abs(seen - 120) > 60
            masks = model.kind.truth(target, (64, 64)).masks
            # But for the border, which is grey and neither dark nor bright.
            assert (np.asarray(masks).any(0) == shown).mean() > 0.95


# ---- tiles ----


def one_of(size, box, score=0.9):
    left, top, right, bottom = box
    masks = np.zeros((1, *size), dtype=bool)
    masks[0, top:bottom, left:right] = True
    boxes = np.array([box], dtype=float)
    return Annotations(
        size, boxes=boxes, masks=masks, labels=np.array([1]), scores=np.array([score])
    )


def test_masks_of_an_object_over_a_seam_are_united(trained):
    size, tiles = (10, 40), [(0, 0, 24, 10), (16, 0, 40, 10)]
    parts = [one_of(size, (4, 2, 24, 8)), one_of(size, (16, 3, 38, 8), 0.8)]
    whole = merged(parts, tiles, trained.suppression_, trained.kind)
    assert whole.boxes.tolist() == [[4, 2, 38, 8]]
    np.testing.assert_array_equal(
        np.asarray(whole.masks)[0], np.asarray(parts[0].masks)[0] | np.asarray(parts[1].masks)[0]
    )
    # Of an object that a tile sees all of, that mask is taken.
    parts = [one_of(size, (15, 2, 24, 8)), one_of(size, (15, 2, 30, 8), 0.8)]
    tiles = [(0, 0, 24, 10), (10, 0, 40, 10)]
    whole = merged(parts, tiles, trained.suppression_, trained.kind)
    np.testing.assert_array_equal(np.asarray(whole.masks), np.asarray(parts[1].masks))
    assert whole.scores.tolist() == [0.9]


def test_nothing_on_any_tile(trained):
    nothing = one_of((10, 40), (0, 0, 1, 1)).select(np.zeros(1, bool))
    whole = merged(
        [nothing] * 2, [(0, 0, 24, 10), (16, 0, 40, 10)], trained.suppression_, trained.kind
    )
    assert len(whole.masks) == len(whole.boxes) == 0


def test_large_images_are_cut_into_tiles(backbone):
    pictures = [drawn((64, 128), [(20, 30, 12, 1), (64, 32, 14, 2)], i) for i in range(4)]
    pixels, truth = zip(*pictures, strict=True)
    model = segmenter(backbone, tiles=(64, 64)).fit(list(pixels), annotated(list(truth)))
    (found,) = model.predict(pixels[:1])
    assert found.masks.size == (64, 128)
    # Masks are where their boxes are, of each tile.
    assert (found.boxes[:, 0] > 70).any()
    assert (np.abs(found.masks.boxes - found.boxes) <= 32).all()


# ---- live ----


@pytest.mark.finetuning
def test_the_backbone_is_trained_too(folder, tmp_path):
    backbone = FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        store=tmp_path / "store",
    )  # fmt: skip
    model = FineTuneInstanceSegmenter(
        backbone, "full", recipe={"epochs": 1, "mosaic": 0.0}, folder=tmp_path / "run", **SMALL
    )
    images, truth = list_images(folder[0]).select(np.arange(6)), folder[1].select(np.arange(6))
    (found,) = model.fit(images, truth).predict(images.select([0]))
    assert found.masks.size == truth[0].size
    model.save(tmp_path / "model")
    (again,) = load_estimator(tmp_path / "model").predict(images.select([0]))
    same(found, again)
