"""The benchmark of tasks that find objects, on tiny pictures and networks of random weights."""

import dataclasses
import json
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from tests.pictures import picture
from transferkit.annotations import Annotations
from transferkit.benchmark import (
    ObjectDataset,
    Results,
    Want,
    benchmark,
    check_protocols,
    default_heads,
    leaderboards,
    load_dataset,
    plan_benchmark,
)
from transferkit.benchmark import object_grid as grid
from transferkit.benchmark._detected import image_f1
from transferkit.benchmark.object_grid import ObjectCell, object_features
from transferkit.dense.recipe import DetectionRecipe
from transferkit.estimators import FeatureExtractor, TransferDetector, dense_estimator_of
from transferkit.metrics import count_detections, detection_report

pytestmark = pytest.mark.suites

SMALL = (("image_size", 64),)
NETS = ("test_resnet@random", "test_resnet@random:1")
TASKS = ("detection", "instances", "oriented")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures with a bright square, the boxes in a COCO file beside them; the last is empty."""
    root = tmp_path_factory.mktemp("data") / "squares"
    root.mkdir()
    random = np.random.default_rng(0)
    images, objects = [], []
    for i in range(16):
        pixels = picture(i, (48, 56)) // 3
        if i < 15:
            left, top = (int(v) for v in random.integers(0, 24, 2))
            pixels[top : top + 20, left : left + 20] += 150
            objects.append(
                {"id": i, "image_id": i, "category_id": 1, "bbox": [left, top, 20, 20],
                 "area": 400, "iscrowd": 0, "segmentation": [[left, top, left + 20, top,
                 left + 20, top + 20, left, top + 20]]}
            )  # fmt: skip
        images.append({"id": i, "file_name": f"{i:02}.png", "width": 56, "height": 48})
        Image.fromarray(pixels).save(root / f"{i:02}.png")
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "sq"}]}
    (root / "_annotations.coco.json").write_text(json.dumps(content))
    return root


@dataclasses.dataclass(frozen=True)
class ShortRecipe(DetectionRecipe):
    """Two epochs of few views."""

    trained_on: ClassVar[int] = 1
    epochs: int = 2
    zoomed: bool = False


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    for task in TASKS:
        monkeypatch.setattr(dense_estimator_of(task), "recipe_kind", ShortRecipe)


def loaded(folder, task="detection", **options):
    return load_dataset(folder, task=task, **options)


def measured(folder, out, nets=NETS[:1], task="detection", **want):
    want = Want(**{"protocols": (), "heads": ("fcos",), "geometry": SMALL, "seeds": 1, **want})
    return list(benchmark([loaded(folder, task)], nets, Results(out), want))


def test_rows_say_what_was_measured_and_how(folder, tmp_path):
    found = measured(folder, tmp_path, NETS, heads=("fcos", "faster-rcnn"))
    assert [f.status for f in found] == ["done"] * 4, [f.row.get("error") for f in found]
    rows = Results(tmp_path).rows()
    assert {(row["backbone"], row["kind"], row["probe"]) for row in rows} == {
        (net, "head", head) for net in NETS for head in ("fcos", "faster-rcnn")
    }
    for row in rows:
        metrics = row["metrics"]
        assert (row["task"], row["feature"]) == ("detection", "pyramid")
        assert (row["n_train"], row["n_val"], row["n_test"]) == (12, 0, 4)
        assert row["image_size"] == [64, 64]
        assert set(metrics["ap50_of"]) == {"sq"}
        assert metrics["ap50"] == pytest.approx(metrics["ap50_of"]["sq"])
        low, high = metrics["interval"]
        assert low <= metrics["average_precision"] <= high
        assert {"ap50", "ap75", "average_recall", "baseline"} <= set(metrics)
        assert len(Results(tmp_path).values(row["cell"])) == 4
    boards = leaderboards(Results(tmp_path), ["ap50"])
    assert {board.probe for board in boards} == {"fcos", "faster-rcnn"}
    for board in boards:
        assert board.metric == "average_precision"
        assert {place.backbone for place in board.places} == set(NETS)
        assert all(place.others["ap50"] is not None for place in board.places)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_with_its_default_head(folder, tmp_path, task):
    [found] = measured(folder, tmp_path, task=task, heads=default_heads(task))
    assert found.status == "done", found.row.get("error")
    row = found.row
    assert (row["task"], row["probe"]) == (task, default_heads(task)[0])
    assert row["metrics"]["main"] == "average_precision"
    assert len(Results(tmp_path).values(row["cell"])) == row["n_test"] == 4


def test_a_rerun_measures_nothing_and_other_boxes_again(folder, tmp_path):
    assert [f.status for f in measured(folder, tmp_path)] == ["done"]
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert [f.status for f in measured(folder, tmp_path)] == ["kept"]
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    dataset = loaded(folder)
    other = [dataclasses.replace(one, boxes=one.boxes + 1) for one in dataset.annotations]
    changed = loaded(folder, annotations=other, names_of_classes=list(dataset.classes))
    want = Want((), ("fcos",), seeds=1, geometry=SMALL)
    found = list(benchmark([changed], NETS[:1], Results(tmp_path), want))
    assert [f.status for f in found] == ["done"]


def test_a_head_s_number_is_that_of_the_detector(folder, tmp_path):
    [found] = measured(folder, tmp_path)
    dataset = loaded(folder)
    train, test = (np.flatnonzero(dataset.parts == part) for part in ("train", "test"))
    extractor = FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        storage="float16", features=["stage2.map", "stage3.map", "stage4.map"],
    )  # fmt: skip
    detector = TransferDetector(extractor, "fcos")
    detector.fit(dataset.images.select(train), dataset.annotations.select(train))
    report = detector.measure(dataset.images.select(test), dataset.annotations.select(test))
    assert found.row["metrics"]["average_precision"] == pytest.approx(report.average_precision)


def test_shots_are_images(folder, tmp_path):
    found = measured(folder, tmp_path, shots=(3, 40), seeds=2)
    assert [f.status for f in found] == ["done", "done", "failed", "failed"]
    assert [f.row["n_train"] for f in found[:2]] == [3, 3]
    assert "40 images are wanted, but squares has 12" in found[2].row["error"]


def test_plan_counts_all_views(folder, tmp_path):
    want = Want((), ("fcos",), seeds=1, geometry=SMALL)
    [(_, estimate)] = plan_benchmark([loaded(folder)], NETS[:1], want, store=tmp_path / "s")
    cell = ObjectCell("", "fcos", "head", "pyramid", None, 0)
    assert estimate.n_missing == cell.n_views() * 16


def test_features_and_protocols(folder, tmp_path):
    [found] = measured(folder, tmp_path, features=("stage3+stage4",))
    assert found.status == "done", found.row
    assert found.row["feature"] == "stage3+stage4"
    with pytest.raises(ValueError, match="'auto' are chosen for vectors"):
        measured(folder, tmp_path, features=("auto",))
    with pytest.raises(ValueError, match=r"'clip' isn't for detection.*name heads"):
        check_protocols(("clip",), "detection")
    check_protocols((), "detection")


def test_a_key_holds_the_recipe_and_the_head(monkeypatch):
    cell = ObjectCell("a", "fcos", "head", "pyramid", None, 0)
    settings = cell._settings()
    assert dataclasses.replace(cell, probe="retinanet")._settings() != settings
    other = dataclasses.replace(cell, probe="mask-rcnn", task="instances")
    assert other._settings() != settings
    monkeypatch.setattr(grid, "VERSION", 2)
    assert cell._settings() != settings


def test_f1_of_images():
    size = (100, 100)
    box = np.array([[10.0, 10, 40, 40]])
    two = np.concatenate((box, box + 50))

    def of(boxes, scores=None):
        labels = np.ones(len(boxes), int)
        scores = None if scores is None else np.array(scores, float)
        return Annotations(size, boxes=boxes, labels=labels, scores=scores)

    nothing = np.zeros((0, 4))
    true = [of(two), of(box), of(nothing), of(nothing)]
    found = [of(box, [0.9]), of(two, [0.9, 0.8]), of(nothing, []), of(box, [0.7])]
    counts = count_detections(true, found, ["background", "thing"])
    # The best threshold leaves the last one out: 2 of 3 are found, and 2 of 3 are right.
    assert counts.best.threshold > 0.7
    expected = [2 / 3, 2 / 3 if counts.best.threshold <= 0.8 else 1, 1, 1]
    assert image_f1(counts).tolist() == pytest.approx(expected)
    assert detection_report(true, found, ["background", "thing"]).best == counts.best


def test_datasets_are_told_apart(folder):
    dataset = loaded(folder)
    assert isinstance(dataset, ObjectDataset)
    assert dataset.classes == ("background", "sq")
    from transferkit.backbones import resolve_backbone

    spec = resolve_backbone("test_vit", pretrained=False)
    assert object_features("pyramid", spec, "oriented") == ["final.map"]
