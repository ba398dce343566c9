"""Boxes in files of every format: read, mended, written, converted."""

import itertools
import json
import logging

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import (
    Annotations,
    AnnotationSet,
    annotation_faults,
    annotation_remarks,
    inspected,
    read_annotations,
    write_annotations,
)
from transferkit.annotations._boxes import mended_boxes
from transferkit.images import list_images, size_of

FORMS = ("coco", "csv", "cvat", "voc", "yolo")
CLASSES = ("background", "cat", "dog & co", "été")
ENDINGS = {"coco": "x.json", "csv": "x.csv", "cvat": "x.xml"}


@pytest.fixture
def images(tmp_path):
    """Six images in two folders, of different sizes."""
    for i in range(6):
        place = tmp_path / "images" / ("a" if i % 2 else "b") / f"{i}.some name.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40 + 7 * i, 90 - 5 * i)).save(place)
    return list_images(tmp_path / "images", annotated=True)


def scene(rng, size, n, *, has_scores=False, has_ignored=False):
    height, width = size
    corners = rng.uniform(0, 1, (n, 2, 2)) * (width, height)
    boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
    return Annotations(
        size,
        boxes=boxes,
        labels=rng.integers(1, len(CLASSES), n),
        scores=rng.uniform(size=n) if has_scores and n else None,
        ignored=rng.integers(0, 2, n).astype(bool) | (np.arange(n) == 0) if has_ignored else None,
    )


def truth(images, seed=0, **options):
    rng = np.random.default_rng(seed)
    sizes = [size_of(item) for item in images.items]
    scenes = [scene(rng, size, i % 4, **options) for i, size in enumerate(sizes)]
    return AnnotationSet(CLASSES, scenes)


def assert_same(one, other, classes, *, has_ignored=True):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-9)
        assert [CLASSES[n] for n in a.labels] == [classes[n] for n in b.labels]
        assert a.size == b.size
        if a.scores is not None:
            np.testing.assert_allclose(a.scores, b.scores, atol=1e-12)
        if has_ignored and a.ignored is not None and a.ignored.any():
            assert a.ignored.tolist() == b.ignored.tolist()


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(FORMS, 2)))
def test_from_one_format_into_another_and_nothing_is_lost(tmp_path, images, first, second):
    true = truth(images, has_scores=True)
    found = true
    for i, form in enumerate((first, second, first)):
        place = tmp_path / str(i) / ENDINGS.get(form, "x")
        place.parent.mkdir()
        write_annotations(place, images.names, found, found.classes, form=form)
        found = read_annotations(place, images)
        assert annotation_faults(found, images, needs="boxes") == []
        assert annotation_remarks(found) == []
        assert_same(true, found, found.classes)


@pytest.mark.parametrize("form", [form for form in FORMS if form != "yolo"])
def test_what_is_ignored_stays_so(tmp_path, images, form):
    true = truth(images, has_ignored=True)
    place = tmp_path / ENDINGS.get(form, "x")
    write_annotations(place, images.names, true, CLASSES, form=form)
    assert_same(true, read_annotations(place, images), CLASSES)


def test_yolo_says_that_it_leaves_ignored_objects_out(tmp_path, images, caplog):
    true = truth(images, has_ignored=True)
    with caplog.at_level(logging.WARNING):
        write_annotations(tmp_path / "x", images.names, true, CLASSES, form="yolo")
    n_ignored = sum(int(one.ignored.sum()) for one in true)
    assert f"{n_ignored} ignored objects" in caplog.text
    found = read_annotations(tmp_path / "x", images)
    assert [len(one.boxes) for one in found] == [int((~one.ignored).sum()) for one in true]


def test_files_of_other_programs_are_read_as_torchvision_reads_them(tmp_path):
    from torchvision.datasets import CocoDetection

    (tmp_path / "images").mkdir()
    names = [f"{i}.jpg" for i in range(4)]
    for name in names:
        Image.new("RGB", (60, 50)).save(tmp_path / "images" / name)
    rng = np.random.default_rng(0)
    objects = [
        {"id": i, "image_id": i % 3, "category_id": int(rng.integers(0, 2)) * 5, "iscrowd": 0,
         "bbox": [*rng.uniform(0, 20, 2).tolist(), *rng.uniform(1, 20, 2).tolist()], "area": 1}
        for i in range(9)
    ]  # fmt: skip
    content = {
        "images": [{"id": i, "file_name": n, "width": 60, "height": 50}
                   for i, n in enumerate(names)],
        "annotations": objects,
        "categories": [{"id": 0, "name": "zero"}, {"id": 5, "name": "five"}],
    }  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps(content))
    images = list_images(tmp_path / "images")
    found = read_annotations(tmp_path / "x.json", images)
    for one, (_, theirs) in zip(
        found, CocoDetection(tmp_path / "images", tmp_path / "x.json"), strict=True
    ):
        expected = [[x, y, x + w, y + h] for x, y, w, h in (each["bbox"] for each in theirs)]
        np.testing.assert_allclose(one.boxes, np.array(expected).reshape(-1, 4))
        labels = [{0: "zero", 5: "five"}[each["category_id"]] for each in theirs]
        assert [found.classes[n] for n in one.labels] == labels


def test_xml_is_read_as_torchvision_reads_it(tmp_path, images):
    from xml.etree.ElementTree import parse

    from torchvision.datasets import VOCDetection

    write_annotations(tmp_path / "x", images.names, truth(images), CLASSES, form="voc")
    for name, one in zip(images.names, read_annotations(tmp_path / "x", images), strict=True):
        root = parse(tmp_path / "x" / name.replace(".png", ".xml")).getroot()
        theirs = VOCDetection.parse_voc_xml(root)["annotation"]
        edges = [
            [float(each["bndbox"][edge]) for edge in ("xmin", "ymin", "xmax", "ymax")]
            for each in theirs.get("object", [])
        ]
        np.testing.assert_allclose(one.boxes, np.array(edges).reshape(-1, 4))


# ---- what is wrong with boxes ------------------------------------------------------------


def test_boxes_are_mended_as_a_plain_loop_does_it():
    rng = np.random.default_rng(0)
    boxes = np.round(rng.uniform(-30, 130, (500, 4)))
    mended, kept, remarks = mended_boxes(boxes, (80, 100), [f"<{i}>" for i in range(500)])
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        low_x, high_x, low_y, high_y = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
        edges = [min(max(low_x, 0), 100), min(max(low_y, 0), 80),
                 min(max(high_x, 0), 100), min(max(high_y, 0), 80)]  # fmt: skip
        assert kept[i] == (edges[0] < edges[2] and edges[1] < edges[3])
        assert mended[i].tolist() == edges
        said = [remark for remark in remarks if remark.startswith(f"<{i}>:")]
        is_swapped = (x1 > x2 or y1 > y2) and low_x < high_x and low_y < high_y
        leaves = max(-low_x, -low_y, high_x - 100, high_y - 80) > 1
        assert any("swapped" in remark for remark in said) == is_swapped
        assert any("left out" in remark for remark in said) == (not kept[i])
        assert any("cut off" in remark for remark in said) == (bool(kept[i]) and leaves)


@pytest.mark.parametrize("form", FORMS)
def test_every_format_tells_what_it_mended(tmp_path, images, form):
    boxes = np.array([[30.0, 10, 5, 20], [30, 30, 60, 50], [3, 3, 3, 9], [1, 1, 9, 9]])
    scenes = [
        Annotations(one.size, boxes=boxes, labels=np.array([1, 2, 3, 1])) for one in truth(images)
    ]
    place = tmp_path / ENDINGS.get(form, "x")
    write_annotations(place, images.names, scenes, CLASSES, form=form)
    found = read_annotations(place, images)
    faults, remarks = inspected(found, images)
    assert faults == []
    first = [failure.reason for failure in remarks if failure.index == 0]
    # A width below 0 is all that a YOLO line can tell of swapped corners.
    assert [word for word in ("put in order", "cut off", "left out")
            if any(word in reason for reason in first)] == [
        "put in order", "cut off", "left out"]  # fmt: skip
    assert found[0].boxes.tolist()[0] == pytest.approx([5, 10, 30, 20])
    assert len(found[0].boxes) == 3


BAD_XML = (
    "<annotation><size><width>9</width></size><object><name>cat</name>{}</object></annotation>"
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no XML"),
        (b"<annotation>", "no XML"),
        (b"<robot/>", "is no VOC file"),
        (b"\xff\xfe\x00", "no XML"),
        (BAD_XML.format("").encode(), "has no xmin"),
        (BAD_XML.format("<bndbox><xmin>nan</xmin></bndbox>").encode(), "'nan' is no number"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "document type"),
        (b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "document"),
        (b"<annotation>" * 3000 + b"</annotation>" * 3000, "elements within elements"),
        (b" " * (2**24 + 1), "larger than"),
    ],
)
def test_bad_xml_is_named(tmp_path, images, content, words):
    write_annotations(tmp_path / "x", images.names, truth(images), CLASSES, form="voc")
    (tmp_path / "x" / images.names[3].replace(".png", ".xml")).write_bytes(content)
    faults = annotation_faults(read_annotations(tmp_path / "x", images), images)
    assert [fault.index for fault in faults] == [3]
    assert words in faults[0].reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"0 0.5 0.5 0.1", "3 numbers behind the class"),
        (b"0 0.5 0.5 x 0.1", "'x' is no number"),
        (b"0.5 0.5 0.5 0.1 0.1", "begins with no class"),
        (b"7 0.5 0.5 0.1 0.1", "has class 7, and there are 3"),
        (b"\xff\xff", "is no text"),
        (b"0 inf 0.5 0.1 0.1", "is no number"),
        (b"\xef\xbb\xbf0 0.5 0.5 0.5 0.5\r\n\r\n1 .5,.5,.25,.25\r\n", None),
        (b"", None),
    ],
)
def test_bad_lines_of_yolo_are_named(tmp_path, images, content, words):
    write_annotations(tmp_path / "x", images.names, truth(images), CLASSES, form="yolo")
    (tmp_path / "x" / images.names[3].replace(".png", ".txt")).write_bytes(content)
    faults = annotation_faults(read_annotations(tmp_path / "x", images), images)
    assert [fault.index for fault in faults] == ([] if words is None else [3])
    if words is not None:
        assert words in faults[0].reason


def test_a_yolo_image_without_a_file_has_no_objects_and_polygons_are_boxes(tmp_path, images):
    (tmp_path / "x").mkdir()
    (tmp_path / "data.yaml").write_text("path: .\nnames: [cat, dog]\n")
    first = tmp_path / "x" / images.names[0].replace(".png", ".txt")
    first.parent.mkdir()
    first.write_text("1 0.5 0.25 0.75 0.5 0.5 0.75\n")
    found = read_annotations(tmp_path / "x", images)
    assert found.classes == ("background", "cat", "dog")
    height, width = found[0].size
    np.testing.assert_allclose(
        found[0].boxes, [[0.5 * width, 0.25 * height, 0.75 * width, 0.75 * height]]
    )
    assert all(len(one.boxes) == 0 for one in list(found)[1:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: 3", "names no classes"),
        ("names: {1: cat}", "names no classes"),
        ("names: [[a]]", "names no classes"),
        ("a: &a [*a]\nnames: *a", "names no classes"),
        ("names: [!!python/object/apply:os.system ['true']]", "is no YAML"),
        ("names: [a\n", "is no YAML"),
    ],
)
def test_bad_names_of_yolo_are_refused(tmp_path, images, text, words):
    write_annotations(tmp_path / "x", images.names, truth(images), CLASSES, form="yolo")
    (tmp_path / "x" / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_annotations(tmp_path / "x", images)


@pytest.mark.parametrize(
    "table",
    [
        "filename,xmin,ymin,xmax,ymax,class\n{0},1,2,11,12,cat\n{1},,,,,\n",
        "\ufefflabel;no\n".replace(";", ",") and "{0},1,2,11,12,cat\r\n{1},,,,,\r\n",
        "path,x1,y1,x2,y2,label\n./{0},1,2,11,12,cat\n{1},,,,,\n",
        "width,image,left,top,right,bottom,name\n9,{0},1,2,11,12,cat\n9,{1},,,,,\n",
    ],
)
def test_tables_of_other_programs(tmp_path, images, table):
    (tmp_path / "x.csv").write_text(table.format(*images.names), newline="")
    found = read_annotations(tmp_path / "x.csv", images)
    assert found.classes == ("background", "cat")
    assert found[0].boxes.tolist() == [[1, 2, 11, 12]]
    assert len(found[1].boxes) == 0
    assert found.is_annotated.tolist() == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("path,x1,y1,x2,label\na,1,2,3,4\n", "has no column y2"),
        ("a,b\n", "has no column"),
        ("path,x1,y1,x2,y2,label\nnone.png,1,2,3,4,cat\n", "no image is named"),
    ],
)
def test_bad_tables_are_refused(tmp_path, images, table, words):
    (tmp_path / "x.csv").write_text(table)
    with pytest.raises(ValueError, match=words):
        read_annotations(tmp_path / "x.csv", images)


def test_a_bad_cell_is_named_by_image(tmp_path, images):
    text = f"path,x1,y1,x2,y2,label\n{images.names[0]},1,2,x,4,cat\n"
    (tmp_path / "x.csv").write_text(text)
    found = read_annotations(tmp_path / "x.csv", images)
    (fault, *_) = annotation_faults(found, images)
    assert "x.csv: line 2: 'x' is no number" in fault.reason


# ---- found beside the images ----------------------------------------------------------------


@pytest.mark.parametrize(("form", "folder"), [("voc", "Annotations"), ("yolo", "labels")])
def test_boxes_beside_the_images_are_found_and_masks_for_who_needs_them(
    tmp_path, images, form, folder
):
    write_annotations(tmp_path / folder, images.names, truth(images), CLASSES, form=form)
    for name, item in zip(images.names, images.items, strict=True):
        place = tmp_path / "masks" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size_of(item)[::-1], 1).save(place)
    assert read_annotations(None, images, needs="boxes")[1].boxes is not None
    assert read_annotations(None, images, needs="map")[1].map.max() == 1
    assert len(list_images(tmp_path / "images")) == 6


def test_who_lacks_what_is_needed_is_named(images):
    found = read_annotations([np.zeros((5, 5), int)] * 6, images)
    faults = annotation_faults(found, needs="boxes")
    assert len(faults) == 6
    assert "has no boxes" in faults[0].reason
    faults = annotation_faults(truth(images), images, needs="map")
    assert "no class per pixel" in faults[0].reason


def test_files_are_never_written_outside_of_the_folder(tmp_path, images):
    one = truth(images)[0]
    for form in ("voc", "yolo"):
        write_annotations(tmp_path / "in" / form, ["../../up.png"], [one], CLASSES, form=form)
    assert not list(tmp_path.glob("up.*"))
    assert len(list((tmp_path / "in").rglob("up.*"))) == 2
