import re

import numpy as np
import pytest

from tests.report.rows import BACKBONES, CLASSES, add_classes, pets, row
from transferkit.benchmark import Results, leaderboards
from transferkit.report.benchmark_curves import _depth, images_per_second, pareto_front
from transferkit.report.benchmark_page import benchmark_page
from transferkit.report.page import Chart, DataTable, Fold, WrittenNumber


def section(page, title):
    return next(one for one in page.sections if one.title == title)


def leaves(part):
    inner = getattr(part, "parts", None)
    return [part] if inner is None else [leaf for each in inner for leaf in leaves(each)]


def tables(part):
    return [leaf for leaf in leaves(part) if isinstance(leaf, DataTable)]


def charts(part):
    return [leaf for leaf in leaves(part) if isinstance(leaf, Chart)]


def value(cell):
    return cell.value if isinstance(cell, WrittenNumber) else cell


def columns(table):
    return {name: [value(row[i]) for row in table.rows] for i, name in enumerate(table.header)}


def test_leaderboards_stand_from_the_best_down(tmp_path):
    results = pets(tmp_path)
    page = benchmark_page(results, ["macro_f1"])
    boards = {(b.probe, b.shots): b for b in leaderboards(results)}
    first = columns(tables(section(page, "Leaderboards"))[0])
    best = boards["linear", None].places
    assert first["backbone"] == [p.backbone.rpartition("/")[2] for p in best]
    assert first["accuracy, %"] == pytest.approx([100 * p.mean for p in best])
    assert first["macro F1"] == [0.5] * 3
    folds = [part for part in section(page, "Leaderboards").parts if isinstance(part, Fold)]
    assert len(folds) == len(boards) - 1
    assert next(iter(page.facts.values())).endswith("vit")
    assert "/models" not in page.to_html()


def test_intervals_of_the_chart_are_those_of_the_table(tmp_path):
    results = pets(tmp_path)
    (board,) = [b for b in leaderboards(results) if (b.probe, b.shots) == ("linear", None)]
    trace = charts(section(benchmark_page(results), "Leaderboards"))[0].figure["data"][0]
    low = np.array(trace["x"]) - trace["error_x"]["arrayminus"]
    high = np.array(trace["x"]) + trace["error_x"]["array"]
    assert np.stack([low, high], 1) == pytest.approx(
        100 * np.array([place.interval for place in board.places])
    )


def test_speed_and_width(tmp_path):
    page = benchmark_page(pets(tmp_path))
    (table,) = tables(section(page, "Speed and width"))
    found = columns(table)
    assert dict(zip(found["backbone"], found["images/s"], strict=True)) == pytest.approx(
        {"tiny": 100.0, "resnet18": 50.0, "vit": 100 / 3}
    )
    assert dict(zip(found["backbone"], found["numbers per image"], strict=True)) == {
        "tiny": 96, "resnet18": 64, "vit": 32,
    }  # fmt: skip
    speed, width = charts(section(page, "Speed and width"))
    # The best is the slowest and the narrowest: all are on one front, and it alone on the other.
    assert len(speed.figure["data"][0]["x"]) == 3
    assert len(width.figure["data"][0]["x"]) == 1


def test_rows_that_do_not_tell_their_speed_are_named(tmp_path):
    results = Results(tmp_path)
    add_classes(results, "a", 0.8, backbone="resnet18", n_extracted=0)
    add_classes(results, "b", 0.7, backbone="vit")
    text = benchmark_page(results).to_html()
    assert "Not told: the speed of resnet18, whose features were in the store already" in text


def test_a_front_by_a_plain_loop():
    rng = np.random.default_rng(0)
    gain, worth = rng.integers(0, 6, (2, 40))
    front = [
        i
        for i in range(40)
        if not any(
            (gain[k] > gain[i] and worth[k] >= worth[i])
            or (gain[k] >= gain[i] and worth[k] > worth[i])
            for k in range(40)
        )
    ]
    assert 1 <= len(front) < 40
    assert pareto_front(gain, worth) == front


def test_learning_curves(tmp_path):
    results = pets(tmp_path)
    found = charts(section(benchmark_page(results), "Learning curves"))
    assert {chart.title for chart in found} == {"linear", "knn"}
    linear = next(chart for chart in found if chart.title == "linear").figure
    assert [trace["name"] for trace in linear["data"]] == ["tiny", "resnet18", "vit"]
    for trace in linear["data"]:
        assert trace["x"] == [1, 5, 10]  # all: 30 images of three classes
    means = {
        shots: 100 * np.mean([
            r["metrics"]["accuracy"] for r in results.rows()
            if (r["backbone"], r["probe"], r["shots"]) == ("vit", "linear", shots)
            and r["status"] == "done"
        ])
        for shots in (1, 5, None)
    }  # fmt: skip
    assert linear["data"][2]["y"] == pytest.approx(list(means.values()))
    assert linear["layout"]["xaxis"]["ticktext"] == ["1", "5", "all"]


def test_one_number_of_images_is_no_curve(tmp_path):
    results = Results(tmp_path)
    add_classes(results, "a", 0.8, feature="stage0.avg", shots=5)
    add_classes(results, "b", 0.8, feature="stage1.avg")
    page = benchmark_page(results)
    assert not section(page, "Learning curves").parts
    assert "Learning curves" not in page.to_html()


def test_layers_stand_in_the_order_of_the_network(tmp_path):
    (chart,) = charts(section(benchmark_page(pets(tmp_path)), "Layers"))
    assert chart.figure["data"][0]["x"] == ["stage0.avg", "stage1.avg", "stage10.avg"]
    mixed = ["logits", "stage10.avg", "pre_logits", "stage2.max", "final.avg", "block11.cls"]
    assert sorted(mixed, key=_depth) == [
        "stage2.max", "stage10.avg", "block11.cls", "final.avg", "pre_logits", "logits",
    ]  # fmt: skip


def test_what_auto_tried_is_drawn(tmp_path):
    results = Results(tmp_path)
    tried = {"stage1.avg": 0.2, "stage0.avg": 0.1, "pre_logits": 0.3}
    add_classes(results, "a", 0.8, auto=tried)
    (chart,) = charts(section(benchmark_page(results), "Layers"))
    assert chart.figure["data"][0]["x"] == ["stage0.avg", "stage1.avg", "pre_logits"]
    assert chart.figure["data"][0]["y"] == [0.1, 0.2, 0.3]


def test_classes_by_scikit_learn(tmp_path):
    from sklearn.metrics import confusion_matrix, f1_score

    results = pets(tmp_path)
    classes = section(benchmark_page(results), "Classes")
    found = columns(tables(classes)[0])
    assert found["class"] == list(CLASSES)
    assert found["test images"] == [20, 20, 20]
    answers = [results.answers(f"2linearNone{seed}") for seed in (0, 1)]
    scores = [f1_score(a["true"], a["predicted"], average=None) for a in answers]
    assert found["vit: F1, %"] == pytest.approx(np.mean(scores, axis=0).tolist())
    counts = sum(confusion_matrix(a["true"], a["predicted"]) for a in answers)
    cells = charts(classes)[0].figure["data"][0]["text"]
    assert cells == [[str(n) for n in line] for line in counts.tolist()]
    worst = columns(tables(classes)[1])
    assert max(counts[i, k] for i in range(3) for k in range(3) if i != k) == worst["images"][0]


def test_rows_of_older_versions_say_less(tmp_path):
    text = benchmark_page(pets(tmp_path, has_answers=False)).to_html()
    assert "Rows of an older version don&#x27;t tell what was predicted" in text


def test_failures_are_named(tmp_path):
    page = benchmark_page(pets(tmp_path))
    (table,) = tables(section(page, "Failed"))
    assert columns(table)["reason"] == ["ValueError: 5 shots, but class <x> has 3"]
    assert page.facts["cells"] == "39 done, 1 failed"
    assert "class &lt;x&gt; has 3" in page.to_html()


def test_only_failures(tmp_path):
    results = pets(tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text(lines[-1] + "\n")
    text = benchmark_page(results).to_html()
    assert "No cell is done yet." in text
    assert "class &lt;x&gt; has 3" in text


def test_several_datasets(tmp_path):
    results = Results(tmp_path)
    for name, gain in (("a", 0.0), ("b", 0.1)):
        for i, backbone in enumerate(BACKBONES):
            share = 0.3 + gain + 0.28 * i
            add_classes(results, f"{name}{i}", share, dataset=name, backbone=backbone)
    page = benchmark_page(results)
    found = columns(tables(section(page, "Datasets"))[0])
    assert found["backbone"] == ["vit", "resnet18", "tiny"]
    assert found["mean rank"] == [1.0, 2.0, 3.0]
    assert {"a: leaderboards", "b: leaderboards"} <= {one.title for one in page.sections}


DENSE = {
    "segmentation": ("mean_iou", "iou"),
    "detection": ("average_precision", "ap50_of"),
    "instances": ("average_precision", "ap50_of"),
    "oriented": ("average_precision", "ap50_of"),
}


@pytest.mark.parametrize("task", DENSE)
def test_tasks_of_maps(tmp_path, task):
    main, by_class = DENSE[task]
    results = Results(tmp_path)
    for shots, worth in ((4, 0.3), (None, 0.6)):
        for backbone in BACKBONES[:2]:
            metrics = {
                main: worth, "main": main, "interval": [worth - 0.1, worth + 0.1],
                "baseline": 0.0, "is_better": True, by_class: {"<i>a": worth, "b": None},
            }  # fmt: skip
            facts = {"task": task, "shots": shots, "backbone": backbone, "feature": "pyramid"}
            values = np.linspace(worth - 0.1, worth + 0.1, 12, dtype=np.float32)
            results.add(row(f"{backbone[-4:]}{shots}", metrics=metrics, **facts), values)
    page = benchmark_page(results)
    (table,) = tables(section(page, "Classes"))
    assert columns(table)["class"] == ["<i>a", "b"]
    assert [value(cell) for cell in table.rows[0][1:]] == pytest.approx([0.6, 0.6])
    assert table.rows[1][1:] == [None, None]
    (curve,) = charts(section(page, "Learning curves"))
    assert curve.figure["data"][0]["x"] == [4, 30]
    assert "training images in all" in curve.figure["layout"]["xaxis"]["title"]["text"]
    assert "<i>a" not in page.to_html()


@pytest.mark.parametrize("n_targets", [1, 2])
def test_numbers(tmp_path, n_targets):
    results = Results(tmp_path)
    true = np.random.default_rng(0).normal(size=(20, n_targets)).squeeze()
    metrics = {"r2": 0.9, "main": "r2", "interval": [0.8, 0.95], "baseline": 0.0}
    facts = {"task": "regression", "n_classes": 0, "metrics": {**metrics, "is_better": True}}
    values = -np.ones(20, np.float32)
    results.add(row("a", **facts), values, {"true": true, "predicted": true + 0.1})
    page = benchmark_page(results)
    found = charts(section(page, "Classes"))
    assert len(found) == n_targets
    assert found[0].figure["data"][0]["x"] == true.reshape(20, -1)[:, 0].tolist()
    assert next(iter(page.facts.values())).startswith("0.900 (0.800 to 0.950)")


def test_labels(tmp_path):
    results = Results(tmp_path)
    true = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    said = np.array([[1, 0], [0, 1], [0, 1], [0, 1]])
    metrics = {"map": 0.7, "main": "map", "interval": [0.6, 0.8], "baseline": 0.5}
    facts = {"task": "multilabel", "metrics": {**metrics, "is_better": True}}
    answers = {"true": true, "predicted": said, "classes": np.array(["a", "b"])}
    results.add(row("a", **facts), np.ones(4, np.float32), answers)
    (table,) = tables(section(benchmark_page(results), "Classes"))
    assert columns(table)["tiny: F1, %"] == pytest.approx([2 / 3, 0.8])


def test_speed_is_that_of_the_quickest_pass():
    rows = [row("a", extract_seconds=4.0), row("b"), row("c", n_extracted=0)]
    assert images_per_second(rows) == {BACKBONES[0]: 50.0}
    old = {k: v for k, v in rows[0].items() if k != "extract_seconds"}
    assert images_per_second([old]) == {}


def test_the_page_tells_how_it_was_measured(tmp_path):
    results = Results(tmp_path)
    facts = {"probe": "transfer-logreg", "kind": "protocol", "deviates": ["image_size"]}
    add_classes(results, "a", 0.8, **facts)
    method = section(benchmark_page(results), "How it was measured")
    assert columns(tables(method)[0])["deviates from the publication in"] == ["image_size"]
    settings = next(part for part in method.parts if isinstance(part, Fold))
    assert settings.title == "Settings of transfer-logreg"
    assert re.search("pre_logits", settings.to_html())
