"""``transferkit finetune`` of segmentation and detection, on small pictures of squares."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.estimators.test_detector import picture as with_box
from tests.estimators.test_segmenter import picture
from transferkit.cli._dense import TRAINED
from transferkit.dense.recipe import DetectionRecipe

pytestmark = pytest.mark.finetuning

BACKBONE = ("--backbone", "test_resnet", "--random", "--image-size", "64")
TINY = (*BACKBONE, "--task", "segmentation", "--head", "linear", "--set", "epochs=2")


@pytest.fixture
def annotated(tmp_path):
    """Twelve images with masks beside them."""
    for room in ("images", "masks"):
        (tmp_path / room).mkdir()
    for i in range(12):
        pixels, classes = picture(i)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i:02}.png")
        Image.fromarray(classes.astype(np.uint8)).save(tmp_path / "masks" / f"{i:02}.png")
    return tmp_path / "images"


def test_a_tuned_segmenter_works_with_every_command(call, annotated, tmp_path):
    model = tmp_path / "model"
    done = call("finetune", annotated, *TINY, "--set", "validation_fraction=0", "--out", model)
    assert done.code == 0, done.err
    assert "lp-ft of test_resnet on 9 images (none held out):" in done.err
    assert "on 3 images (held out: 20%, seed 0)" in done.out
    assert sorted(p.name for p in (tmp_path / "model.run").iterdir()) == ["curves.png", "log.csv"]
    predicted = call("predict", model, annotated, "--format", "masks", "--out", tmp_path / "found")
    assert predicted.code == 0, predicted.err
    assert len(list((tmp_path / "found").rglob("*.png"))) == 12
    measured = json.loads(call("evaluate", model, annotated, "--json").out)
    assert measured["left_out"] == 9
    backbone = f"local-dir:{model / 'backbone'}"
    extracted = call("extract", annotated, "--backbone", backbone, "--features", "stage1.map")
    assert extracted.code == 0, extracted.err


def test_init_and_json(call, annotated, tmp_path):
    first = call("fit", annotated, *TINY, "--out", tmp_path / "a")
    assert first.code == 0, first.err
    options = (
        *BACKBONE[:3],
        "--task",
        "segmentation",
        "--set",
        "epochs=1",
        "--strategy",
        "norm-only",
        "--json",
    )
    second = call(
        "finetune", annotated, *options, "--init", tmp_path / "a", "--out", tmp_path / "b",
    )  # fmt: skip
    assert second.code == 0, second.err
    result = json.loads(second.out)
    assert result["strategy"] == "norm-only"
    assert result["report"]["n"] == 3
    third = call(
        "finetune", annotated, *options, "--init", tmp_path / "a", "--head", "fpn",
        "--out", tmp_path / "c",
    )  # fmt: skip
    assert third.code == 2
    assert "--head was given beside --init" in third.err


def test_bad_images_and_masks_are_named(call, annotated, tmp_path):
    (annotated / "03.png").write_bytes(b"no picture")
    (annotated.parent / "masks" / "05.png").unlink()
    done = call("finetune", annotated, *TINY, "--out", tmp_path / "model")
    assert done.code == 3, done.err
    assert "03.png" in done.err
    assert "05.png" in done.err


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--strategy", "last-2-stages"), 1, "a dense head takes those of several"),
        (("--set", "epoch=3"), 1, "did you mean 'epochs'"),
        (("--task", "anomaly"), 2, "learns from frozen maps; run fit"),
        (("--task", "classification"), 2, f"--head is for {TRAINED}"),
    ],
)
def test_what_is_wrong_is_said_first(call, annotated, tmp_path, options, code, words):
    done = call("finetune", annotated, *TINY, *options, "--out", tmp_path / "model")
    assert done.code == code
    assert words in done.err


@pytest.fixture
def boxed(tmp_path):
    """Twelve images, and a COCO file of their boxes."""
    (tmp_path / "images").mkdir()
    images, objects = [], []
    for i in range(12):
        pixels, truth = with_box(i)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i:02}.png")
        images.append({"id": i, "file_name": f"{i:02}.png", "height": 64, "width": 64})
        left, top, right, bottom = truth.boxes[0].tolist()
        objects.append(
            {
                "id": i,
                "image_id": i,
                "category_id": int(truth.labels[0]),
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
            }
        )
    classes = [{"id": 1, "name": "dark"}, {"id": 2, "name": "bright"}]
    known = {"images": images, "annotations": objects, "categories": classes}
    (tmp_path / "boxes.json").write_text(json.dumps(known))
    return tmp_path / "images", "--annotations", tmp_path / "boxes.json"


def test_a_tuned_detector_works_with_every_command(call, boxed, tmp_path, monkeypatch):
    monkeypatch.setattr(DetectionRecipe, "trained_on", 100)
    model = tmp_path / "model"
    options = (*BACKBONE, "--task", "detection", "--head", "fcos", "--set", "epochs=1")
    done = call("finetune", *boxed, *options, "--set", "mosaic=0.5", "--out", model)
    assert done.code == 0, done.err
    assert "lp-ft of test_resnet on 9 images (none held out):" in done.err
    assert "mosaic 0.5" in done.err
    predicted = call("predict", model, boxed[0], "--format", "coco", "--out", tmp_path / "f.json")
    assert predicted.code == 0, predicted.err
    measured = json.loads(call("evaluate", model, *boxed, "--json").out)
    assert measured["left_out"] == 9
    again = call(
        "finetune", *boxed, *BACKBONE[:3], "--task", "detection", "--init", model,
        "--set", "epochs=1",
        "--strategy", "norm-only", "--json", "--out", tmp_path / "again",
    )  # fmt: skip
    assert again.code == 0, again.err
    assert json.loads(again.out)["strategy"] == "norm-only"
    refused = call(
        "finetune", *boxed, *options, "--set", "label_smoothing=0.1", "--out", tmp_path / "no"
    )
    assert refused.code == 1
    assert "label_smoothing" in refused.err
