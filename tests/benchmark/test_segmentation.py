"""The benchmark on tiny pictures with masks and networks of random weights."""

import csv
import dataclasses
import types

import numpy as np
import pytest
import timm
from PIL import Image

from tests.pictures import picture
from tests.protocols.test_segmentation import NAMES
from transferkit.annotations import Annotations
from transferkit.benchmark import (
    Results,
    Want,
    benchmark,
    check_protocols,
    leaderboards,
    load_dataset,
    plan_benchmark,
    screen,
)
from transferkit.benchmark import segmentation_grid as grid
from transferkit.benchmark.segmentation_grid import SegmentationCell, map_features
from transferkit.dense.recipe import SegmentationRecipe
from transferkit.metrics import segmentation_report
from transferkit.protocols import Geometry

pytestmark = pytest.mark.suites

SMALL = (("image_size", 64),)
NETS = ("test_resnet@random", "test_resnet@random:1")
TORCHGEO = ("torchgeo-seg-linear",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures with a bright square, each with its mask; void in a corner."""
    root = tmp_path_factory.mktemp("data") / "squares"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    for i in range(16):
        image, mask = picture(i, (48, 56)) // 3, np.zeros((48, 56), np.uint8)
        top, left = random.integers(0, 24, 2)
        image[top : top + 20, left : left + 20] += 150
        mask[top : top + 20, left : left + 20] = 1
        mask[:4, :4] = 255
        Image.fromarray(image).save(root / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i:02}.png")
    (root / "masks" / "classes.txt").write_text("ground\nsquare\n")
    return root


def loaded(folder, **options):
    return load_dataset(folder, task="segmentation", **options)


def measured(folder, out, nets=NETS[:1], **want):
    want = Want(**{"protocols": TORCHGEO, "geometry": SMALL, "seeds": 1, **want})
    return list(benchmark([loaded(folder)], nets, Results(out), want))


def test_rows_say_what_was_measured_and_how(folder, tmp_path):
    found = measured(folder, tmp_path, NETS, heads=("linear",))
    assert [f.status for f in found] == ["done"] * 4, [f.row.get("error") for f in found]
    rows = Results(tmp_path).rows()
    assert {(row["backbone"], row["kind"], row["probe"]) for row in rows} == {
        (net, *probe)
        for net in NETS
        for probe in (("protocol", "torchgeo-seg-linear"), ("head", "linear"))
    }
    for row in rows:
        metrics = row["metrics"]
        assert (row["task"], row["n_classes"], row["feature"]) == ("segmentation", 2, "pyramid")
        assert (row["n_train"], row["n_val"], row["n_test"]) == (12, 0, 4)
        assert row["image_size"] == [64, 64]
        assert set(metrics["iou"]) == {"ground", "square"}
        assert metrics["mean_iou"] == pytest.approx(np.mean(list(metrics["iou"].values())))
        low, high = metrics["interval"]
        assert low <= metrics["mean_iou"] <= high
        assert {"mean_dice", "pixel_accuracy", "boundary_f", "baseline"} <= set(metrics)
        assert len(Results(tmp_path).values(row["cell"])) == 4
    assert {tuple(row["deviates"]) for row in rows} == {("image_size", "measured px"), ()}
    with Results(tmp_path).to_csv().open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(line["metrics.iou.square"]) for line in table] == [
        row["metrics"]["iou"]["square"] for row in rows
    ]


def test_a_rerun_measures_nothing_and_other_masks_again(folder, tmp_path):
    assert [f.status for f in measured(folder, tmp_path)] == ["done"]
    before = (tmp_path / "rows.jsonl").read_bytes()
    assert [f.status for f in measured(folder, tmp_path)] == ["kept"]
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    dataset = loaded(folder)
    other = [Annotations(one.size, map=np.where(one.map == 0, 1, one.map)) for one in
             dataset.annotations]  # fmt: skip
    changed = loaded(folder, annotations=other, names_of_classes=["ground", "square"])
    want = Want(TORCHGEO, seeds=1, geometry=SMALL)
    found = list(benchmark([changed], NETS[:1], Results(tmp_path), want))
    assert [f.status for f in found] == ["done"]
    # All masks are of one class: nothing can be shown.
    assert not found[0].row["metrics"]["is_better"]


@pytest.mark.parametrize("name", NAMES)
def test_every_protocol_measures(folder, tmp_path, name, monkeypatch):
    shortened(monkeypatch)
    [found] = measured(folder, tmp_path, protocols=(name,))
    assert found.status == "done", found.row
    assert found.row["feature"] == ("final" if "dinov2" in name else "pyramid")
    network = timm.create_model("test_resnet")
    widths = {stage["reduction"]: stage["num_chs"] for stage in network.feature_info}
    pyramid = sum(width for stride, width in widths.items() if stride >= 4)
    assert found.row["n_features"] == (network.num_features if "dinov2" in name else pyramid)
    assert np.isfinite(found.row["metrics"]["mean_iou"])


def shortened(monkeypatch, **changes):
    """Protocols of a few steps, which are other cells."""
    original = grid.create_segmentation_protocol
    settings = {"steps": 5, "warmup_steps": 2, "epochs": 2, "width": 8, **changes}

    def create(name):
        named = original(name)
        known = {f.name for f in dataclasses.fields(named.settings)}
        own = {k: v for k, v in settings.items() if k in known}
        return dataclasses.replace(named, settings=dataclasses.replace(named.settings, **own))

    from transferkit.benchmark import _segmented

    monkeypatch.setattr(grid, "create_segmentation_protocol", create)
    monkeypatch.setattr(_segmented, "create_segmentation_protocol", create)


def test_a_head_s_number_is_that_of_the_segmenter(folder, tmp_path):
    from transferkit.estimators import FeatureExtractor, TransferSegmenter

    [found] = measured(folder, tmp_path, protocols=(), heads=("linear",))
    dataset = loaded(folder)
    train, test = (np.flatnonzero(dataset.parts == part) for part in ("train", "test"))
    extractor = FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0,
        storage="float16", store=False,
    )  # fmt: skip
    segmenter = TransferSegmenter(extractor, "linear")
    segmenter.fit(dataset.images.select(train), dataset.annotations.select(train))
    told = segmentation_report(
        dataset.annotations.select(test),
        segmenter.predict(dataset.images.select(test)),
        dataset.classes,
    )
    assert found.row["metrics"]["mean_iou"] == pytest.approx(told.mean_iou, abs=1e-6)
    values = Results(tmp_path).values(found.row["cell"])
    alone = [
        segmentation_report([truth], segmenter.predict(dataset.images.select([i])), dataset.classes)
        for i, truth in zip(test, dataset.annotations.select(test), strict=True)
    ]
    np.testing.assert_allclose(values, [one.mean_iou for one in alone], rtol=1e-5)


def test_few_images_are_drawn_by_the_seed(folder, tmp_path, monkeypatch):
    shortened(monkeypatch)
    found = measured(folder, tmp_path, shots=(3, None), seeds=2)
    assert [f.status for f in found] == ["done"] * 4
    assert [f.row["n_train"] for f in found] == [3, 3, 12, 12]
    [few] = measured(folder, tmp_path, shots=(13,))
    assert few.status == "failed"
    assert "13 images are wanted, but squares has 12 to train on" in few.row["error"]


def test_a_leaderboard(folder, tmp_path, monkeypatch):
    shortened(monkeypatch)
    measured(folder, tmp_path, NETS, seeds=2)
    [board] = leaderboards(Results(tmp_path), ["boundary_f"])
    assert (board.metric, board.n_test, board.n_seeds) == ("mean_iou", 4, 2)
    assert board.places[0].mean >= board.places[1].mean
    assert 0.4 < board.baseline < 0.5
    for place in board.places:
        assert place.notes[-1] == "deviates: image_size, measured px"
        assert 0 <= place.others["boundary_f"] <= 1


def test_bad_masks_and_images_are_left_out(folder, tmp_path, monkeypatch):
    shortened(monkeypatch)
    dataset = loaded(folder)
    maps = [one.map for one in dataset.annotations]
    maps[0] = maps[0][:-1]
    given = [Annotations(one.shape, map=one) for one in maps]
    given[1] = None
    broken = loaded(folder, annotations=given, names_of_classes=["ground", "square"])
    want = Want(TORCHGEO, geometry=SMALL, seeds=1)
    [found] = benchmark([broken], NETS[:1], Results(tmp_path), want)
    assert found.status == "done", found.row
    assert found.row["n_unreadable"] == 2
    assert found.row["n_train"] + found.row["n_test"] == 14


def test_mirror_images_are_planned_where_they_are_trained_on(folder, tmp_path):
    for protocols, n in (((*TORCHGEO,), 16), (("dinov2-linear-seg-4k",), 32)):
        want = Want(protocols, geometry=SMALL, seeds=2)
        [(group, plan)] = plan_benchmark([loaded(folder)], NETS[:1], want, store=tmp_path / "s")
        assert plan.n_missing == n
        assert plan.n_bytes > 0
        assert len(group.cells) == 2


def test_what_is_not_for_segmentation(folder):
    for names, task, match in (
        (["clip"], "segmentation", "protocol 'clip' isn't for segmentation; use dinov2-linear-seg"),
        (["dinov2-linear-seg"], "classification", "is for --task segmentation, not classification"),
        (["dinov2-linear-sg"], "segmentation", "did you mean 'dinov2-linear-seg"),
    ):
        with pytest.raises(ValueError, match=match):
            check_protocols(names, task)
    with pytest.raises(ValueError, match="there is no benchmark of anomaly yet"):
        load_dataset(folder, task="anomaly")
    with pytest.raises(ValueError, match="pre-screening is for classification"):
        screen(loaded(folder), NETS)
    with pytest.raises(ValueError, match="for segmentation name 'pyramid', or layers"):
        grid.segmentation_cells("b", Want(TORCHGEO, features=("auto",)))


# ---- keys ----

SPEC = types.SimpleNamespace(feature_spec=lambda name, **_: types.SimpleNamespace(key=name))


def key(probe, kind="protocol", feature="final", **changes):
    cell = dataclasses.replace(SegmentationCell("b", probe, kind, feature, None, 0), **changes)
    return cell.key("rows", SPEC, {})


def other(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, Geometry):
        return Geometry(32)
    if isinstance(value, tuple):
        return (*value, "more")
    return value + "x" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_part_of_the_key(name, monkeypatch):
    named = grid.create_segmentation_protocol(name)
    keys = {key(name)}
    fields = dataclasses.fields(named.settings)
    for field in fields:
        value = other(getattr(named.settings, field.name))
        changed = dataclasses.replace(named.settings, **{field.name: value})
        with monkeypatch.context() as patch:
            patch.setattr(
                grid,
                "create_segmentation_protocol",
                lambda _, s=changed: dataclasses.replace(named, settings=s),
            )
            keys.add(key(name))
    assert len(keys) == 1 + len(fields)


def test_a_head_s_recipe_and_options_are_part_of_the_key(monkeypatch):
    keys = {key(name, "head") for name in ("linear", "fpn", "mlp")}
    assert len(keys) == 3
    keys.add(key("fpn", "head", shots=3))
    keys.add(key("fpn", "head", seed=1))
    keys.add(key("fpn", "head", feature="stage1+final"))
    with monkeypatch.context() as patch:
        patch.setattr(grid, "SegmentationRecipe", lambda: SegmentationRecipe(epochs=11))
        keys.add(key("fpn", "head"))
    with monkeypatch.context() as patch:
        patch.setattr(grid, "default_neck", lambda _: "panet")
        keys.add(key("fpn", "head"))
    monkeypatch.setattr(grid, "VERSION", -1)
    keys.add(key("fpn", "head"))
    assert len(keys) == 9


def test_features_by_layer():
    assert map_features("stage2+final.map", None) == ["stage2.map", "final.map"]


@pytest.mark.parametrize("net", ["test_vit@random", "test_convnext@random"])
def test_other_families(folder, tmp_path, net, monkeypatch):
    """A plain transformer has its last map alone, with the simple pyramid before a head."""
    shortened(monkeypatch)
    names = ("dinov2-linear-seg", "torchgeo-seg-fpn")
    found = measured(folder, tmp_path, (net,), protocols=names, heads=("fpn",))
    assert [f.status for f in found] == ["done"] * 3, [f.row for f in found]
