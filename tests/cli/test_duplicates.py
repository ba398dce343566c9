"""Images of the same bytes are named, those that mislead first."""

import json
import shutil
from pathlib import Path

from tests.cli.conftest import BACKBONE
from transferkit.cli._duplicates import described, duplicates
from transferkit.images import ImageSet


def listed(names, labels=None, splits=None):
    return ImageSet(tuple(map(Path, names)), tuple(names), labels, splits)


def test_which_and_whether_it_matters():
    images = listed(
        "abcdefgh", tuple("xxyyxxxx"), ("train", "train", "test", "test", *["train"] * 4)
    )
    ids = [b"1", b"1", b"2", b"3", b"2", b"4", b"4", b"4"]
    assert duplicates(ids) == [[0, 1], [2, 4], [5, 6, 7]]
    assert described(images, ids) == [
        (
            "same bytes",
            "4 duplicates: c = e (in test and train, labelled 'y' and 'x'); a = b; f = g = h",
        )
    ]
    assert described(images, [b"%d" % i for i in range(8)]) == []


def test_many_are_cut_short():
    names = [f"{i}.jpg" for i in range(20)]
    ids = [b"%d" % (i // 2) for i in range(20)]
    splits = tuple("train" if i < 12 else ("train", "test")[i % 2] for i in range(20))
    [(_, text)] = described(listed(names, splits=splits), ids)
    assert text.startswith("10 duplicates: 12.jpg = 13.jpg (in train and test); ")
    assert text.endswith("; … and 7 more, 1 of them across splits or labels")
    [(_, text)] = described(listed(names), [b"0"] * 20)
    assert text == "19 duplicates: 0.jpg = 1.jpg = 2.jpg = 17 more"


def test_they_are_told_by_extract_and_fit(call, images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "dark" / "03.jpg", images / "light" / "copy.jpg")
    words = "1 duplicate: dark/03.jpg = light/copy.jpg (labelled 'dark' and 'light')"
    assert words in call("extract", images, *BACKBONE).out
    fit = ("fit", images, *BACKBONE, "--out", tmp_path / "m", "--force")
    assert words in call(*fit).out
    for command in (("extract", images, *BACKBONE), fit):
        found = json.loads(call(*command, "--json").out)
        assert found["duplicates"] == [["dark/03.jpg", "light/copy.jpg"]]
