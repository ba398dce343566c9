"""`TransferDetector`, on small pictures of squares whose boxes are known."""

import numpy as np
import pytest
from PIL import Image

from transferkit import artifacts
from transferkit.annotations import Annotations, AnnotationSet, FaultyAnnotations
from transferkit.dense.detection import detection_heads
from transferkit.estimators import FeatureExtractor, TransferDetector, load_estimator
from transferkit.images import UnreadableImages, list_images

RECIPE = {"epochs": 12, "learning_rate": 0.01, "zoomed": False}
QUICK = {"epochs": 1, "zoomed": False}
# Few channels, so that a training takes a second or two.
SMALL = {"neck_options": {"width": 16}, "head_options": {"width": 16}}
CLASSES = ("background", "dark", "bright")


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


@pytest.fixture(scope="module")
def backbone():
    return FeatureExtractor(
        "resnet18", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        features=["stage1.map", "stage2.map"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def learnt(backbone):
    """A detector that has learnt from pictures of one size in memory."""
    pictures = [picture(i) for i in range(32)]
    model = TransferDetector(backbone, "fcos", recipe=RECIPE, **SMALL)
    return model.fit([p for p, _ in pictures], annotated([one for _, one in pictures]))


@pytest.fixture
def folder(tmp_path):
    """Twelve image files, and their true objects."""
    (tmp_path / "images").mkdir()
    truth = []
    for i in range(12):
        pixels, objects = picture(i, (60, 80))
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i:02}.png")
        truth.append(objects)
    return tmp_path / "images", annotated(truth)


def overlap(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both)


def test_learns_boxes_and_predicts_in_the_images_px(learnt):
    sizes = [(48, 60), (130, 100)]
    pictures = [picture(100 + i, size) for i, size in enumerate(sizes)]
    for one, (_, true), size in zip(
        learnt.predict([pixels for pixels, _ in pictures]), pictures, sizes, strict=True
    ):
        assert one.size == size
        assert overlap(one.boxes[0], true.boxes[0]) > 0.5
        assert one.labels[0] == true.labels[0]
        assert (np.diff(one.scores) <= 0).all()
        assert (one.boxes >= 0).all()
        assert (one.boxes[:, 2:] <= (size[1], size[0])).all()


@pytest.mark.parametrize("mode", ["border", "squash"])
def test_boxes_are_right_however_the_image_is_fitted(learnt, mode):
    extractor = FeatureExtractor(
        "resnet18", pretrained=False, image_size=64, crop_mode=mode, crop_pct=1.0,
        features=["stage1.map", "stage2.map"],
    )  # fmt: skip
    pictures = [picture(200 + i, (50, 70)) for i in range(32)]
    truth = annotated([one for _, one in pictures])
    pixels = [p for p, _ in pictures]
    model = TransferDetector(extractor, "fcos", recipe=RECIPE, **SMALL).fit(pixels, truth)
    assert model.measure(pixels, truth).ap50 > 0.9


@pytest.mark.parametrize("head", detection_heads())
def test_every_head_is_saved_and_loaded(backbone, folder, tmp_path, head):
    model = TransferDetector(backbone, head, recipe=QUICK, **SMALL)
    model.fit(*folder)
    model.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert type(again) is TransferDetector
    assert (again.head, again.classes_) == (head, CLASSES)
    assert (again.suppression_, again.threshold_) == (model.suppression_, model.threshold_)
    for a, b in zip(*(one.predict(folder[0]) for one in (model, again)), strict=True):
        assert len(a.boxes)
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.scores, b.scores)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "TransferDetector.load" in card
    assert "`dark`, `bright`" in card
    assert "`background`" not in card
    assert artifacts.describe(tmp_path / "model")["task"] == "detection"


def test_a_second_fit_computes_nothing_and_gives_the_same(backbone, folder):
    recipe = {"epochs": 2}
    first = TransferDetector(backbone, "fcos", recipe=recipe, **SMALL).fit(*folder)
    again = TransferDetector(backbone, "fcos", recipe=recipe, **SMALL).fit(*folder)
    assert "no weights loaded" in again.summary_
    for a, b in zip(*(one.predict(folder[0]) for one in (first, again)), strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_alone_or_among_others_the_same(learnt, folder):
    together = learnt.predict(folder[0])
    for path, one in zip(sorted(folder[0].iterdir()), together, strict=True):
        (alone,) = learnt.predict([path])
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
            pixels, _ = picture(i, (60, 80))
            resized = np.array(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC))
            seen = view.change(extraction.ids[i], resized).astype(float)
            for (left, top, right, bottom), label in zip(
                target["boxes"].numpy(), target["labels"].numpy(), strict=True
            ):
                inside = seen[int(top) + 2 : int(bottom) - 2, int(left) + 2 : int(right) - 2]
                bright = int(truth[i].labels[0]) == 2
                assert label in (-1, truth[i].labels[0])
                assert (inside.mean() > 200) if bright else (inside.mean() < 50)


def test_images_without_objects_are_trained_on(backbone, folder):
    empty = Annotations((64, 64), boxes=np.zeros((0, 4)), labels=np.zeros(0, np.int64))
    pictures = [picture(i) for i in range(24)]
    bare = np.random.default_rng(0).integers(100, 140, (8, 64, 64, 3), dtype=np.uint8)
    truth = annotated([*(one for _, one in pictures), *[empty] * 8])
    pixels = [*(p for p, _ in pictures), *bare]
    model = TransferDetector(backbone, "fcos", recipe=RECIPE, **SMALL).fit(pixels, truth)
    assert len(model.train_ids_) == 32
    found = model.predict(pixels)
    with_one = [one.scores.max(initial=0) for one in found[:24]]
    without = [one.scores.max(initial=0) for one in found[24:]]
    assert np.median(with_one) > 2 * max(without)
    with pytest.raises(ValueError, match="no object"):
        TransferDetector(backbone, recipe=QUICK).fit(bare, annotated([empty] * 8))


def test_ignored_objects_are_not_learnt(backbone, folder):
    objects = [
        Annotations(one.size, boxes=one.boxes, labels=one.labels, ignored=np.array([True]))
        for one in folder[1]
    ]
    with pytest.raises(ValueError, match="no object"):
        TransferDetector(backbone, recipe=QUICK).fit(folder[0], annotated(objects))


def test_masks_without_boxes_are_refused(backbone, folder):
    maps = [np.zeros((60, 80), int)] * 12
    with pytest.raises(FaultyAnnotations, match="no boxes"):
        TransferDetector(backbone, recipe=QUICK).fit(folder[0], maps)


def test_bad_images_are_named_or_left_out(backbone, folder):
    (folder[0] / "03.png").write_bytes(b"no picture")
    model = TransferDetector(backbone, "fcos", recipe=QUICK)
    with pytest.raises((UnreadableImages, FaultyAnnotations), match=r"03\.png"):
        model.fit(*folder)
    model.fit(*folder, on_error="skip")
    assert [failure.name for failure in model.failures_] == ["03.png"]
    assert len(model.train_ids_) == 11


def test_what_is_held_out_chooses_epoch_and_threshold(backbone, folder):
    images = list_images(folder[0])
    first, last = np.arange(8), np.arange(8, 12)
    model = TransferDetector(backbone, "fcos", recipe={**RECIPE, "epochs": 25}, **SMALL)
    model.fit(images.select(first), folder[1].select(first),
              validation=(images.select(last), folder[1].select(last)))  # fmt: skip
    assert model.history_[-1]["val_metric"] > 0.1
    assert model.threshold_ != 0.5
    found = model.predict(images.select(last))
    line = model.line(found[0])
    assert line["objects"] == (found[0].scores >= model.threshold_).sum()
    assert len(model.believed(found[0]).boxes) == line["objects"]
    assert model.line(None) == {"objects": None, "dark": None, "bright": None, "boxes": None}


def test_options_of_the_head_suit_the_boxes_unless_given(backbone, folder):
    model = TransferDetector(backbone, "retinanet", recipe=QUICK, head_options={"width": 16})
    model.fit(*folder)
    options = model.network_.arguments["head_options"]
    assert options["width"] == 16
    sizes = np.array(options["sizes"])
    # The squares have sides of 24 × 32 px at the network's input.
    assert sizes.min() < 30 < sizes.max()
    given = {**options, "sizes": [[10.0], [20.0]]}
    model = TransferDetector(backbone, "retinanet", recipe=QUICK, head_options=given).fit(*folder)
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
        TransferDetector(backbone, **{"recipe": QUICK, **options}).fit(*folder)


def test_a_run_that_was_stopped_goes_on_to_the_same_end(backbone, folder, tmp_path, monkeypatch):
    from transferkit.training import TrainingLoop

    def model(name):
        recipe = {"epochs": 4, "zoomed": False}
        options = {"recipe": recipe, "folder": tmp_path / name, **SMALL}
        return TransferDetector(backbone, "fcos", **options)

    whole = model("whole").fit(*folder)
    finish = TrainingLoop._finish_epoch

    def stopped(self, bar):
        finish(self, bar)
        if self.state.epoch == 2:
            raise KeyboardInterrupt

    stopping = model("stopped")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_finish_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            stopping.fit(*folder)
    stopping.fit(*folder, resume=True)
    a, b = whole.network_.state_dict(), stopping.network_.state_dict()
    assert all((a[name] == b[name]).all() for name in a)


def test_maps_of_stride_4_are_taken_where_objects_are_small(folder):
    extractor = FeatureExtractor("resnet18", pretrained=False, image_size=64, crop_pct=1.0)
    strides = {}
    for name, side in (("small", 10), ("large", 40)):
        boxes = np.array([[5.0, 5, 5 + side, 5 + side]])
        scenes = [Annotations((60, 80), boxes=boxes, labels=np.array([1]))] * 12
        model = TransferDetector(extractor, "ssd", recipe=QUICK, **SMALL)
        model.extractor_ = None
        model.usable(list_images(folder[0]), annotated(scenes))
        strides[name] = [level.stride for level in model._levels(model.extractor_)]
    assert strides == {"small": [4, 8, 16, 32], "large": [8, 16, 32]}


@pytest.mark.parametrize("rule", [{"method": "soft"}, {"is_class_agnostic": True}])
def test_suppression_is_as_the_user_says(learnt, folder, rule):
    before = learnt.suppression_
    try:
        learnt.suppression_ = type(before)(**rule)
        found = learnt.predict(folder[0])
    finally:
        learnt.suppression_ = before
    for one, other in zip(found, learnt.predict(folder[0]), strict=True):
        np.testing.assert_array_equal(one.boxes[0], other.boxes[0])
        assert one.scores.tolist() != other.scores.tolist() or "is_class_agnostic" in rule
        if "is_class_agnostic" in rule:
            overlaps = [overlap(one.boxes[0], box) for box in one.boxes[1:]]
            assert max(overlaps, default=0) <= before.iou + 1e-6
