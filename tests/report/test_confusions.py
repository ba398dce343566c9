import numpy as np

from transferkit.report.confusions import confusion_parts


def test_pairs_are_ranked_by_their_images():
    counts = [[8, 2, 0], [1, 9, 0], [3, 0, 7]]
    _, table = confusion_parts(counts, ["a", "b", "c"])
    assert table.rows == [["c", "a", 3, 30.0], ["a", "b", 2, 20.0], ["b", "a", 1, 10.0]]


def test_nothing_confused_has_no_table():
    assert len(confusion_parts(np.eye(3, dtype=int), ["a", "b", "c"])) == 1


def test_of_many_classes_the_most_confused_are_drawn():
    counts = 5 * np.eye(60, dtype=int)
    counts[50, 7] = 4
    counts[3, 59] = 2
    labels = [f"class {i}" for i in range(60)]
    chart, table = confusion_parts(counts, labels)
    names = chart.figure["layout"]["xaxis"]["ticktext"]
    assert len(names) == 30
    assert {"class 50", "class 7", "class 3", "class 59"} <= set(names)
    assert names == sorted(names, key=labels.index)
    assert table.rows[0][:3] == ["class 50", "class 7", 4]
