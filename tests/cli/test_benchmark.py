import json

import numpy as np
import pytest
from PIL import Image

from tests.pictures import picture
from transferkit.cli._dense import TRAINED

pytestmark = pytest.mark.suites


@pytest.fixture
def run(call, images, tmp_path):
    def benchmark(*options):
        return call(
            "benchmark", images, "--backbones", "test_resnet@random,test_resnet@random:1",
            "--image-size", 48, "--out", tmp_path / "results", *options,
        )  # fmt: skip

    return benchmark


def test_a_leaderboard_and_a_rerun(run, tmp_path):
    done = run("--seeds", 1, "--csv")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert (
        lines[0] == "images, transfer-logreg, all training images, 5 test images; baseline 60.0 %"
    )
    assert lines[-1].split() == ["cells", "2", "done,", "0", "kept,", "0", "failed"]
    assert (tmp_path / "results" / "rows.csv").exists()
    again = run("--seeds", 1)
    assert "0 done, 2 kept" in again.out
    assert again.err == ""


def test_a_warning_is_said_once(run):
    done = run("--seeds", 1, "--image-size", 192, "--plan")
    assert done.err.count("are enlarged to twice their size or more") == 0
    done = run("--seeds", 1, "--image-size", 192)
    assert "2 done" in done.out
    assert done.err.count("are enlarged to twice their size or more") == 1, done.err


def test_json(run):
    done = run("--protocols", "simpleshot,bigvision-fewshot", "--shots", "1,2", "--json", "--quiet")
    found = json.loads(done.out)
    assert found["cells"] == {"done": 24, "kept": 0, "failed": 0}
    assert {(b["probe"], b["shots"]) for b in found["boards"]} == {
        (probe, shots) for probe in ("simpleshot", "bigvision-fewshot") for shots in (1, 2)
    }


def test_failed_cells_are_told(run):
    done = run("--shots", 500, "--seeds", 1)
    assert done.code == 3
    assert "500 shots, but class 0 has 9 images" in done.err
    assert "2 failed" in done.out


def test_plan_and_screen_write_no_rows(run, tmp_path):
    planned = run("--plan")
    assert planned.code == 0
    assert "6 in 2 passes" in planned.out
    assert not (tmp_path / "results").exists()
    assert json.loads(run("--plan", "--json").out)["cells"] == 6
    run("--seeds", 1, "--quiet")
    hints = run("--screen")
    assert hints.out.startswith("images: hints, not results")
    assert run("--screen", "--json").code == 0


def test_further_metrics_are_columns(run):
    plain = ("--seeds", 1, "--quiet")
    assert "balanced_accuracy" not in run(*plain).out
    assert "balanced_accuracy" not in run(*plain, "--json").out
    header, place = run(*plain, "--metrics", "balanced_accuracy,ece").out.splitlines()[1:3]
    assert header.split()[-2:] == ["balanced_accuracy", "ece"]
    assert " %  " in place
    found = json.loads(run(*plain, "--metrics", "balanced_accuracy", "--json").out)
    assert 0 <= found["boards"][0]["places"][0]["balanced_accuracy"] <= 1
    wrong = run(*plain, "--metrics", "acuracy")
    assert wrong.code == 1
    assert "unknown metric 'acuracy'; did you mean 'accuracy'" in wrong.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--protocols", "dino-knn"), "the number of neighbours is published; use dino-knn10"),
        (("--shots", "1,x"), "write numbers or 'full', as in 1,5,10,full"),
        (("--heads", "lineer"), "unknown head 'lineer'; did you mean 'linear'"),
    ],
)
def test_wrong_names(run, options, message):
    done = run(*options)
    assert done.code in (1, 2)
    assert message in done.err


@pytest.fixture
def masked(tmp_path):
    """Eight pictures whose right side is bright, with masks that say so."""
    root = tmp_path / "halves"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for i in range(8):
        image = picture(i, (40, 40)) // 4
        image[:, 20:] += 150
        Image.fromarray(image).save(root / "images" / f"{i}.png")
        mask = np.zeros((40, 40), np.uint8)
        mask[:, 20:] = 1
        Image.fromarray(mask).save(root / "masks" / f"{i}.png")
    return root


def test_segmentation(call, masked, tmp_path):
    command = (
        "benchmark", masked, "--task", "segmentation", "--backbones", "test_resnet@random",
        "--protocols", "torchgeo-seg-linear", "--heads", "linear", "--seeds", 1,
        "--shots", "3,full", "--image-size", 48, "--out", tmp_path / "results",
    )  # fmt: skip
    planned = call(*command, "--plan")
    assert planned.code == 0, planned.err
    assert "4 in 1 pass" in planned.out
    done = call(*command, "--metrics", "boundary_f")
    assert done.code == 0, done.err
    assert "halves, torchgeo-seg-linear, 3 training images, 2 test images; baseline" in done.out
    assert "mean_iou %" in done.out
    assert "ECE" not in done.out
    assert "boundary_f" in done.out
    again = json.loads(call(*command, "--json").out)
    assert again["cells"] == {"done": 0, "kept": 4, "failed": 0}
    assert {board["metric"] for board in again["boards"]} == {"mean_iou"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--protocols", "dinov2-linear-seg"), "is for --task segmentation, not classification"),
        (("--annotations", "."), f"annotations are for --task {TRAINED}"),
        (("--task", "segmentation", "--protocols", "clip"), "'clip' isn't for segmentation; use"),
        (("--task", "segmentation"), "annotations"),
        (("--task", "detection", "--protocols", "clip"), "'clip' isn't for detection, of which no"),
        (("--task", "detection"), "annotations"),
        (("--task", "anomaly"), "there is no benchmark of anomaly yet"),
    ],
)
def test_masks_where_they_belong(run, options, message):
    done = run(*options)
    assert done.code in (1, 2)
    assert message in done.err


def test_masks_of_one_dataset(call, masked, tmp_path):
    done = call(
        "benchmark", masked, masked, "--task", "segmentation", "--backbones", "test_resnet@random",
        "--annotations", masked / "masks", "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.code == 2
    assert "--annotations names those of one dataset, and 2 were given" in done.err


@pytest.fixture
def boxed(tmp_path):
    """Eight pictures with a bright square, and its box in a COCO file."""
    root = tmp_path / "squares"
    root.mkdir()
    images, objects = [], []
    for i in range(8):
        pixels = picture(i, (40, 40)) // 4
        pixels[8:28, 2 * i : 2 * i + 20] += 150
        Image.fromarray(pixels).save(root / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 40, "height": 40})
        box = [2 * i, 8, 20, 20]
        objects.append({"id": i, "image_id": i, "category_id": 1, "bbox": box, "area": 400})
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "sq"}]}
    (root / "_annotations.coco.json").write_text(json.dumps(content))
    return root


def test_detection(call, boxed, tmp_path):
    command = (
        "benchmark", boxed, "--task", "detection", "--backbones", "test_resnet@random",
        "--heads", "fcos", "--seeds", 1, "--shots", "2", "--image-size", 48,
        "--out", tmp_path / "results",
    )  # fmt: skip
    planned = call(*command, "--plan")
    assert planned.code == 0, planned.err
    assert "1 in 1 pass" in planned.out
    done = call(*command)
    assert done.code == 0, done.err
    assert "squares, fcos, 2 training images, 2 test images; baseline" in done.out
    assert "average_precision %" in done.out
    assert "ap50" in done.out
    assert "ECE" not in done.out
    again = json.loads(call(*command, "--json").out)
    assert again["cells"] == {"done": 0, "kept": 1, "failed": 0}
    assert {board["metric"] for board in again["boards"]} == {"average_precision"}
    assert all("ap50" in place for board in again["boards"] for place in board["places"])
