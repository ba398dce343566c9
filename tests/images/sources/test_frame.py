import math
from pathlib import Path

import pytest

from transferkit.images import list_images


class Frame:
    """A DataFrame, as far as it is asked: columns by name, and a shape."""

    def __init__(self, columns):
        self.columns_ = columns
        self.columns = list(columns)
        self.shape = (2, len(columns))

    def __getitem__(self, name):
        return self.columns_[name]


def arrow(columns):
    pa = pytest.importorskip("pyarrow")
    return pa.table(columns)


@pytest.mark.parametrize("kind", [Frame, arrow])
def test_a_frame_says_what_a_table_says(kind, tmp_path):
    columns = {
        "label": ["cat", None, "dog"],
        "path": ["b.jpg", "a/ü.png", "b.jpg"],
        "split": ["Train", "", "test"],
        "weight": [0.1, 2.0, 3.0],
    }
    images = list_images(kind(columns))
    assert images.names == ("b.jpg", "a/ü.png", "b.jpg")
    assert images.items == (Path("b.jpg"), Path("a/ü.png"), Path("b.jpg"))
    assert images.labels == ("cat", None, "dog")
    assert images.splits == ("train", None, "test")
    assert images.label_names == ("label",)
    assert list_images(kind(columns), label_column="weight").labels == ("0.1", "2.0", "3.0")
    both = list_images(kind(columns), label_column=["label", "weight"])
    assert both.labels == (("cat", "0.1"), (None, "2.0"), ("dog", "3.0"))


@pytest.mark.parametrize("name", ["photo", 0])
def test_a_single_column_is_that_of_the_paths(name):
    assert list_images(Frame({name: ["a.jpg", "b.jpg"]})).names == ("a.jpg", "b.jpg")


def test_a_missing_label_of_any_kind():
    missing = [None, math.nan, type("NAType", (), {})(), type("NaTType", (), {})(), " "]
    frame = Frame({"path": ["x"] * 6, "label": ["a", *missing]})
    assert list_images(frame).labels == ("a", None, None, None, None, None)


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"pth": ["a"], "label": ["x"]},
            {},
            r"no column 'path'; did you mean 'pth'\? Columns: pth, label\. Name it with path_col",
        ),
        ({"path": ["a"]}, {"label_column": "lable"}, "no column 'lable'.*label_column="),
        ({"path": ["a"], "x": [1]}, {"split_column": "fold"}, "no column 'fold'.*split_column="),
        ({"path": ["a"], "split": ["trian"]}, {}, "row 0 has the unknown split 'trian'"),
        ({"path": ["a", None]}, {}, "image 1 is missing .None.; give its path"),
        ({"path": []}, {}, "the list is empty"),
    ],
)
def test_wrong_frames(columns, options, message):
    with pytest.raises(ValueError, match=message):
        list_images(Frame(columns), **options)


def test_two_columns_of_one_name():
    frame = Frame({"path": Frame({"path": []}), "label": []})
    with pytest.raises(ValueError, match="several columns named 'path'; rename all but one"):
        list_images(frame)
