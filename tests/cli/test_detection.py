"""Detection on the command line, on real files."""

import csv
import io
import json
import logging

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import Annotations, read_annotations, write_annotations
from transferkit.images import list_images

CLASSES = ("background", "dark", "bright")
NETWORK = ("--backbone", "resnet18", "--random", "--image-size", 64, "--features",
           "stage1.map,stage2.map", "--quiet")  # fmt: skip
FIT = (*NETWORK, "--task", "detection", "--head", "fcos", "--head-arg", "width=16", "--neck-arg",
       "width=16", "--set", "epochs=12", "--set", "zoomed=false", "--set",
       "learning_rate=0.01")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty-two pictures with a dark or a bright square, and VOC files beside them."""
    root = tmp_path_factory.mktemp("detection")
    rng = np.random.default_rng(0)
    names, scenes = [], []
    for i in range(32):
        part = "train" if i < 24 else "val"
        pixels = rng.integers(100, 140, (48, 60, 3), dtype=np.uint8)
        top, left = rng.integers(0, 24, 2).tolist()
        pixels[top : top + 24, left : left + 24] = 250 * (i % 2)
        names.append(f"{part}/{i:02}.png")
        place = root / "images" / names[-1]
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
        box = np.array([[left, top, left + 24, top + 24]], dtype=float)
        scenes.append(Annotations((48, 60), boxes=box, labels=np.array([1 + i % 2])))
    write_annotations(root / "Annotations", names, scenes, CLASSES, form="voc")
    return root


@pytest.fixture(scope="module")
def model(folder):
    from transferkit.cli import main

    place = folder / "model"
    logger = logging.getLogger("transferkit")
    before = logger.handlers, logger.propagate, logger.level
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in ("fit", folder / "images", *FIT, "--out", place)])
    assert stop.value.code == 0
    # The command line sets up logging for its process, which here is everybody's.
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])
    return place


def test_fit_says_what_it_did(call, folder, tmp_path):
    done = call("fit", folder / "images", *FIT, "--out", tmp_path / "m")
    assert done.code == 0, done.err
    for words in ("32 (2 classes)", "trained on train (24), measured on val (8)", "AP50", "m.run",
                  "nothing found"):  # fmt: skip
        assert words in done.out
    again = call("fit", folder / "images", *FIT, "--out", tmp_path / "m", "--force", "--json")
    result = json.loads(again.out)
    assert result["report"]["ap50"] > 0.5
    assert result["classes"] == ["bright", "dark"]
    assert result["remarks"] == []


def test_remarks_are_told(call, folder, tmp_path):
    found = read_annotations(folder / "Annotations", images := list_images(folder / "images"))
    scenes = list(found)
    wide = np.array([[5.0, 5, 90, 30]])
    scenes[0] = Annotations((48, 60), boxes=wide, labels=np.array([1]))
    write_annotations(tmp_path / "x.csv", images.names, scenes, found.classes, form="csv")
    done = call("fit", folder / "images", *FIT, "--set", "epochs=1", "--annotations",
                tmp_path / "x.csv", "--out", tmp_path / "m")  # fmt: skip
    assert done.code == 0, done.err
    assert "leaves the image" in done.err


@pytest.mark.parametrize(("form", "out"), [("voc", "v"), ("yolo", "y"), ("coco", "c.json"),
                                           ("csv", "t.csv")])  # fmt: skip
def test_boxes_can_be_read_as_truth(call, folder, model, tmp_path, form, out):
    done = call("predict", model, folder / "images", "--format", form, "--out", tmp_path / out,
                "--quiet")  # fmt: skip
    assert done.code == 0, done.err
    images = list_images(folder / "images")
    found = read_annotations(tmp_path / out, images, needs="boxes")
    true = read_annotations(folder / "Annotations", images)
    n_near = 0
    for one, expected in zip(found, true, strict=True):
        if len(one.boxes):
            n_near += np.abs(one.boxes - expected.boxes).max(1).min() < 8
    assert n_near > 24
    done = call("evaluate", model, folder / "images", "--annotations", tmp_path / out, "--all",
                "--json", "--quiet")  # fmt: skip
    assert json.loads(done.out)["ap50"] > 0.9


def test_a_table_goes_to_stdout_and_the_threshold_is_the_users(call, folder, model):
    lines = {}
    for threshold in (0, 0.3, 1):
        done = call("predict", model, folder / "images", "--quiet", "--threshold", threshold)
        assert done.code == 0
        lines[threshold] = [r for r in csv.DictReader(io.StringIO(done.out)) if r["x1"]]
    assert len(lines[0]) > len(lines[0.3]) > len(lines[1]) == 0
    assert all(float(row["score"]) >= 0.3 for row in lines[0.3])
    assert {row["label"] for row in lines[0.3]} == {"dark", "bright"}


def test_a_line_of_json_tells_the_boxes(call, folder, model):
    (folder / "images" / "val" / "zz.png").write_bytes(b"no picture")
    try:
        done = call("predict", model, folder / "images", "--quiet", "--json")
    finally:
        (folder / "images" / "val" / "zz.png").unlink()
    assert done.code == 3
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert len(lines) == 33
    assert lines[-1]["error"]
    for line in lines[:-1]:
        assert line["objects"] == len(line["boxes"]) == sum(line["count"].values())


def test_pictures_are_drawn(call, folder, model, tmp_path):
    done = call("predict", model, folder / "images" / "val", "--quiet", "--overlays",
                tmp_path / "pictures")  # fmt: skip
    assert done.code == 0
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 8


def test_evaluate_measures_what_was_not_trained_on(call, folder, model):
    done = call("evaluate", model, folder / "images", "--quiet")
    assert done.code == 0
    for words in ("measured on val (8 images)", "best threshold", "dark", "AP75"):
        assert words in done.out
    done = call("evaluate", model, folder / "images" / "train", "--annotations",
                folder / "Annotations" / "train", "--quiet")  # fmt: skip
    assert done.code == 1
    assert "trained on every one" in done.err


def test_evaluate_draws_truth_beside_prediction_and_the_curve(call, folder, model, tmp_path):
    done = call("evaluate", model, folder / "images", "--quiet", "--overlays", tmp_path / "p",
                "--plot", tmp_path / "curve.png")  # fmt: skip
    assert done.code == 0, done.err
    beside = sorted((tmp_path / "p").rglob("*.png"))
    assert [p.relative_to(tmp_path / "p").as_posix() for p in beside] == [
        f"val/{i:02}.png" for i in range(24, 32)
    ]
    assert call("predict", model, folder / "images" / "val", "--quiet", "--overlays",
                tmp_path / "q").code == 0  # fmt: skip
    widths = []
    for path in (beside[0], tmp_path / "q" / "24.png", tmp_path / "curve.png"):
        with Image.open(path) as picture:
            widths.append(picture.width)
    # The image, its truth and the prediction stand beside one another.
    assert widths[0] > 2.5 * widths[1]
    assert widths[2] > 300


def test_the_plan_tells_the_bytes(call, folder, tmp_path):
    plans = {}
    for zoomed in ("false", "true"):
        done = call("fit", folder / "images", *FIT, "--set", f"zoomed={zoomed}", "--out",
                    tmp_path / "m", "--plan", "--json")  # fmt: skip
        assert done.code == 0, done.err
        plans[zoomed] = json.loads(done.out)["n_bytes"]
    assert plans["true"] == pytest.approx(3 * plans["false"], rel=0.05)
    assert plans["false"] >= 2 * 32 * (64 * 256 + 128 * 64) * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--head", "fcs"), "did you mean 'fcos'"),
        (("--neck", "pfn"), "did you mean"),
        (("--set", "epoch=3"), "did you mean 'epochs'"),
        (("--annotation-form", "vok"), "did you mean 'voc'"),
        (("--annotation-form", "masks"), "no annotations in or beside"),
        (("--folds", 3), "--folds isn't there for detection"),
    ],
)
def test_what_is_wrong_is_said(call, folder, tmp_path, options, words):
    done = call("fit", folder / "images", *NETWORK, "--task", "detection", *options, "--out",
                tmp_path / "m")  # fmt: skip
    assert done.code in (1, 2)
    assert words in done.err


def test_masks_are_not_for_detection(call, folder, model, tmp_path):
    done = call("predict", model, folder / "images", "--format", "masks", "--out", tmp_path / "x")
    assert done.code == 2
    assert "isn't for detection" in done.err


def test_inspect_compares_a_models_boxes_with_the_annotations(call, folder, model, tmp_path):
    """Some boxes were left out, and some have the other class's name; half are sure enough."""
    images = list_images(folder / "images")
    truth = read_annotations(folder / "Annotations", images)
    scenes = list(truth)
    lost, renamed = (0, 3, 6, 11), (1, 4, 9, 12)
    for i in lost:
        scenes[i] = Annotations((48, 60), boxes=np.zeros((0, 4)), labels=np.zeros(0, int))
    for i in renamed:
        labels = 3 - scenes[i].labels
        scenes[i] = Annotations((48, 60), boxes=scenes[i].boxes, labels=labels)
    write_annotations(tmp_path / "x.json", images.names, scenes, truth.classes, form="coco")
    asked = ("inspect", folder / "images", "--annotations", tmp_path / "x.json", "--quiet",
             "--json", "--backbone", "test_resnet", "--random")  # fmt: skip
    found = json.loads(call(*asked, "--model", model).out)
    assert "it was trained on 24 of them" in found["facts"]["model"]
    for kind, planted in (("missing box", lost), ("box label", renamed)):
        places = {
            one["path"]: one["suggestion"]
            for one in found["findings"]
            if one["kind"] == kind and one["suggestion"]
        }
        assert places
        for path, suggestion in places.items():
            at = images.names.index(path)
            assert at in planted
            assert suggestion == truth.classes[truth[at].labels[0]]
    assert sum(found["balance"]["train"].values()) == 20
    assert sum(found["balance"]["val"].values()) == 8
    refused = call(*asked, "--model", model, "--task", "instances")
    assert refused.code == 2
    assert "the model's is detection; leave --task out" in refused.err


def test_fit_leaves_out_what_a_list_names(call, folder, tmp_path):
    file = tmp_path / "exclude.txt"
    file.write_text("train/03.png\nval/30.png\n")
    done = call("fit", folder / "images", *FIT, "--set", "epochs=1", "--exclude", file, "--out",
                tmp_path / "m")  # fmt: skip
    assert done.code == 0, done.err
    assert "trained on train (23), measured on val (7)" in done.out
