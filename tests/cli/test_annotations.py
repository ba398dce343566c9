"""``transferkit annotations`` on real files."""

import json

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import Annotations, write_annotations

CLASSES = ("background", "cat", "dog")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    names = [f"{i}.png" for i in range(4)]
    for name in names:
        Image.new("RGB", (50, 40)).save(tmp_path / "images" / name)
    boxes = np.array([[1.0, 2, 30, 22], [20, 10, 70, 30]])
    scenes = [
        Annotations((40, 50), boxes=boxes[: i % 3], labels=np.array([1, 2])[: i % 3])
        for i in range(4)
    ]
    write_annotations(tmp_path / "Annotations", names, scenes, CLASSES, form="voc")
    return tmp_path


def test_check_counts_and_names(call, folder):
    done = call("annotations", "check", folder / "images")
    assert done.code == 0
    assert "4, 4 with good annotations" in done.out
    assert "2.png: 2.xml: object 2 (dog)" in done.err
    assert "cut off" in done.err
    (folder / "Annotations" / "1.xml").write_text("<annotation>")
    done = call("annotations", "check", folder / "images", "--json")
    assert done.code == 3
    result = json.loads(done.out)
    assert [name for name, _ in result["faults"]] == ["1.png"]
    assert result["classes"] == [{"class": "cat", "objects": 1, "images": 1},
                                 {"class": "dog", "objects": 1, "images": 1}]  # fmt: skip
    assert result["without_objects"] == 2


@pytest.mark.parametrize(("form", "out"), [("yolo", "y"), ("coco", "c.json"), ("csv", "t.csv")])
def test_convert_there_and_back(call, folder, form, out):
    done = call("annotations", "convert", folder / "images", "--to", form, "--out", folder / out)
    assert done.code == 0, done.err
    assert "4 of 4 images written" in done.err
    back = call("annotations", "convert", folder / "images", "--annotations", folder / out,
                "--to", "voc", "--out", folder / "back")  # fmt: skip
    assert back.code == 0, back.err
    text = (folder / "back" / "2.xml").read_text()
    assert "<xmax>50</xmax>" in text
    assert "<name>dog</name>" in text
    again = call("annotations", "convert", folder / "images", "--to", form, "--out", folder / out)
    assert again.code == 1
    assert "is there already" in again.err


def test_what_cannot_be_used_is_left_out_and_named(call, folder):
    (folder / "Annotations" / "1.xml").unlink()
    done = call("annotations", "convert", folder / "images", "--to", "csv", "--out", folder / "t")
    assert done.code == 3
    assert "1.png: no annotations were found for it" in done.err
    assert (folder / "t").read_text().count("2.png") == 2
    done = call("annotations", "convert", folder / "images", "--to", "masks", "--out",
                folder / "m")  # fmt: skip
    assert done.code == 1
