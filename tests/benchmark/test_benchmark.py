"""The whole benchmark on tiny pictures and a network of random weights."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import train_test_split

from tests.images.sources.tables import hugging_face
from tests.pictures import coloured
from transferkit.benchmark import (
    Results,
    Want,
    agreement,
    benchmark,
    leaderboards,
    load_dataset,
    named_backbones,
    plan_benchmark,
    screen,
)
from transferkit.heads import FeatureStatistics
from transferkit.images import ImageSet

pytestmark = pytest.mark.suites

SMALL = (("image_size", 32),)
BACKBONES = ("test_resnet@random", "test_resnet@random:1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "colours"
    for i, (image, code) in enumerate(zip(*coloured(14), strict=True)):
        (root / "rgb"[code]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / "rgb"[code] / f"{i:03}.png")
    return root


def measured(folder, out, **want):
    want = Want(**{"geometry": SMALL, "seeds": 2, **want})
    return list(benchmark([load_dataset(folder)], BACKBONES, Results(out), want))


def test_rows_say_how_to_repeat_them(folder, tmp_path):
    found = measured(folder, tmp_path, protocols=("transfer-logreg", "dino-knn10"))
    assert [f.status for f in found] == ["done"] * 6
    rows = Results(tmp_path).rows()
    assert rows == [f.row for f in found]
    assert [(row["probe"], row["seed"]) for row in rows[:3]] == [
        ("transfer-logreg", 0),
        ("transfer-logreg", 1),
        ("dino-knn10", None),
    ]
    for row in rows:
        assert row["deviates"] == ["image_size"]
        assert row["n_train"] + row["n_test"] == 42
        assert row["weights"] in ("random:0", "random:1")
        assert len(row["spec_key"]) == 16
        low, high = row["metrics"]["interval"]
        assert low <= row["metrics"]["accuracy"] <= high
        right = Results(tmp_path).values(row["cell"])
        assert right.mean() == pytest.approx(row["metrics"]["accuracy"])
        answers = Results(tmp_path).answers(row["cell"])
        assert ((answers["true"] == answers["predicted"]) == right).all()
        assert answers["classes"].tolist() == ["b", "g", "r"]
    assert {row["on_edge"] for row in rows if row["probe"] == "dino-knn10"} == {None}
    assert "ece_scaled" in rows[0]["metrics"]


def test_a_rerun_measures_nothing(folder, tmp_path):
    first = measured(folder, tmp_path)
    before = (tmp_path / "rows.jsonl").read_bytes()
    again = measured(folder, tmp_path)
    assert [f.status for f in again] == ["kept"] * len(first)
    assert [f.row for f in again] == [f.row for f in first]
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    more = measured(folder, tmp_path, seeds=3)
    assert sorted(f.status for f in more) == ["done"] * 2 + ["kept"] * 4


def test_a_line_cut_short_runs_again_and_no_other(folder, tmp_path):
    measured(folder, tmp_path)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    assert [f.status for f in measured(folder, tmp_path)] == ["kept"] * 3 + ["done"]
    assert len(Results(tmp_path).rows()) == 4


def test_a_damaged_line_is_not_taken_for_measured(tmp_path, caplog):
    results = Results(tmp_path)
    rows = [{"cell": f"c{i}", "status": "done", "metrics": {"accuracy": 0.123456}, "name": "\udcff"}
            for i in range(3)]  # fmt: skip
    for row in rows:
        results.add(row)
    assert results.rows() == rows
    path = tmp_path / "rows.jsonl"
    lines = path.read_bytes().splitlines()
    for at in range(len(lines[1])):
        damaged = bytearray(lines[1])
        damaged[at] ^= 1
        path.write_bytes(b"\n".join([lines[0], bytes(damaged), lines[2], b""]))
        assert results.rows() == [rows[0], rows[2]]
    assert "count as not measured: 1" in caplog.text
    # Lines of older versions have no checksums.
    old = [json.dumps(row).encode() for row in rows[:2]]
    path.write_bytes(b"\n".join([*old, lines[2], b""]))
    assert results.rows() == rows


def test_other_images_are_another_cell(folder, tmp_path):
    dataset = load_dataset(folder)
    want = Want(("dino-knn10",), geometry=SMALL)
    list(benchmark([dataset], BACKBONES[:1], Results(tmp_path), want))
    fewer = load_dataset(dataset.images.select(range(40)), name="colours")
    found = list(benchmark([fewer], BACKBONES[:1], Results(tmp_path), want))
    assert [f.status for f in found] == ["done"]


def test_another_precision_is_another_cell(folder, tmp_path):
    want = Want(("simpleshot",), shots=(2,), seeds=1, geometry=SMALL)
    statuses = [
        finished.status
        for options in ({}, {"storage": "float16"}, {"storage": "float32"})
        for finished in benchmark(
            [load_dataset(folder)], BACKBONES[:1], Results(tmp_path), want, **options
        )
    ]
    assert statuses == ["done", "done", "kept"]
    assert len({row["spec_key"] for row in Results(tmp_path).rows()}) == 2


def test_a_failed_cell_does_not_stop_the_rest(folder, tmp_path):
    want = {"protocols": ("clip-benchmark", "simpleshot"), "shots": (2, 100), "seeds": 1}
    found = measured(folder, tmp_path, **want)
    assert [f.status for f in found] == ["done", "failed"] * 4
    assert "100 shots, but class 0 has 11 images" in found[1].row["error"]
    assert [f.status for f in measured(folder, tmp_path, **want)] == ["kept", "failed"] * 4


def test_a_backbone_without_the_feature_fails_alone(folder, tmp_path):
    found = measured(folder, tmp_path, features=("stage9.avg",), seeds=1)
    assert {f.status for f in found} == {"failed"}
    assert "unknown layer" in found[0].row["error"]


def test_features_are_chosen_on_the_validation_part(folder, tmp_path):
    found = measured(folder, tmp_path, features=("auto",), seeds=1)
    for f in found:
        tried = f.row["auto"]
        assert len(tried) > 5
        assert tried[f.row["feature"]] == max(tried.values())


def test_heads_beside_protocols(folder, tmp_path):
    found = measured(folder, tmp_path, protocols=(), heads=("linear", "ridge", "knn"), seeds=1)
    assert [f.status for f in found] == ["done"] * 6
    assert found[0].row["chosen"]["C"] > 0


def test_regression_and_several_labels(folder, tmp_path):
    images = load_dataset(folder).images
    codes = np.array(["rgb".index(label) for label in images.labels])
    numbers = ImageSet(images.items, images.names, tuple(str(c + 0.5) for c in codes))
    several = ImageSet(
        images.items,
        images.names,
        tuple((str(int(c == 0)), str(int(c < 2))) for c in codes),
        None,
        ("red", "no blue"),
    )
    results = Results(tmp_path)
    datasets = [
        load_dataset(numbers, name="numbers", task="regression"),
        load_dataset(several, name="several"),
    ]
    assert [d.task for d in datasets] == ["regression", "multilabel"]
    want = Want((), ("ridge",), geometry=SMALL)
    found = list(benchmark(datasets, BACKBONES[:1], results, want))
    assert [f.row["metrics"]["main"] for f in found] == ["r2", "map"]
    found = list(benchmark(datasets, BACKBONES[:1], results, Want(geometry=SMALL, seeds=1)))
    assert [f.status for f in found] == ["failed", "done"]
    assert "use --heads for regression" in found[0].row["error"]
    assert {board.metric for board in leaderboards(results)} == {"r2", "map"}


def test_leaderboards(folder, tmp_path):
    measured(folder, tmp_path, protocols=("simpleshot",), shots=(1, 5))
    boards = leaderboards(Results(tmp_path))
    assert [(b.probe, b.shots, b.n_seeds) for b in boards] == [
        ("simpleshot", 1, 2),
        ("simpleshot", 5, 2),
    ]
    for board in boards:
        assert [p.backbone for p in board.places] != []
        assert board.places[0].mean >= board.places[1].mean
        assert board.places[0].group.startswith("a")
        assert board.places[0].spread is not None
        assert board.places[0].notes[-1] == "deviates: image_size"


def test_places_of_other_numbers_of_seeds_are_compared_on_those_they_share(tmp_path):
    results = Results(tmp_path)
    draws = np.random.default_rng(0)
    rows = {"good": 0.9, "bad": 0.4}
    for backbone, seeds in (("good", (0, 1)), ("bad", (1,))):
        for seed in seeds:
            right = (draws.random(200) < rows[backbone]).astype(float)
            metrics = {"main": "accuracy", "accuracy": right.mean()}
            row = {"dataset": "d", "probe": "p", "shots": None, "backbone": backbone}
            row |= {"feature": "f", "auto": False, "seed": seed, "on_edge": False}
            row |= {"cell": f"{backbone}{seed}", "status": "done", "metrics": metrics}
            results.add(row | {"converged": True, "deviates": []}, right)
    [board] = leaderboards(results)
    assert [(place.backbone, place.group) for place in board.places] == [
        ("good", "a"),
        ("bad", "b"),
    ]


def test_a_board_says_what_is_got_without_looking(folder, tmp_path):
    """Labels drawn by lot: nothing is learnt, however good two thirds of one class look."""
    images = load_dataset(folder).images
    drawn = np.random.default_rng(0).permutation(["a"] * 28 + ["b"] * 14)
    noise = ImageSet(images.items, images.names, tuple(drawn.tolist()))
    numbers = ImageSet(images.items, images.names, tuple(map(str, np.arange(42) % 5)))
    results = Results(tmp_path)
    want = Want((), ("centroid", "ridge"), geometry=SMALL)
    dataset = load_dataset(noise, name="noise")
    list(benchmark([dataset], BACKBONES[:1], results, want))
    [*boards] = leaderboards(results)
    y = np.array(noise.labels)[dataset.parts == "test"]
    for board in boards:
        assert board.baseline == max((y == "a").mean(), (y == "b").mean())
        assert board.places[0].notes[0] == "no better than the baseline"
    table = load_dataset(numbers, name="numbers", task="regression")
    list(benchmark([table], BACKBONES[:1], results, Want((), ("ridge",), geometry=SMALL)))
    [board] = (b for b in leaderboards(results) if b.dataset == "numbers")
    assert board.baseline == 0
    assert board.places[0].notes[0] == "no better than the baseline"
    # Lines of before have no baseline, and stay readable.
    old = [row | {"metrics": dict(row["metrics"])} for row in results.rows()]
    for row in old:
        del row["metrics"]["baseline"], row["metrics"]["is_better"]
        results.add(row)
    assert {board.baseline for board in leaderboards(results)} == {None}
    assert not any(place.notes for board in leaderboards(results) for place in board.places)


def test_a_name_that_is_not_utf_8_is_kept(tmp_path):
    results = Results(tmp_path)
    results.add({"cell": "a", "status": "failed", "dataset": "caf\udce9"})
    assert results.rows()[0]["dataset"] == "caf\udce9"
    assert b"caf\xe9" in results.to_csv().read_bytes()


def test_twins_of_training_images_are_not_tested(folder):
    dataset = load_dataset(folder)
    ids = [i.to_bytes(16, "big") for i in range(42)]
    train, test = (np.flatnonzero(dataset.parts == part) for part in ("train", "test"))
    ids[test[0]] = ids[train[0]]
    division = dataset.divide(np.arange(42), tuple(ids))
    assert set(division.measured) == set(test[1:])


def test_a_stratified_fifth_of_seed_0_is_tested(folder):
    dataset = load_dataset(folder)
    _, expected = train_test_split(
        np.arange(42), test_size=0.2, random_state=0, stratify=dataset.images.labels
    )
    assert np.flatnonzero(dataset.parts == "test").tolist() == sorted(expected)
    assert dataset.line == "trained on 33, measured on 9 (held out: 20%, seed 0)"


def test_val_is_tested_where_there_is_no_test_part(folder):
    images = load_dataset(folder).images
    for names, expected in (
        (("train", "val"), ("train", "test")),
        (("train", "val", "test"), ("train", "val", "test")),
    ):
        splits = tuple(names[i % len(names)] for i in range(42))
        given = ImageSet(images.items, images.names, images.labels, splits)
        parts = load_dataset(given).parts
        assert parts.tolist() == [expected[i % len(names)] for i in range(42)]


def test_copies_of_training_images_choose_nothing(folder):
    images = load_dataset(folder).images
    splits = tuple(("train", "val", "test")[i % 3] for i in range(42))
    dataset = load_dataset(ImageSet(images.items, images.names, images.labels, splits))
    ids = [i.to_bytes(16, "big") for i in range(42)]
    ids[1] = ids[0]  # one of val is one of train
    ids[5] = ids[4]  # one of test is one of val
    division = dataset.divide(np.arange(42), tuple(ids))
    assert set(division.train) == {1, *range(0, 42, 3)}
    assert set(division.validation) == {*range(4, 42, 3)}
    assert set(division.measured) == {2, *range(8, 42, 3)}
    assert division.left_out_line() == "1 of 14 test images have the same bytes as training images"


def test_groups_are_not_on_both_sides(folder):
    images = load_dataset(folder).images
    groups = tuple(i // 3 for i in range(42))
    given = ImageSet(images.items, images.names, images.labels, groups=groups)
    dataset = load_dataset(given)
    test = {groups[i] for i in np.flatnonzero(dataset.parts == "test")}
    assert not test & {groups[i] for i in np.flatnonzero(dataset.parts == "train")}
    assert 6 <= (dataset.parts == "test").sum() <= 12


def test_the_csv_has_every_row(folder, tmp_path):
    measured(folder, tmp_path, seeds=1)
    with Results(tmp_path).to_csv().open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2
    assert 0 <= float(table[0]["metrics.accuracy"]) <= 1
    assert json.loads(table[0]["deviates"]) == ["image_size"]


def test_a_metric_added_as_a_file_is_a_column(folder, tmp_path, toy_metric):
    measured(folder, tmp_path, protocols=("simpleshot",), shots=(1,))
    results = Results(tmp_path)
    assert all(row["metrics"][toy_metric] == row["n_test"] / 4 for row in results.rows())
    assert f"metrics.{toy_metric}" in results.to_csv().read_text().splitlines()[0]
    assert [place.others for place in leaderboards(results)[0].places] == [{}, {}]
    [board] = leaderboards(results, [toy_metric, "macro_f1"])
    for place in board.to_dict()["places"]:
        assert place[toy_metric] == board.n_test / 4
        assert "others" not in place
        assert 0 <= place["macro_f1"] <= 1
    with pytest.raises(ValueError, match="unknown metric 'macro_f2'; did you mean 'macro_f1'"):
        leaderboards(results, ["macro_f2"])


def test_plan_stores_nothing(folder, tmp_path):
    want = Want(("transfer-logreg", "dino-knn10"), geometry=SMALL)
    planned = plan_benchmark([load_dataset(folder)], BACKBONES[:1], want, store=tmp_path / "s")
    assert [len(group.cells) for group, _ in planned] == [3, 1]
    assert all(plan.n_missing == 42 and plan.n_bytes > 0 for _, plan in planned)


def test_hints(folder):
    hints = screen(load_dataset(folder), BACKBONES)
    assert {hint.backbone for hint in hints} == set(BACKBONES)
    assert agreement(hints, {}) == {}
    three = [*hints, hints[0]]
    assert set(agreement(three, {b: i for i, b in enumerate(BACKBONES)})) == {
        "logme",
        "h_score",
        "ridge",
    }


def test_names_of_backbones(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("resnet18  # small\n\nresnet50@random\n")
    assert named_backbones(str(path)) == ["resnet18", "resnet50@random"]
    assert named_backbones(" a, b ") == ["a", "b"]
    assert "resnet18" in named_backbones("resnet1*")
    with pytest.raises(ValueError, match="no backbone matches 'zzz"):
        named_backbones("zzz*")
    with pytest.raises(ValueError, match="no backbone was named"):
        named_backbones(",")
    with pytest.raises(ValueError, match="write NAME@random or NAME@random:SEED"):
        screen(load_dataset(coloured_set()), ["resnet18@other"])


def coloured_set():
    images, codes = coloured(4)
    return ImageSet(tuple(images), tuple(map(str, range(12))), tuple(map(str, codes)))


def test_objects_of_torchvision(tmp_path):
    from torchvision.datasets import FakeData

    dataset = load_dataset(FakeData(40, (3, 32, 32), num_classes=2))
    assert (dataset.name, len(dataset.images), len(dataset.classes)) == ("FakeData", 40, 2)


def test_objects_of_hugging_face():
    images, _ = coloured(4)
    table = hugging_face(images, [i % 2 for i in range(len(images))], names=("cat", "dog"))
    assert load_dataset(table).classes == ("cat", "dog")


SCRIPT = """
import os, sys
from transferkit.benchmark import Results, Want, benchmark, load_dataset
want = Want(geometry=(("image_size", 32),), seeds=4)
names = ["test_resnet@random"]
for n, _ in enumerate(benchmark([load_dataset(sys.argv[1])], names, Results(sys.argv[2]), want)):
    if n == 1:
        os._exit(9)
"""


def test_a_killed_run_goes_on(folder, tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, folder, tmp_path], check=False)
    assert done.returncode == 9
    want = Want(geometry=SMALL, seeds=4)
    found = list(benchmark([load_dataset(folder)], BACKBONES[:1], Results(tmp_path), want))
    assert [f.status for f in found] == ["kept", "kept", "done", "done"]
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len({json.loads(line)["cell"] for line in lines}) == len(lines) == 4


def test_heads_on_the_same_features_compute_their_statistics_once(folder, tmp_path, monkeypatch):
    counted = []
    gram = FeatureStatistics._gram

    def counting(self):
        counted.append(self.X.shape)
        return gram(self)

    monkeypatch.setattr(FeatureStatistics, "_gram", counting)
    want = Want((), ("ridge", "linear", "svm"), ("stage0.avg",), seeds=2, geometry=SMALL)
    found = list(benchmark([load_dataset(folder)], BACKBONES[:1], Results(tmp_path), want))
    assert [f.status for f in found] == ["done"] * 5
    assert counted == [(found[0].row["n_train"], found[0].row["n_features"])]
