"""Classes by part, against a count by hand."""

from transferkit.images import ImageSet
from transferkit.inspection.balance import class_balance, missing_classes


def images(labels, splits=None, label_names=None):
    n = len(labels)
    return ImageSet((b"",) * n, tuple(map(str, range(n))), labels, splits, label_names)


def test_by_split():
    splits = ("train", "train", "test", None, "train")
    balance = class_balance(images(("a", "b", "a", "b", None), splits))
    assert balance == {
        "train": {"a": 1, "b": 1},
        "test": {"a": 1, "b": 0},
        "no split": {"a": 0, "b": 1},
    }
    assert missing_classes(balance) == {"test": ["b"], "no split": ["a"]}


def test_without_splits_and_without_labels():
    assert class_balance(images(("a", "a"))) == {"all": {"a": 2}}
    assert class_balance(ImageSet((b"",), ("0",))) == {}


def test_several_labels():
    balance = class_balance(images((("1", "0"), ("1", None)), None, ("cat", "dog")))
    assert balance == {"all": {"cat": 2}}
