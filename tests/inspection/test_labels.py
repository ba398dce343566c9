"""Confident learning against plain loops, and planted wrong labels."""

import numpy as np
import pytest

from transferkit.inspection.labels import (
    _suspects,
    class_thresholds,
    confident_joint,
    confident_labels,
    label_findings,
    out_of_fold,
)


def clusters(n=120, n_classes=3, seed=0):
    """Rows around one corner per class, and each row's class."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % n_classes
    return (4 * np.eye(n_classes)[codes] + rng.normal(size=(n, n_classes))).astype("f4"), codes


def test_confident_joint_by_loops():
    """Eq. 1 and 2 of the paper, image by image."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), size=200)
    codes = rng.integers(0, 4, size=200)
    thresholds = [np.mean([p[i, j] for i in range(200) if codes[i] == j]) for j in range(4)]
    joint = np.zeros((4, 4), dtype=int)
    for i in range(200):
        above = [j for j in range(4) if p[i, j] >= thresholds[j]]
        if above:
            joint[codes[i], max(above, key=lambda j: p[i, j])] += 1
    np.testing.assert_array_equal(confident_joint(p, codes), joint)
    assert (confident_labels(p, codes) == -1).sum() == 200 - joint.sum()


def test_suspects_by_a_loop():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.full(4, 0.1), size=300)
    codes = rng.integers(0, 4, size=300)
    thresholds = [np.mean([p[i, j] for i in range(300) if codes[i] == j]) for j in range(4)]
    np.testing.assert_allclose(class_thresholds(p, codes), thresholds)
    expected = []
    for i in range(300):
        best = max((j for j in range(4) if j != codes[i]), key=lambda j: p[i, j])
        if p[i, best] >= 100 * p[i, codes[i]] and p[i, best] >= thresholds[best] / 2:
            expected.append((i, best, p[i, codes[i]], p[i, best]))
    assert 0 < len(expected) < 300
    assert _suspects(p, codes) == expected


def test_class_without_images_is_never_suggested():
    p = np.array([[0.1, 0.2, 0.7]] * 4)
    assert set(confident_labels(p, np.array([0, 1, 0, 1]))) == {1}


def test_flipped_labels_are_named_first():
    rows, codes = clusters()
    labels = [f"class {code}" for code in codes]
    flipped = {5: "class 0", 40: "class 0", 77: "class 0"}
    for i, wrong in flipped.items():
        labels[i] = wrong
    found, told = label_findings(rows, labels)
    assert {one.image for one in found[:3]} == set(flipped)
    assert all(one.suggestion == f"class {codes[one.image]}" for one in found[:3])
    assert not any(one.is_excluded for one in found)
    assert told.startswith("120 judged out of fold")
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_copies_do_not_vouch_for_one_another():
    """Nothing is known of two copies but what each tells of the other."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 6)).astype(np.float32)
    codes = (rows[:, 0] > 0).astype(int)
    rows[:, 5] = 0
    rows[[10, 60]] = [0, 0, 0, 0, 0, 9]
    codes[[10, 60]] = 1
    blocks = np.arange(100)
    blocks[60] = blocks[10]
    blocks = np.unique(blocks, return_inverse=True)[1]
    apart = out_of_fold(rows, codes, kind="classification")
    together = out_of_fold(rows, codes, kind="classification", blocks=blocks)
    assert together[10, 1] < 0.8 < apart[10, 1]


def test_out_of_fold_by_scikit_learn():
    from sklearn.model_selection import cross_val_predict

    from transferkit.datasets import folds
    from transferkit.heads import create_head

    rows, codes = clusters(60)
    fold_of = folds(60, 5, 0, labels=codes)
    splits = [(np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(5)]
    head = create_head("linear")
    expected = cross_val_predict(head, rows, codes, cv=splits, method="predict_proba")
    np.testing.assert_allclose(out_of_fold(rows, codes, kind="classification"), expected)


def test_several_labels_are_judged_one_by_one():
    rows, _ = clusters(160, 4)
    table = (rows[:, :2] > 2).astype(int)
    table[9, 1] = 1 - table[9, 1]
    rows[9] *= 2
    found, _ = label_findings(
        rows, [tuple(map(str, line)) for line in table], task="multilabel", names=("cat", "dog")
    )
    assert found[0].image == 9
    assert found[0].suggestion == ("without dog" if table[9, 1] else "with dog")


def test_numbers_of_large_residuals():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 3)).astype(np.float32)
    values = rows @ [1.0, 2.0, 3.0] + 0.1 * rng.normal(size=100)
    labels: list = [f"{value:.6f}" for value in values]
    labels[31] = "40"
    labels[50] = None
    found, _ = label_findings(rows, labels, task="regression")
    assert [one.image for one in found] == [31]
    assert float(found[0].suggestion) == pytest.approx(values[31], abs=1)


@pytest.mark.parametrize("labels", [["a"] * 30, [None] * 30, ["a", "b"] + [None] * 28])
def test_too_few_labels_or_classes_give_nothing(labels):
    assert label_findings(np.eye(30, dtype=np.float32), labels) == ([], "")


def test_images_without_label_are_left_out():
    rows, codes = clusters()
    labels = [f"{code}" for code in codes]
    labels[4] = "0"
    labels[3] = None
    found, _ = label_findings(rows, labels)
    assert found[0].image == 4
    assert 3 not in [one.image for one in found]


def test_reasons_are_plain_words():
    rows, codes = clusters()
    labels = [f"{code}" for code in codes]
    labels[4] = "0"
    found, told = label_findings(rows, labels)
    assert found[0].reason.startswith("labelled '0', of which a linear head")
    assert found[0].reason.endswith("of '1'")
    assert "np." not in told + found[0].reason


def test_classes_that_a_fold_lacks_are_not_judged():
    """A head that never saw a class is sure that there is none."""
    rows, codes = clusters()
    labels = [f"{code}" for code in codes]
    labels[3] = "once"
    for i in (6, 36, 66, 96, 106):
        labels[i] = "copies"
    blocks = np.arange(120)
    blocks[[6, 36, 66, 96, 106]] = 6
    found, told = label_findings(rows, labels, blocks=np.unique(blocks, return_inverse=True)[1])
    assert not {3, 6, 36, 66, 96, 106} & {one.image for one in found}
    assert told.startswith("114 judged out of fold")
    assert told.endswith("6 of rare classes can't be judged")
    assert label_findings(rows, [f"{i}" for i in range(120)]) == ([], "")


def test_several_numbers_are_judged_one_by_one():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 3)).astype(np.float32)
    values = rows @ np.array([[1.0, 2], [2, 0], [0, 3]]) + 0.1 * rng.normal(size=(100, 2))
    labels = [tuple(f"{value:.6f}" for value in line) for line in values]
    labels[31] = (labels[31][0], "40")
    found, _ = label_findings(rows, labels, task="regression", names=("cells", "plates"))
    assert [one.image for one in found] == [31]
    assert found[0].reason.startswith("plates 40, where a head")
    name, number = found[0].suggestion.split()
    assert name == "plates"
    assert float(number) == pytest.approx(values[31, 1], abs=1)


def test_a_word_among_numbers():
    with pytest.raises(ValueError, match="the label of image 0 is 'cat'; give a number"):
        label_findings(np.eye(20, dtype="f4"), ["cat", *["1"] * 19], task="regression")
