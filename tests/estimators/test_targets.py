"""Labels that are missing, in every form that Python has for it."""

import numpy as np
import pytest

from transferkit.estimators import targets_of

IMAGES = ["a.png", "b.png"]


class NAType:
    """As pandas has it: it compares as nothing, and is neither true nor false."""

    def __eq__(self, other):
        return self

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None


@pytest.mark.parametrize(
    "kind", [list, tuple, lambda y: np.array(y, dtype=object)], ids=["list", "tuple", "array"]
)
@pytest.mark.parametrize(
    "missing",
    [None, float("nan"), np.float32("nan"), NAType(), "", "  "],
    ids=["None", "nan", "float32", "NA", "empty", "blank"],
)
def test_a_missing_label_is_no_class(kind, missing):
    for y in (["a", missing], [1, missing]):
        if isinstance(missing, str) and isinstance(y[0], int):
            continue
        with pytest.raises(ValueError, match=r"the label of image 1 is .*; give it a label"):
            targets_of(IMAGES, kind(y), "training", "classification")


def test_a_masked_label():
    y = np.ma.masked_array(["a", "b"], mask=[False, True])
    with pytest.raises(ValueError, match="the label of image 1 is None; give it a label"):
        targets_of(IMAGES, y, "training", "classification")
    whole = np.ma.masked_array(["a", "b"], mask=False)
    assert targets_of(IMAGES, whole, "training", "classification").tolist() == ["a", "b"]


def test_lookalikes_are_named(caplog):
    targets_of(IMAGES, ["Cat", "cat"], "training", "classification")
    assert "'Cat' and 'cat'" in caplog.text
