"""`TransferDetector`, on small pictures of squares whose boxes are known."""

import dataclasses
import itertools
import shutil

import numpy as np
import pytest
from PIL import Image

from transferkit import artifacts
from transferkit.annotations import (
    Annotations,
    AnnotationSet,
    FaultyAnnotations,
    read_annotations,
)
from transferkit.dense.detection import detection_heads
from transferkit.estimators import (
    FeatureExtractor,
    TransferDetector,
    TransferSegmenter,
    load_estimator,
)
from transferkit.images import UnreadableImages, list_images
from transferkit.metrics import detection_report
from transferkit.training import TrainingLoop

RECIPE = {"epochs": 25, "learning_rate": 0.01, "zoomed": False}
QUICK = {"epochs": 1, "zoomed": False}
CLASSES = ("background", "dark", "bright")
SMALL = {"head_options": {"width": 32, "depth": 1}, "neck_options": {"width": 32}}
SIZES = ((60, 80), (80, 60), (64, 64))
N = 24


def picture(seed, size=(64, 64)):
    """A bright or a dark square on a grey ground, with its box and class."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(100, 140, (*size, 3), dtype=np.uint8)
    side = min(size) // 2
    top, left = (int(rng.integers(0, n - side)) for n in size)
    label = seed % 2 + 1
    pixels[top : top + side, left : left + side] = (0, 0, 250)[label]
    box = np.array([[left, top, left + side, top + side]], dtype=float)
    return pixels, Annotations(size, boxes=box, labels=np.array([label]))


def annotated(objects):
    return AnnotationSet(CLASSES, objects)


def fcos(backbone, recipe=QUICK, **options):
    """A detector whose head is small and soon trained."""
    return TransferDetector(backbone, "fcos", recipe=recipe, **{**SMALL, **options})


def extractor(store, mode="squash"):
    return FeatureExtractor(
        "resnet18", pretrained=False, image_size=64, crop_mode=mode, crop_pct=1.0,
        features=["stage1.map", "stage2.map"], store=store,
    )  # fmt: skip


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """With a store that all tests share: maps are extracted once."""
    return extractor(tmp_path_factory.mktemp("store"))


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
    """A model that finds the squares; tests don't change it."""
    return fcos(backbone, RECIPE).fit(*folder)


def overlap(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both)


def test_learns_boxes_and_predicts_in_the_images_px(trained):
    sizes = [(55, 90), (120, 90), (64, 64), (80, 70)]
    pictures = [picture(100 + i, size) for i, size in enumerate(sizes)]
    found = trained.predict([pixels for pixels, _ in pictures])
    for one, (_, true), size in zip(found, pictures, sizes, strict=True):
        assert one.size == size
        assert overlap(one.boxes[0], true.boxes[0]) > 0.5
        assert one.labels[0] == true.labels[0]
        assert (np.diff(one.scores) <= 0).all()
        assert (one.boxes >= 0).all()
        assert (one.boxes[:, 2:] <= (size[1], size[0])).all()


def test_what_is_measured_is_what_is_predicted(trained, folder):
    report = trained.measure(*folder)
    predicted = detection_report(
        list(folder[1]), trained.predict(folder[0]), CLASSES, threshold=trained.threshold_
    )
    assert report.ap50 == predicted.ap50 > 0.9
    assert trained.score(*folder) == predicted.value("average_precision")


@pytest.mark.parametrize(
    ("head", "mode", "options"),
    [
        ("retinanet", "border", {"width": 32}),
        ("faster-rcnn", "squash", {"width": 32, "box_width": 64}),
    ],
)
def test_boxes_are_right_however_the_image_is_fitted(folder, tmp_path, head, mode, options):
    model = TransferDetector(
        extractor(tmp_path, mode), head, head_options=options, neck_options={"width": 32},
        recipe={**RECIPE, "epochs": 15},
    ).fit(*folder)  # fmt: skip
    assert model.measure(*folder).ap50 > 0.9


@pytest.mark.parametrize("head", detection_heads())
def test_every_head_is_saved_and_loaded(backbone, folder, tmp_path, head):
    options = {"width": 16, **({"box_width": 32} if head == "faster-rcnn" else {})}
    if head == "ssd":
        options = {}
    model = TransferDetector(backbone, head, head_options=options, recipe=QUICK)
    images, truth = list_images(folder[0]).select(np.arange(6)), folder[1].select(np.arange(6))
    model.fit(images, truth)
    model.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert type(again) is TransferDetector
    assert (again.head, again.classes_) == (head, CLASSES)
    assert (again.suppression_, again.threshold_) == (model.suppression_, model.threshold_)
    some = sorted(folder[0].iterdir())[:3]
    for a, b in zip(*(one.predict(some) for one in (model, again)), strict=True):
        assert len(a.boxes)
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.scores, b.scores)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "TransferDetector.load" in card
    assert "`dark`, `bright`" in card
    assert "`background`" not in card
    assert artifacts.describe(tmp_path / "model")["task"] == "detection"


def test_a_second_fit_computes_nothing_and_gives_the_same(backbone, folder):
    first, again = (fcos(backbone).fit(*folder) for _ in range(2))
    assert "no weights loaded" in again.summary_
    some = sorted(folder[0].iterdir())[:5]
    for a, b in zip(*(one.predict(some) for one in (first, again)), strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_alone_or_among_others_the_same(trained, folder):
    paths = sorted(folder[0].iterdir())[:5]
    for path, one in zip(paths, trained.predict(paths), strict=True):
        (alone,) = trained.predict([path])
        np.testing.assert_allclose(alone.boxes[0], one.boxes[0], atol=0.01)
        np.testing.assert_allclose(alone.scores[0], one.scores[0], atol=1e-4)


def test_the_views_that_are_trained_on_show_the_same_objects(backbone, folder):
    images, truth = list_images(folder[0]), folder[1]
    model = TransferDetector(backbone, recipe={})
    model.extractor_ = model._extractor(images)
    recipe = model.recipe_kind(epochs=1)
    samples = model._samples(images, truth, recipe=recipe)
    assert len(samples.views) == 6
    extraction = model.extractor_.extract(images)
    for view, targets in zip(model._views_of(model.extractor_, recipe), samples.objects[1:],
                             strict=True):  # fmt: skip
        for i, target in enumerate(targets):
            pixels, _ = picture(i, SIZES[i % 3])
            resized = np.array(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC))
            seen = view.change(extraction.ids[i], resized).astype(float)
            for (left, top, right, bottom), label in zip(
                target["boxes"].numpy(), target["labels"].numpy(), strict=True
            ):
                inside = seen[int(top) + 2 : int(bottom) - 2, int(left) + 2 : int(right) - 2]
                bright = int(truth[i].labels[0]) == 2
                assert label in (-1, truth[i].labels[0])
                assert (inside.mean() > 200) if bright else (inside.mean() < 50)


def test_images_without_objects_are_trained_on(backbone):
    pictures = [picture(i) for i in range(16)]
    bare = np.random.default_rng(0).integers(100, 140, (6, 64, 64, 3), dtype=np.uint8)
    empty = Annotations((64, 64), boxes=np.zeros((0, 4)), labels=np.zeros(0, np.int64))
    truth = annotated([*(one for _, one in pictures), *[empty] * 6])
    pixels = [*(p for p, _ in pictures), *bare]
    model = fcos(backbone, RECIPE).fit(pixels, truth)
    assert len(model.train_ids_) == 22
    highest = [one.scores.max(initial=0) for one in model.predict(pixels)]
    assert np.median(highest[:16]) > 2 * max(highest[16:])
    with pytest.raises(ValueError, match="no object"):
        fcos(backbone).fit(bare, annotated([empty] * 6))


def test_ignored_objects_are_not_learnt(backbone, folder):
    objects = [
        Annotations(one.size, boxes=one.boxes, labels=one.labels, ignored=np.array([True]))
        for one in folder[1]
    ]
    with pytest.raises(ValueError, match="no object"):
        fcos(backbone).fit(folder[0], annotated(objects))


def test_annotations_of_something_else_are_named(backbone, trained, folder, tmp_path):
    (tmp_path / "masks").mkdir()
    for path, one in zip(sorted(folder[0].iterdir()), folder[1], strict=True):
        Image.fromarray(np.zeros(one.size, np.uint8)).save(tmp_path / "masks" / path.name)
    images = list_images(folder[0])
    maps = read_annotations(tmp_path / "masks", images, classes=CLASSES)
    with pytest.raises(FaultyAnnotations, match=r"00\.png \(it has no boxes; give"):
        fcos(backbone).fit(images, maps)
    with pytest.raises(FaultyAnnotations, match="no boxes"):
        trained.measure(images, maps)
    boxes = AnnotationSet(CLASSES, list(folder[1]), names=images.names)
    with pytest.raises(FaultyAnnotations, match=r"00\.png \(it has no class per pixel; give"):
        TransferSegmenter(backbone, "linear", recipe={"epochs": 1}).fit(images, boxes)
    mixed = AnnotationSet(CLASSES, [maps[0], *list(folder[1])[1:]], names=images.names)
    model = fcos(backbone).fit(images, mixed, on_error="skip")
    assert [failure.name for failure in model.failures_] == ["00.png"]


def test_bad_images_are_named_or_left_out(backbone, folder, tmp_path):
    images = shutil.copytree(folder[0], tmp_path / "images")
    (images / "03.png").write_bytes(b"no picture")
    model = fcos(backbone)
    with pytest.raises((UnreadableImages, FaultyAnnotations), match=r"03\.png"):
        model.fit(images, folder[1])
    model.fit(images, folder[1], on_error="skip")
    assert [failure.name for failure in model.failures_] == ["03.png"]
    assert len(model.train_ids_) == N - 1


def test_what_is_held_out_chooses_epoch_and_threshold(backbone, folder):
    images = list_images(folder[0])
    first, last = np.arange(18), np.arange(18, N)
    model = fcos(backbone, RECIPE)
    model.fit(images.select(first), folder[1].select(first),
              validation=(images.select(last), folder[1].select(last)))  # fmt: skip
    assert len(model.train_ids_) == 18
    assert max(line["val_metric"] for line in model.history_) > 0.3
    assert model.threshold_ != 0.5
    found = model.predict(images.select(last))
    line = model.line(found[0])
    assert line["objects"] == (found[0].scores >= model.threshold_).sum() == len(line["boxes"])
    assert line["count"] == {
        name: sum(box["label"] == name for box in line["boxes"]) for name in CLASSES[1:]
    }
    assert len(model.believed(found[0]).boxes) == line["objects"]
    missing = {"objects": None, "count": {"dark": None, "bright": None}, "boxes": None}
    assert model.line(None) == missing


def test_options_of_the_head_suit_the_boxes_unless_given(backbone, folder):
    images, truth = list_images(folder[0]).select(np.arange(6)), folder[1].select(np.arange(6))
    model = TransferDetector(backbone, "retinanet", recipe=QUICK, head_options={"width": 16})
    model.fit(images, truth)
    options = model.network_.arguments["head_options"]
    assert options["width"] == 16
    sizes = np.array(options["sizes"])
    # The squares have sides of 24 to 32 px at the network's input.
    assert sizes.min() < 30 < sizes.max()
    given = {**options, "sizes": [[10.0], [20.0]]}
    model = TransferDetector(backbone, "retinanet", recipe=QUICK, head_options=given)
    model.fit(images, truth)
    assert model.network_.arguments["head_options"]["sizes"] == [[10.0], [20.0]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "fcs"}, "did you mean 'fcos'"),
        ({"neck": "pan"}, "did you mean 'panet'"),
        ({"recipe": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"suppression": {"ious": 0.3}}, "did you mean 'iou'"),
        ({"suppression": {"iou": 3}}, "give 0 to 1"),
        ({"head_options": {"withd": 3}}, "did you mean 'width'"),
    ],
)
def test_what_is_not_allowed_is_said(backbone, folder, options, words):
    with pytest.raises(ValueError, match=words):
        TransferDetector(backbone, **{"head": "fcos", "recipe": QUICK, **options}).fit(*folder)


def test_a_run_that_was_stopped_goes_on_to_the_same_end(backbone, folder, tmp_path, monkeypatch):
    images, truth = list_images(folder[0]).select(np.arange(8)), folder[1].select(np.arange(8))

    def model(name):
        return fcos(backbone, {"epochs": 4, "zoomed": False}, folder=tmp_path / name)

    whole = model("whole").fit(images, truth)
    finish = TrainingLoop._finish_epoch

    def stopped(self, bar):
        finish(self, bar)
        if self.state.epoch == 2:
            raise KeyboardInterrupt

    stopping = model("stopped")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_finish_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            stopping.fit(images, truth)
    # With another box it would be another run.
    moved = [dataclasses.replace(truth[0], boxes=truth[0].boxes + 1), *list(truth)[1:]]
    with pytest.raises(ValueError, match="other"):
        stopping.fit(images, annotated(moved), resume=True)
    stopping.fit(images, truth, resume=True)
    a, b = whole.network_.state_dict(), stopping.network_.state_dict()
    assert all((a[name] == b[name]).all() for name in a)


# ---- suppression ----


def ruled(trained, tmp_path, **settings):
    """The trained model, with other rules of suppression."""
    place = tmp_path / "model"
    if not place.exists():
        trained.save(place)
    model = load_estimator(place)
    model.suppression_ = dataclasses.replace(trained.suppression_, score=0.0, **settings)
    return model


def test_settings_of_suppression_reach_the_predictions(backbone, folder, trained):
    images, truth = list_images(folder[0]).select(np.arange(4)), folder[1].select(np.arange(4))
    rule = {"method": "soft", "is_class_agnostic": True, "limit": 3, "score": 0.0}
    model = fcos(backbone, suppression=rule).fit(images, truth)
    assert dataclasses.asdict(model.suppression_).items() >= rule.items()
    assert all(len(one.boxes) == 3 for one in model.predict(images))
    # By default there is room for twice as many as on the fullest image, and for 100.
    assert trained.suppression_.limit == 100
    crowded = [
        Annotations(one.size, boxes=one.boxes.repeat(60, 0), labels=one.labels.repeat(60))
        for one in truth
    ]
    assert fcos(backbone).fit(images, annotated(crowded)).suppression_.limit == 120


@pytest.mark.parametrize("is_class_agnostic", [False, True])
def test_classic_suppression_leaves_no_boxes_that_overlap(
    trained, folder, tmp_path, is_class_agnostic
):
    model = ruled(trained, tmp_path, iou=0.3, is_class_agnostic=is_class_agnostic)
    pairs = [
        (same, overlap(one.boxes[i], one.boxes[j]))
        for one in model.predict(sorted(folder[0].iterdir())[:4])
        for i, j in itertools.combinations(range(min(len(one.boxes), 40)), 2)
        if (same := one.labels[i] == one.labels[j]) or is_class_agnostic
    ]
    assert pairs
    # Boxes were compared before they were cut off at the image's edges and turned into its px.
    assert max(value for _, value in pairs) < 0.35


def test_soft_suppression_lowers_scores_where_classic_drops_boxes(trained, folder, tmp_path):
    image = sorted(folder[0].iterdir())[:1]
    (classic,) = ruled(trained, tmp_path, iou=0.3).predict(image)
    (soft,) = ruled(trained, tmp_path, method="soft", sigma=0.5, limit=400).predict(image)
    (every,) = ruled(trained, tmp_path, iou=1.0, limit=400).predict(image)

    def score(found, i):
        same = np.isclose(found.boxes, every.boxes[i], atol=1e-3).all(axis=1)
        same &= found.labels == every.labels[i]
        return found.scores[same].max(initial=0)

    assert score(soft, 0) == score(classic, 0) == every.scores[0]
    near = [i for i in range(1, 60) if every.labels[i] == every.labels[0]
            and overlap(every.boxes[i], every.boxes[0]) > 0.4]  # fmt: skip
    assert near
    for i in near:
        assert score(classic, i) == 0
        # It may lose more by other boxes, but by this one it loses so much.
        lost = np.exp(-(overlap(every.boxes[i], every.boxes[0]) ** 2) / 0.5)
        assert 0 <= score(soft, i) <= every.scores[i] * lost * 1.1
