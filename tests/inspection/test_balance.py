"""Classes by part, against a count by hand."""

import numpy as np

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.images import ImageSet
from transferkit.inspection.balance import class_balance, missing_classes, object_balance


def images(labels, splits=None, label_names=None, n=None):
    n = len(labels) if n is None else n
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


def test_objects_and_classes_of_maps():
    boxes = np.array([[0.0, 0, 5, 5]] * 3)
    items = [
        Annotations((9, 9), boxes=boxes, labels=np.array([1, 2, 1])),
        Annotations((9, 9), boxes=boxes[:0], labels=np.zeros(0, int)),
        None,
        "faulty",
        Annotations((1, 4), map=np.array([[0, 2, 2, -1]])),
    ]

    def read(item):
        if item == "faulty":
            raise ValueError("no annotations")
        return item

    annotations = AnnotationSet(("ground", "cell", "plate", "never"), items, read)
    splits = ("train", "train", "val", "val", "val")
    assert object_balance(images(None, splits, n=5), annotations) == {
        "train": {"ground": 0, "cell": 2, "plate": 1},
        "val": {"ground": 1, "cell": 0, "plate": 1},
    }
