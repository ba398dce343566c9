"""Which images are for what: the rule for splits, hold-outs, folds, copies and groups."""

import itertools

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, train_test_split

from transferkit.datasets import (
    blocks_of,
    contradictions,
    divide,
    draw_share,
    draw_shots,
    draw_stratified,
    folds,
    hold_out,
    is_labelled,
    is_unseen,
    keep_apart,
    measured_of,
    roles_of,
)

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 4, 200).astype(str)
GROUPS = RANDOM.integers(0, 25, 200).tolist()


def ids_of(*names):
    return [name.encode().ljust(16) for name in names]


@pytest.mark.parametrize(
    ("names", "validation", "measured"),
    [
        (("train", "val", "test"), "val", "test"),
        (("train", "test"), None, "test"),
        (("train", "val"), None, "val"),
        (("train",), None, None),
        ((), None, None),
    ],
)
def test_roles(names, validation, measured):
    assert (roles_of(names).validation, roles_of(names).measured) == (validation, measured)


def test_splits_without_a_training_part():
    for names in (("val",), ("test",), ("val", "test")):
        with pytest.raises(ValueError, match=r"the images have splits \(.*\) but no 'train'"):
            roles_of(names)
    # But a trained model can be measured on them.
    assert [measured_of(n) for n in (("val",), ("val", "test"), ("train",), ())] == [
        "val", "test", None, None,
    ]  # fmt: skip


# ---- what belongs together ----------------------------------------------------------


def test_blocks_against_repeated_merging():
    ids = ids_of(*RANDOM.integers(0, 60, 80).astype(str))
    groups = [None if g > 40 else f"g{g}" for g in RANDOM.integers(0, 60, 80)]
    expected = list(range(80))
    for _ in range(80):  # until nothing merges any more
        for i, j in itertools.combinations(range(80), 2):
            if ids[i] == ids[j] or (groups[i] is not None and groups[i] == groups[j]):
                expected[i] = expected[j] = min(expected[i], expected[j])
    blocks = blocks_of(ids, groups)
    first = list(dict.fromkeys(expected))
    assert blocks.tolist() == [first.index(number) for number in expected]


@pytest.mark.parametrize("alone", [None, "", "  ", float("nan")])
def test_no_group_is_no_group_of_all_that_have_none(alone):
    assert blocks_of(ids_of("a", "b"), [alone, alone]) is None
    assert is_unseen([alone], [alone]).tolist() == [True]


def test_keep_apart():
    ids = ids_of("a", "b", "a", "c", "d")
    kept, why = keep_apart(np.array([0, 1]), np.array([2, 3, 4]), ids, ["x", "y", "z", "y", None])
    assert kept.tolist() == [4]
    assert why == {
        "have the same bytes as training images": 1,
        "are of groups that are trained on": 1,
    }


def test_contradictions_and_labels():
    assert contradictions(ids_of("a", "b", "a", "b"), ["x", "y", "z", "y"]) == [(0, 2)]
    assert is_labelled(None, 2).tolist() == [False, False]


# ---- hold-outs ----------------------------------------------------------------------


def test_hold_out_is_scikit_learns():
    train, held = hold_out(200, 0.25, 3, labels=LABELS)
    expected = train_test_split(np.arange(200), test_size=0.25, random_state=3, stratify=LABELS)
    assert train.tolist() == sorted(expected[0])
    assert held.tolist() == sorted(expected[1])


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.33, 0.5, 0.8, 40])
def test_groups_stay_whole(share):
    blocks = blocks_of(None, GROUPS)
    train, held = hold_out(200, share, 0, labels=LABELS, blocks=blocks)
    assert sorted([*train, *held]) == list(range(200))
    assert not {GROUPS[i] for i in train} & {GROUPS[i] for i in held}
    meant = share if share < 1 else share / 200
    assert len(held) / 200 == pytest.approx(meant, abs=0.05)
    for label in "0123":
        of_class = np.mean(LABELS[held] == label) - np.mean(label == LABELS)
        assert abs(of_class) < 0.12


def test_groups_are_drawn_by_the_seed():
    blocks = blocks_of(None, GROUPS)
    draws = [hold_out(200, 0.2, seed, labels=LABELS, blocks=blocks)[1] for seed in (0, 0, 1)]
    assert draws[0].tolist() == draws[1].tolist() != draws[2].tolist()


def test_the_largest_group_is_not_always_held_out():
    groups = np.repeat(np.arange(10), [30, *[8] * 9])
    sides = {
        0 in groups[hold_out(len(groups), 0.3, seed, blocks=blocks_of(None, groups.tolist()))[1]]
        for seed in range(10)
    }
    assert sides == {False, True}


def test_other_groups_are_together_with_another_seed():
    blocks = np.repeat(np.arange(20), 3)
    folds_of = [folds(60, 5, seed, blocks=blocks) for seed in (0, 1)]
    together = [fold[:, np.newaxis] == fold for fold in folds_of]
    assert not np.array_equal(*together)


def test_a_class_of_one_group_is_trained_on():
    labels = np.array(["a"] * 10 + ["b"] * 10 + ["rare"] * 4)
    blocks = blocks_of(None, [*range(20), 99, 99, 99, 99])
    for seed in range(8):
        train, _ = hold_out(24, 0.5, seed, labels=labels, blocks=blocks)
        assert set(range(20, 24)) <= set(train)


def test_one_group_has_nothing_to_hold_out():
    with pytest.raises(ValueError, match="all 3 images are of one group"):
        hold_out(3, 0.5, 0, blocks=np.zeros(3, int))


# ---- folds --------------------------------------------------------------------------


def test_folds_are_scikit_learns():
    fold = folds(200, 5, 1, labels=LABELS)
    splitter = StratifiedKFold(5, shuffle=True, random_state=1)
    for number, (_, held) in enumerate(splitter.split(LABELS, LABELS)):
        assert np.flatnonzero(fold == number).tolist() == held.tolist()
    assert np.bincount(folds(10, 5, 0)).tolist() == [2] * 5


def test_folds_of_groups():
    fold = folds(200, 5, 0, labels=LABELS, blocks=blocks_of(None, GROUPS))
    for group in set(GROUPS):
        assert len({fold[i] for i in range(200) if GROUPS[i] == group}) == 1
    assert np.abs(np.bincount(fold) - 40).max() <= 8
    for label in "0123":
        in_fold = np.bincount(fold[label == LABELS], minlength=5)
        assert np.abs(in_fold - in_fold.mean()).max() <= 6


def test_copies_are_in_one_fold():
    ids = ids_of(*map(str, range(50))) * 2
    fold = folds(100, 5, 0, labels=list("ab") * 50, blocks=blocks_of(ids))
    assert fold[:50].tolist() == fold[50:].tolist()


def test_folds_of_classes_smaller_than_their_number():
    fold = folds(23, 5, 0, labels=["a"] * 10 + ["b"] * 10 + ["c"] * 3)
    assert set(fold) == set(range(5))
    assert len(set(fold[20:])) == 3


def test_more_folds_than_images():
    with pytest.raises(ValueError, match="5 folds of 4 images; give 2 to 4"):
        folds(4, 5, 0)
    with pytest.raises(ValueError, match="5 folds of 2 groups of images; give 2 to 2"):
        folds(6, 5, 0, blocks=np.array([0, 0, 0, 1, 1, 1]))


# ---- a data set ---------------------------------------------------------------------


def divided(splits, ids, labels, groups=None, **options):
    options = {"is_classes": True, "share": 0.2, "seed": 0, **options}
    return divide(splits, ids_of(*ids), labels, groups, **options)


def test_given_splits_and_copies():
    parts = divided(
        ["train", "train", "val", "test", "test", "test", None],
        ["a", "b", "c", "a", "c", "d", "e"],
        list("xyxyxyx"),
    )
    assert parts.train.tolist() == [0, 1]
    assert parts.validation.tolist() == [2]
    assert parts.measured.tolist() == [5]  # neither of train's bytes nor of val's
    assert parts.left_out_line() == "2 of 3 test images have the same bytes as training images"
    assert parts.line() == (
        "trained on train (2), hyper-parameters chosen on val (1), measured on test (3)"
    )


def test_without_a_test_part_val_is_measured():
    parts = divided(["train"] * 3 + ["val"] * 2, "abcad", list("xyxxy"))
    assert (parts.train.tolist(), parts.validation.tolist()) == ([0, 1, 2], [])
    assert parts.measured.tolist() == [4]
    assert parts.name == "val split"
    assert parts.line() == "trained on train (3), measured on val (2): there is no test part"


def test_roles_are_those_of_all_images():
    """Where no test image can be read, val chooses all the same."""
    roles = roles_of(["train", "val", "test"])
    parts = divided(["train", "train", "val"], "abc", "xyx", roles=roles)
    assert (parts.validation.tolist(), parts.measured.tolist()) == ([2], [])
    assert parts.why_not_measured() == "no image of the test part could be read"


def test_held_out_copies_are_left_out():
    ids = [str(i % 50) for i in range(100)]
    parts = divided(None, ids, list("ab") * 50)
    train, held = hold_out(100, 0.2, 0, labels=list("ab") * 50)
    seen = {ids[i] for i in train}
    assert parts.train.tolist() == train.tolist()
    assert parts.measured.tolist() == [i for i in held if ids[i] not in seen]
    assert parts.n_meant == 20


def test_held_out_groups():
    groups = [i // 4 for i in range(100)]
    parts = divided(None, map(str, range(100)), list("ab") * 50, groups)
    assert not {groups[i] for i in parts.train} & {groups[i] for i in parts.measured}
    assert len(parts.measured) == 20
    assert parts.left_out == {}


def test_groups_in_given_splits():
    parts = divided(["train", "test", "test"], "abc", "xyx", ["g", "g", "h"])
    assert parts.measured.tolist() == [2]
    assert "1 of 2 test images are of groups that are trained on" in parts.left_out_line()


@pytest.mark.parametrize(
    ("ids", "labels", "reason"),
    [
        ("abab", "xyxy", "every one of the 2 test images has the same bytes as a training image"),
        ("abcd", ["x", "y", None, None], "no image of the test part has a label"),
        ("abcb", ["x", "y", None, "y"], "no image of the test part is left: 1 of 2 test images"),
    ],
)
def test_why_nothing_is_measured(ids, labels, reason):
    parts = divided(["train", "train", "test", "test"], ids, labels)
    assert len(parts.measured) == 0
    assert parts.why_not_measured().startswith(reason)


def test_partly_labelled():
    parts = divided(["train"] * 2 + ["test"] * 3, "abcde", ["x", "y", None, "x", "y"])
    assert parts.measured.tolist() == [3, 4]
    assert parts.left_out_line() == "1 of 3 test images have no label"


def test_nothing_is_held_out():
    parts = divided(None, "abcd", "xyxy", share=0)
    assert (len(parts.train), len(parts.measured)) == (4, 0)
    assert parts.why_not_measured() == "nothing was held out"
    with pytest.raises(ValueError, match=r"--test-size 0.2 can't hold out a part of every class"):
        divided(None, "abc", "xyz")


def test_sets_of_labels_and_numbers_are_not_stratified():
    labels = [("1", "0"), ("0", "1")] * 10
    for is_classes, given in ((True, labels), (False, [str(i) for i in range(20)])):
        parts = divided(None, map(str, range(20)), given, is_classes=is_classes)
        assert parts.measured.tolist() == hold_out(20, 0.2, 0)[1].tolist()


def test_draw_shots_a_seed_are_nested():
    y = np.repeat([0, 1, 2], 10)
    five, two = draw_shots(y, 5, 0), draw_shots(y, 2, 0)
    assert set(two) <= set(five)
    assert np.bincount(y[five]).tolist() == [5, 5, 5]
    assert set(five) != set(draw_shots(y, 5, 1))


def test_a_share_is_drawn_of_each_class():
    y = np.repeat([0, 1, 2], [40, 10, 2])
    held = draw_share(y, 0.25, 0)
    assert np.bincount(y[held]).tolist() == [10, 2, 1]
    assert draw_share(np.zeros((20, 3), int), 0.25, 0).sum() == 5
    np.testing.assert_array_equal(held, draw_share(y, 0.25, 0))
    assert (held != draw_share(y, 0.25, 1)).any()
    with pytest.raises(ValueError, match="a class of one sample leaves nothing to choose by"):
        draw_share(np.arange(3), 0.25, 0)


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.99])
def test_a_heads_draw_takes_a_share_of_each_class(fraction):
    counts = np.array([1, 2, 10, 101, 1])
    codes = np.random.default_rng(0).permutation(np.repeat(np.arange(5), counts))
    held = draw_stratified(codes, fraction, 0)
    taken = np.bincount(codes[held], minlength=5)
    for n, k in zip(counts, taken, strict=True):
        assert k == (0 if n < 2 else min(max(1, round(fraction * n)), n - 1))
    assert (held == draw_stratified(codes, fraction, 0)).all()
    assert (held != draw_stratified(codes, fraction, 1)).any()
