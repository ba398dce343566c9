"""Segmentation and anomaly detection on the command line, on real files."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.launched import run_in_two
from transferkit.cli._dense import FINDING, TRAINED

NETWORK = ("--backbone", "resnet18", "--random", "--image-size", 64, "--features",
           "stage1.map,stage2.map", "--quiet")  # fmt: skip
FIT = (*NETWORK, "--task", "segmentation", "--head", "linear", "--set", "epochs=12",
       "--set", "learning_rate=0.01")  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Sixteen pictures with a bright square, and masks beside them."""
    rng = np.random.default_rng(0)
    for i in range(16):
        part = "train" if i < 12 else "val"
        pixels = rng.integers(0, 60, (48, 60, 3), dtype=np.uint8)
        classes = np.zeros((48, 60), np.uint8)
        top, left = rng.integers(0, 24, 2)
        classes[top : top + 24, left : left + 30] = 1
        pixels[classes == 1] += 180
        for kind, array in (("images", pixels), ("masks", classes)):
            place = tmp_path / "data" / kind / part / f"{i:02}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(place)
    return tmp_path / "data"


@pytest.fixture
def model(call, folder, tmp_path):
    done = call("fit", folder / "images", *FIT, "--out", tmp_path / "model")
    assert done.code == 0, done.err
    return tmp_path / "model"


def mask(path):
    return np.array(Image.open(path))


def test_fit_says_what_it_did(call, folder, tmp_path):
    done = call("fit", folder / "images", *FIT, "--out", tmp_path / "m")
    assert done.code == 0
    for words in ("16 (2 classes)", "trained on train (12), measured on val (4)", "mIoU", "m.run"):
        assert words in done.out
    again = call("fit", folder / "images", *FIT, "--out", tmp_path / "m", "--force", "--json")
    result = json.loads(again.out)
    assert result["report"]["mean_iou"] > 0.7
    assert result["classes"] == ["background", "foreground"]


@pytest.mark.finetuning
def test_two_processes_train_what_one_does(folder, call, tmp_path):
    # Of the pixels' mean loss the halves of a batch have a mean; of dice they don't.
    options = (*FIT, "--set", "loss=cross-entropy", "--set", "epochs=4", "--device", "cpu",
               "--store", tmp_path / "store")  # fmt: skip
    two = run_in_two("-m", "transferkit", "fit", folder / "images", *options,
                     "--out", tmp_path / "two")  # fmt: skip
    assert "mIoU" in two[0][0]
    assert two[1][0] == ""
    assert call("fit", folder / "images", *options, "--out", tmp_path / "one").code == 0
    losses = []
    for name in ("one", "two"):
        with (tmp_path / f"{name}.run" / "log.csv").open() as file:
            lines = list(csv.DictReader(file))
        losses.append([float(line["train_loss"]) for line in lines if line["epoch"] != "0"])
    assert len(losses[0]) == 4
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_masks_beside_the_images_are_no_images(call, folder, model, tmp_path):
    done = call("predict", model, folder, "--out", tmp_path / "found", "--quiet")
    assert done.code == 0
    assert "16 of 16 images predicted" in done.err


def test_masks_come_back_in_the_images_px(call, folder, model, tmp_path):
    done = call("predict", model, folder / "images", "--out", tmp_path / "found", "--quiet",
                "--overlays", tmp_path / "pictures")  # fmt: skip
    assert done.code == 0
    found = sorted((tmp_path / "found").rglob("*.png"))
    assert len(found) == 16
    agree = [(mask(p) == mask(folder / "masks" / p.parent.name / p.name)).mean() for p in found]
    assert np.mean(agree) > 0.9
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 16


def test_coco_can_be_read_as_truth(call, folder, model, tmp_path):
    done = call("predict", model, folder / "images", "--format", "coco", "--out",
                tmp_path / "found.json", "--quiet")  # fmt: skip
    assert done.code == 0
    content = json.loads((tmp_path / "found.json").read_text())
    assert len(content["images"]) == 16
    done = call("evaluate", model, folder / "images", "--annotations", tmp_path / "found.json",
                "--all", "--json", "--quiet")  # fmt: skip
    assert json.loads(done.out)["mean_iou"] == 1


def test_a_table_has_a_line_for_each_image(call, folder, model):
    (folder / "images" / "train" / "zz.png").write_bytes(b"no picture")
    done = call("predict", model, folder / "images", "--quiet")
    assert done.code == 3
    lines = list(csv.DictReader(io.StringIO(done.out)))
    assert len(lines) == 17
    shares = [float(line["share:foreground"]) for line in lines if not line["error"]]
    assert len(shares) == 16
    assert all(0 <= share <= 1 for share in shares)
    assert "train/zz.png" in done.err


def test_evaluate_measures_what_was_not_trained_on(call, folder, model):
    done = call("evaluate", model, folder / "images", "--quiet", "--overlays", folder / "p")
    assert done.code == 0
    assert "measured on val (4 images)" in done.out
    assert len(list((folder / "p" / "val").glob("*.png"))) == 4
    done = call("evaluate", model, folder / "images", "--plot", folder / "curve.png")
    assert done.code == 2
    assert f"--plot is for {FINDING}" in done.err
    done = call("evaluate", model, folder / "images" / "train", "--annotations",
                folder / "masks" / "train", "--quiet")  # fmt: skip
    assert done.code == 1
    assert "trained on every one" in done.err


def test_a_page_shows_what_was_measured(call, folder, model, tmp_path):
    (folder / "images" / "val" / "zz.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((48, 60), np.uint8)).save(folder / "masks" / "val" / "zz.png")
    place = tmp_path / "page.html"
    done = call("evaluate", model, folder / "images", "--quiet", "--report", place, "--json",
                "--overlays", tmp_path / "pictures", "--on-error", "skip")  # fmt: skip
    assert done.code == 0, done.err
    assert f"page: {place} (" in done.err
    assert "pictures: " in done.err
    text = place.read_text()
    report = json.loads(done.out)
    assert f"{100 * report['mean_iou']:.2f} %" in text
    for words in ("val/zz.png", "foreground", "Images that were left out", "resnet18"):
        assert words in text
    assert text.count("data:image/jpeg") == 4
    assert str(tmp_path) not in text
    before = text
    (folder / "images" / "val" / "12.png").unlink()
    done = call("evaluate", model, folder / "images", "--report", tmp_path)
    assert done.code == 2
    done = call("evaluate", model, tmp_path / "nowhere", "--report", place)
    assert done.code in (1, 2)
    assert place.read_text() == before


def test_without_plotly_there_is_an_error_before_the_work(monkeypatch, tmp_path):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "plotly" else find(name, *a)
    )
    from transferkit.report.page import check_page

    with pytest.raises(ValueError, match=r"need plotly; install it with: pip install"):
        check_page(tmp_path / "page.html")


def test_the_plan_tells_the_bytes(call, folder, tmp_path):
    done = call("fit", folder / "images", *FIT, "--out", tmp_path / "m", "--plan", "--json")
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    # Maps of 64 × 16 × 16 and 128 × 8 × 8 as float16, plain and mirrored.
    assert plan["n_bytes"] >= 2 * 16 * (64 * 256 + 128 * 64) * 2
    assert not (tmp_path / "m").exists()


def test_int8_maps_do_as_well(call, folder, tmp_path):
    done = call("fit", folder / "images", *FIT, "--storage", "int8", "--out", tmp_path / "m",
                "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["report"]["mean_iou"] > 0.7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "classification", "--neck", "fpn"), f"--neck is for {TRAINED}"),
        (("--task", "segmentation", "--folds", 3), "--folds isn't there for segmentation"),
        (("--task", "anomaly", "--neck", "fpn"), f"--neck is for {TRAINED}, not anomaly"),
        (("--task", "segmentation", "--neck", "pfn"), "did you mean"),
        (("--task", "segmentation", "--head", "fnp"), "did you mean 'fpn'"),
        (("--task", "segmentation", "--set", "epoch=3"), "did you mean 'epochs'"),
    ],
)
def test_what_is_wrong_is_said(call, folder, tmp_path, options, words):
    done = call("fit", folder / "images", *NETWORK, *options, "--out", tmp_path / "m")
    assert done.code in (1, 2)
    assert words in done.err


def test_a_classifier_gives_no_masks(call, images, tmp_path):
    assert call("fit", images, "--backbone", "resnet18", "--random", "--image-size", 64,
                "--quiet", "--out", tmp_path / "m").code == 0  # fmt: skip
    done = call("predict", tmp_path / "m", images, "--format", "masks", "--out", tmp_path / "x")
    assert done.code == 2
    assert "is for models of dense tasks" in done.err


@pytest.fixture
def products(tmp_path):
    """Good products, and some with a stain; a mask of each stain."""
    rng = np.random.default_rng(0)

    def save(place, array):
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(place)

    root = tmp_path / "products"
    for i in range(20):
        pixels = rng.integers(100, 120, (64, 64, 3), dtype=np.uint8)
        part = "train/good" if i < 12 else "test/good" if i < 16 else "test/stain"
        if i >= 16:
            stain = np.zeros((64, 64), np.uint8)
            stain[20:40, 24:44] = 255
            pixels[stain > 0] = 250
            save(root / "ground_truth" / "stain" / f"{i:02}_mask.png", stain)
        save(root / part / f"{i:02}.png", pixels)
    return root


def test_anomalies_are_found(call, products, tmp_path):
    done = call("fit", products, *NETWORK, "--task", "anomaly", "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)["report"]
    assert report["image_auroc"] == 1
    assert report["pixel_auroc"] > 0.9
    done = call("predict", tmp_path / "m", products / "test" / "stain", "--quiet", "--overlays",
                tmp_path / "pictures")  # fmt: skip
    assert done.code == 0
    assert len(list(csv.DictReader(io.StringIO(done.out)))) == 4
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == 4
    done = call("evaluate", tmp_path / "m", products, "--quiet", "--report", tmp_path / "p.html")
    assert done.code == 0
    assert "image AUROC" in done.out
    text = (tmp_path / "p.html").read_text()
    for words in ("image AUROC", "AUPRO", "Scores of the pixels", "Found", "test/stain/16.png"):
        assert words in text
    assert text.count("data:image/jpeg") == 8
