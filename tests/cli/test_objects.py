"""Every task that finds objects, on the command line: the same commands, on real files."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import Annotations, read_annotations, write_annotations
from transferkit.dense.recipe import DetectionRecipe
from transferkit.images import list_images, oriented_of_corners, upright_of_oriented
from transferkit.tasks import dense
from transferkit.tasks.dense import dense_task_of

TASKS = [name for name in dense.names() if dense_task_of(name).has_objects]
PAIRS = [(task, form) for task in TASKS for form in dense_task_of(task).forms]
CLASSES = ("background", "dark", "bright")
SIZE = (48, 64)
BACKBONE = ("--backbone", "test_resnet", "--random", "--image-size", 64, "--quiet")
FIT = (*BACKBONE, "--head-arg", "width=16", "--neck-arg", "width=16", "--set", "epochs=10",
       "--set", "zoomed=false", "--set", "learning_rate=0.01")  # fmt: skip


def test_they_are_all_here():
    assert TASKS == ["detection", "instances", "oriented"]
    assert len(PAIRS) >= 12


def scene(i):
    """A dark or a bright rectangle on grey noise, which is upright or lies."""
    rng = np.random.default_rng(i)
    pixels = rng.integers(100, 140, (*SIZE, 3), dtype=np.uint8)
    height, width = (26, 16) if i % 3 else (16, 26)
    top, left = rng.integers(0, 22, 2).tolist()
    pixels[top : top + height, left : left + width] = 250 * (i % 2)
    mask = np.zeros((1, *SIZE), dtype=bool)
    mask[0, top : top + height, left : left + width] = True
    box = np.array([[left, top, left + width, top + height]], dtype=float)
    oriented = oriented_of_corners(box[:, [[0, 1], [2, 1], [2, 3], [0, 3]]])
    label = np.array([1 + i % 2])
    return pixels, Annotations(SIZE, boxes=box, masks=mask, oriented=oriented, labels=label)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty-four pictures, and a COCO file beside them that tells masks and oriented boxes."""
    root = tmp_path_factory.mktemp("objects")
    names, scenes = [], []
    for i in range(24):
        pixels, one = scene(i)
        names.append(f"{'train' if i < 18 else 'val'}/{i:02}.png")
        place = root / "images" / names[-1]
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
        scenes.append(one)
    write_annotations(root / "objects.json", names, scenes, CLASSES, form="coco")
    return root


@pytest.fixture(scope="module")
def models(folder):
    """A model of each task, from ``fit``, by its task."""
    from transferkit.cli import main

    logger = logging.getLogger("transferkit")
    before = logger.handlers, logger.propagate, logger.level
    places = {}
    for task in TASKS:
        places[task] = folder / f"model-{task}"
        asked = ("fit", folder / "images", "--annotations", folder / "objects.json", "--task", task,
                 *FIT, "--out", places[task])  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main([str(one) for one in asked])
        assert stop.value.code == 0
    # The command line sets up logging for its process, which here is everybody's.
    logger.handlers, logger.propagate = before[:2]
    logger.setLevel(before[2])
    return places


def held(task, one):
    """Upright boxes around what a task has found."""
    if task == "oriented":
        return upright_of_oriented(one.oriented)
    return one.masks.boxes if task == "instances" else one.boxes


@pytest.mark.parametrize(("task", "form"), PAIRS)
def test_what_is_found_can_be_read_as_truth(call, folder, models, tmp_path, task, form):
    ending = {"coco": ".json", "cvat": ".xml", "csv": ".csv"}.get(form, "")
    place = tmp_path / f"found{ending}"
    done = call("predict", models[task], folder / "images", "--format", form, "--out", place,
                "--threshold", 0.1, "--quiet")  # fmt: skip
    assert done.code == 0, done.err
    assert "24 of 24 images predicted" in done.err
    images = list_images(folder / "images")
    found = read_annotations(place, images, needs=dense_task_of(task).needs)
    true = read_annotations(folder / "objects.json", images)
    n_near = 0
    for one, expected in zip(found, true, strict=True):
        if len(one.labels):
            n_near += np.abs(held(task, one) - expected.boxes).max(1).min() < 9
    assert n_near >= 16


@pytest.mark.parametrize("task", TASKS)
def test_the_form_follows_from_the_place(call, folder, models, tmp_path, task):
    images = folder / "images" / "val"
    places = {"f": None, "f.json": "coco", "f.xml": "cvat", "f.jsonl": None}
    for name in places:
        done = call("predict", models[task], images, "--threshold", 0.1, "--out", tmp_path / name,
                    "--quiet")  # fmt: skip
        assert done.code == 0, done.err
    assert (tmp_path / "f").is_dir()
    assert json.loads((tmp_path / "f.json").read_text())["annotations"]
    assert (tmp_path / "f.xml").read_text().startswith("<?xml")
    lines = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    for line in lines:
        assert line["objects"] == len(line["boxes"]) == sum(line["count"].values())
    (first,) = {tuple(sorted(box)) for line in lines for box in line["boxes"]}
    further = {"detection": (), "instances": ("area",), "oriented": ("corners",)}[task]
    assert set(first) == {"label", "score", "box", *further}


@pytest.mark.parametrize("task", TASKS)
def test_evaluate_with_pictures_and_curve(call, folder, models, tmp_path, task):
    done = call("evaluate", models[task], folder / "images", "--annotations",
                folder / "objects.json", "--quiet", "--overlays", tmp_path / "p",
                "--plot", tmp_path / "curve.png")  # fmt: skip
    assert done.code == 0, done.err
    for words in ("measured on val (6 images)", "AP50", "AP75", "dark", "threshold"):
        assert words in done.out
    assert len(list((tmp_path / "p").rglob("*.png"))) == 6
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 300


@pytest.mark.parametrize("task", TASKS)
def test_evaluate_with_a_page(call, folder, models, tmp_path, task):
    place = tmp_path / "page.html"
    done = call("evaluate", models[task], folder / "images", "--annotations",
                folder / "objects.json", "--quiet", "--report", place, "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert f"page: {place} (" in done.err
    text = place.read_text()
    report = json.loads(done.out)
    assert f"{100 * report['ap50']:.2f} %" in text
    for words in (f"model-{task}", "test_resnet (random weights)", "Precision over recall",
                  "measured on", "Score threshold", "val/1", "dark"):  # fmt: skip
        assert words in text
    assert 6 <= text.count("data:image/jpeg") <= 72
    assert str(folder) not in text


@pytest.mark.parametrize("task", TASKS)
def test_tiles(call, folder, models, task):
    found = []
    for tiles in ("none", "2x2,whole"):
        done = call("predict", models[task], folder / "images" / "val", "--tiles", tiles,
                    "--threshold", 0.1, "--json", "--quiet")  # fmt: skip
        assert done.code == 0, done.err
        found.append([json.loads(line)["boxes"] for line in done.out.splitlines()])
    assert len(found[0]) == len(found[1]) == 6
    assert all(map(any, found))
    assert found[0] != found[1]


@pytest.mark.parametrize("task", TASKS)
def test_the_plan_follows_from_the_annotations(call, folder, tmp_path, task):
    done = call("fit", folder / "images", "--annotations", folder / "objects.json", "--task", task,
                "--backbone", "test_resnet", "--random", "--quiet", "--plan", "--json", "--out",
                tmp_path / "m")  # fmt: skip
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    # Of small images the input is larger than they are.
    assert plan["n_bytes"] > 24 * 64 * 32 * 32
    assert not (tmp_path / "m").exists()


@pytest.mark.finetuning
@pytest.mark.parametrize("task", TASKS)
def test_a_tuned_model_works_with_every_command(call, folder, tmp_path, monkeypatch, task):
    monkeypatch.setattr(DetectionRecipe, "trained_on", 40)
    model, given = tmp_path / "model", (folder / "images", "--annotations", folder / "objects.json")
    options = (*BACKBONE, "--task", task, "--neck-arg", "width=16", "--set", "epochs=1")
    done = call("finetune", *given, *options, "--set", "mosaic=0.5", "--set", "turned=true",
                "--out", model)  # fmt: skip
    assert done.code == 0, done.err
    assert "lp-ft of test_resnet on 16 images (2 held out)" in done.err
    assert "turned True" in done.err
    done = call("predict", model, folder / "images", "--out", tmp_path / "f.json", "--quiet")
    assert done.code == 0, done.err
    measured = json.loads(call("evaluate", model, *given, "--json").out)
    assert measured["n"] == 6
    again = call("finetune", *given, *BACKBONE[:3], "--task", task, "--init", model, "--set",
                 "epochs=1", "--strategy", "norm-only", "--json", "--quiet", "--out",
                 tmp_path / "again")  # fmt: skip
    assert again.code == 0, again.err
    assert json.loads(again.out)["strategy"] == "norm-only"


def test_heads_are_listed(call):
    done = call("heads")
    for task in TASKS:
        assert f"\n{task}" in done.out
        assert dense_task_of(task).default_head in done.out


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("instances", ("--head", "mask-rcn"), "did you mean 'mask-rcnn'"),
        ("oriented", ("--head", "faster-rcnn"), "unknown"),
        ("oriented", ("--set", "turnd=true"), "did you mean 'turned'"),
        ("instances", ("--folds", 3), "--folds isn't there for instances"),
    ],
)
def test_what_is_wrong_is_said(call, folder, tmp_path, task, options, words):
    done = call("fit", folder / "images", "--annotations", folder / "objects.json", "--task", task,
                *BACKBONE, *options, "--out", tmp_path / "m")  # fmt: skip
    assert done.code in (1, 2)
    assert words in done.err


def test_a_form_of_another_task_is_refused_before_anything_is_computed(call, models, tmp_path):
    for task, form in (("instances", "dota"), ("oriented", "instances"), ("detection", "dota")):
        done = call("predict", models[task], tmp_path, "--format", form, "--out", tmp_path / "x")
        assert done.code == 2
        assert f"--format {form} isn't for {task}; choose one of" in done.err
        assert not (tmp_path / "x").exists()
