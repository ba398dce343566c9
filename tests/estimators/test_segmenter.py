"""`TransferSegmenter`, on small pictures of squares whose masks are known."""

import numpy as np
import pytest
from PIL import Image

from transferkit import artifacts
from transferkit.annotations import VOID, Annotations, AnnotationSet, FaultyAnnotations
from transferkit.estimators import FeatureExtractor, TransferSegmenter, load_estimator
from transferkit.images import UnreadableImages, list_images

RECIPE = {"epochs": 15, "learning_rate": 0.01}


def picture(seed, size=(64, 64)):
    """A bright square on a dark ground, and its class map."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
    classes = np.zeros(size, dtype=np.int64)
    top, left = (int(rng.integers(0, side // 2)) for side in size)
    classes[top : top + size[0] // 2, left : left + size[1] // 2] = 1
    pixels[classes == 1] += 180
    return pixels, classes


@pytest.fixture(scope="module")
def backbone():
    return FeatureExtractor(
        "resnet18", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        features=["stage1.map", "stage2.map"],
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Eight image files with masks beside them."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(8):
        pixels, classes = picture(i, (60, 80))
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(classes.astype(np.uint8)).save(tmp_path / "masks" / f"{i}.png")
    return tmp_path


def masks(folder):
    return [np.array(Image.open(folder / "masks" / f"{i}.png")).astype(int) for i in range(8)]


def iou(found, true):
    both, either = ((found == 1) & (true == 1)).sum(), ((found == 1) | (true == 1)).sum()
    return both / either


def test_learns_masks_and_predicts_in_the_images_px(backbone, folder):
    model = TransferSegmenter(backbone, "linear", recipe=RECIPE)
    model.fit(folder / "images", masks(folder))
    sizes = [(33, 90), (200, 61)]
    pictures = [picture(100 + i, size) for i, size in enumerate(sizes)]
    found = model.predict([pixels for pixels, _ in pictures])
    for one, (_, true), size in zip(found, pictures, sizes, strict=True):
        assert one.size == size == one.map.shape
        assert iou(one.map, true) > 0.7


def test_a_second_fit_computes_nothing_and_gives_the_same(backbone, folder):
    first = TransferSegmenter(backbone, "fpn", recipe=RECIPE).fit(folder / "images", masks(folder))
    again = TransferSegmenter(backbone, "fpn", recipe=RECIPE).fit(folder / "images", masks(folder))
    assert "no weights loaded" in again.summary_
    a, b = (model.predict(folder / "images") for model in (first, again))
    assert all((x.map == y.map).all() for x, y in zip(a, b, strict=True))


def test_alone_or_among_others_the_same(backbone, folder):
    model = TransferSegmenter(backbone, "linear", recipe=RECIPE)
    model.fit(folder / "images", masks(folder))
    together = model.predict(folder / "images")
    alone = [model.predict([path])[0] for path in sorted((folder / "images").iterdir())]
    assert all((x.map == y.map).mean() > 0.999 for x, y in zip(together, alone, strict=True))


def test_masks_beside_the_images_are_found(backbone, folder):
    model = TransferSegmenter(backbone, "linear", recipe=RECIPE).fit(folder / "images")
    assert model.score(folder / "images") > 0.8
    assert len(model.classes_) == 2


def test_saved_and_loaded(backbone, folder, tmp_path):
    model = TransferSegmenter(backbone, "fpn", neck="panet", recipe=RECIPE)
    model.fit(folder / "images", masks(folder))
    model.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert type(again) is TransferSegmenter
    assert (again.head, again.neck, again.classes_) == ("fpn", "panet", model.classes_)
    a, b = (one.predict(folder / "images") for one in (model, again))
    assert all((x.map == y.map).all() for x, y in zip(a, b, strict=True))
    content = artifacts.describe(tmp_path / "model")
    assert content["task"] == "segmentation"
    assert "TransferSegmenter.load" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize("file", ["head.safetensors", "model.json", "train_ids.safetensors"])
def test_a_damaged_file_is_refused(backbone, folder, tmp_path, file):
    TransferSegmenter(backbone, "linear", recipe={"epochs": 1}).fit(
        folder / "images", masks(folder)
    ).save(tmp_path / "model")
    path = tmp_path / "model" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged"):
        load_estimator(tmp_path / "model")


def test_a_classifier_does_not_load_it(backbone, folder, tmp_path):
    from transferkit.estimators import TransferClassifier

    TransferSegmenter(backbone, "linear", recipe={"epochs": 1}).fit(
        folder / "images", masks(folder)
    ).save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"TransferSegmenter\.load"):
        TransferClassifier.load(tmp_path / "model")


def test_bad_images_are_named_or_left_out_with_their_masks(backbone, folder):
    (folder / "images" / "3.png").write_bytes(b"no picture")
    model = TransferSegmenter(backbone, "linear", recipe={"epochs": 1})
    with pytest.raises((UnreadableImages, FaultyAnnotations), match=r"3\.png"):
        model.fit(folder / "images", masks(folder))
    model.fit(folder / "images", masks(folder), on_error="skip")
    assert [failure.name for failure in model.failures_] == ["3.png"]
    assert len(model.train_ids_) == 7


def test_bad_masks_are_named_or_left_out_with_their_images(backbone, folder):
    (folder / "masks" / "2.png").write_bytes(b"no picture")
    Image.new("L", (10, 10)).save(folder / "masks" / "5.png")
    (folder / "masks" / "6.png").unlink()
    model = TransferSegmenter(backbone, "linear", recipe={"epochs": 1})
    with pytest.raises(FaultyAnnotations, match="3 of 8") as raised:
        model.fit(folder / "images")
    assert {f.index for f in raised.value.failures} == {2, 5, 6}
    model.fit(folder / "images", on_error="skip")
    assert len(model.train_ids_) == 5


def test_only_void_is_refused(backbone):
    pixels = [picture(i)[0] for i in range(3)]
    with pytest.raises(ValueError, match="all are void"):
        TransferSegmenter(backbone, "linear", recipe={"epochs": 1}).fit(
            pixels, AnnotationSet(["a", "b"], [np.full((64, 64), VOID)] * 3,
                                  lambda m: Annotations(m.shape, map=m))
        )  # fmt: skip


@pytest.mark.parametrize("n", [1, 3])
def test_few_images_and_many_classes(backbone, n):
    rng = np.random.default_rng(0)
    pixels = [picture(i)[0] for i in range(n)]
    maps = [rng.integers(VOID, 200, (64, 64)) for _ in range(n)]
    found = AnnotationSet([str(i) for i in range(200)], maps, lambda m: Annotations(m.shape, map=m))
    model = TransferSegmenter(backbone, "linear", recipe={"epochs": 1}).fit(pixels, found)
    assert model.predict(pixels)[0].map.max() < 200


def test_the_split_named_train_is_trained_on(backbone, folder):
    from dataclasses import replace

    splits = ("train",) * 4 + ("val",) * 2 + ("test",) * 2
    images = replace(list_images(folder / "images"), splits=splits)
    model = TransferSegmenter(backbone, "linear", recipe=RECIPE).fit(images, masks(folder))
    assert len(model.train_ids_) == 4
    assert "val_metric" in model.history_[-1]


def test_validation_given_apart_chooses_and_copies_do_not(backbone, folder):
    first, last = list_images(folder / "images").select(range(5)), list_images(folder / "images")
    model = TransferSegmenter(backbone, "linear", recipe=RECIPE)
    model.fit(first, masks(folder)[:5], validation=(last, masks(folder)))
    assert len(model.train_ids_) == 5
    assert model.history_[-1]["val_metric"] > 0.5


def test_a_failed_fit_leaves_the_model_as_it_was(backbone, folder):
    model = TransferSegmenter(backbone, "linear", recipe=RECIPE)
    model.fit(folder / "images", masks(folder))
    before = model.predict(folder / "images")
    with pytest.raises(ValueError, match="setting"):
        model.set_params(recipe={"epoch": 3}).fit(folder / "images", masks(folder))
    after = model.predict(folder / "images")
    assert all((x.map == y.map).all() for x, y in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "fnp"}, "did you mean 'fpn'"),
        ({"neck": "pan"}, "did you mean 'panet'"),
        ({"features": "stage1.avg"}, r"write stage1\.map"),
        ({"image_size": 32}, "give it there"),
        ({"recipe": {"epochs": 0}}, "above 0"),
        ({"recipe": {"epochs": "many"}}, "such as"),
    ],
)
def test_what_is_not_allowed_is_said(backbone, folder, options, words):
    model = TransferSegmenter(backbone, **options)
    with pytest.raises(ValueError, match=words):
        model.fit(folder / "images", masks(folder))


def test_a_run_that_was_stopped_goes_on_to_the_same_end(backbone, folder, tmp_path, monkeypatch):
    from transferkit.training import TrainingLoop

    def model(name):
        return TransferSegmenter(backbone, "linear", recipe={"epochs": 4}, folder=tmp_path / name)

    whole = model("whole").fit(folder / "images", masks(folder))
    finish = TrainingLoop._finish_epoch

    def stopped(self, bar):
        finish(self, bar)
        if self.state.epoch == 2:
            raise KeyboardInterrupt

    stopping = model("stopped")
    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_finish_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            stopping.fit(folder / "images", masks(folder))
    stopping.fit(folder / "images", masks(folder), resume=True)
    assert len(stopping.history_) == 5
    a, b = whole.network_.state_dict(), stopping.network_.state_dict()
    assert all((a[name] == b[name]).all() for name in a)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        model("never").fit(folder / "images", masks(folder), resume=True)
