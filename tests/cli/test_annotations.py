"""``transferkit annotations`` on real files."""

import json

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import (
    Annotations,
    annotation_forms,
    read_annotations,
    write_annotations,
)
from transferkit.annotations._reading import form_of
from transferkit.cli.annotations import convert_command
from transferkit.images import list_images

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


@pytest.mark.parametrize(
    ("form", "out"), [("yolo", "y"), ("coco", "c.json"), ("csv", "t.csv"), ("cvat", "c.xml")]
)
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


def test_every_format_that_is_written_can_be_chosen():
    (choice,) = [one.type for one in convert_command.params if one.name == "form"]
    written = [name for name in annotation_forms() if hasattr(form_of(name), "write")]
    assert sorted(choice.choices) == written


# ---- oriented boxes ---------------------------------------------------------------------

TURNED = np.array([[20.0, 20, 20, 8, 30], [45, 10, 16, 6, -80]])


@pytest.fixture
def turned(folder):
    """The same images, with oriented boxes in DOTA's files too."""
    scenes = [
        Annotations((40, 50), oriented=TURNED[: i % 3], labels=np.array([1, 2])[: i % 3])
        for i in range(4)
    ]
    names = [f"{i}.png" for i in range(4)]
    write_annotations(folder / "labelTxt", names, scenes, CLASSES, form="dota")
    return folder


def test_check_tells_of_oriented_boxes(call, turned):
    done = call("annotations", "check", turned / "images", "--annotations", turned / "labelTxt",
                "--json")  # fmt: skip
    assert done.code == 0
    told = json.loads(done.out)["oriented"]
    assert told == {"boxes": 3, "length": pytest.approx(20), "width": pytest.approx(8),
                    "leaving": 0}  # fmt: skip
    done = call("annotations", "check", turned / "images", "--annotations", turned / "labelTxt")
    assert "3: 20 × 8 px at the median; 0.0 % leave the image" in done.out


@pytest.mark.parametrize(
    ("form", "out"),
    [("yolo", "y"), ("coco", "c.json"), ("csv", "t.csv"), ("cvat", "c.xml"), ("voc", "v")],
)
def test_oriented_boxes_are_converted_or_made_upright(call, turned, form, out):
    images, made = list_images(turned / "images"), turned / "made"
    given = ("annotations", "convert", turned / "images", "--annotations")
    done = call(*given, turned / "labelTxt", "--to", form, "--out", made / out)
    assert done.code == 0, done.err
    one = read_annotations(made / out, images)[2]
    np.testing.assert_allclose(one.oriented, TURNED, atol=1e-6)
    done = call(*given, made / out, "--to", "dota", "--out", made / "back")
    assert done.code == 0, done.err
    np.testing.assert_allclose(
        read_annotations(made / "back", images)[2].oriented, TURNED, atol=1e-6
    )
    done = call(*given, made / out, "--to", form, "--out", made / f"upright-{out}", "--upright")
    assert done.code == 0, done.err
    upright = read_annotations(made / f"upright-{out}", images)[2]
    assert upright.oriented is None
    np.testing.assert_allclose(upright.boxes, one.boxes, atol=1e-6)


def test_upright_boxes_become_dota_only_if_asked_to(call, folder):
    given = ("annotations", "convert", folder / "images", "--to", "dota", "--out", folder / "d")
    done = call(*given)
    assert done.code == 1
    assert "--to dota --upright" in done.err
    done = call(*given, "--upright")
    assert done.code == 0
    assert (folder / "d" / "1.txt").read_text() == "1 2 30 2 30 22 1 22 cat 0\n"
    done = call(*given[:-1], folder / "m", "--upright", "--to", "masks")
    assert done.code == 1
    assert "--upright is for formats of boxes" in done.err
