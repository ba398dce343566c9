"""Oriented boxes in files of every format that has them: read, mended, written, converted."""

import dataclasses
import itertools
import json
import logging
import math

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import (
    Annotations,
    AnnotationSet,
    annotation_forms,
    inspected,
    read_annotations,
    write_annotations,
)
from transferkit.annotations._oriented import mended_oriented, oriented_of_quads
from transferkit.annotations._reading import form_of
from transferkit.images import (
    canonical_oriented,
    corners_of_oriented,
    list_images,
    size_of,
    upright_of_oriented,
)

FORMS = [
    form
    for form in annotation_forms()
    if "oriented" in form_of(form).GIVES and hasattr(form_of(form), "write")
]
CLASSES = ("background", "cat", "small-dog & co", "été 1")
ENDINGS = {"coco": "x.json", "csv": "x.csv", "cvat": "x.xml"}
# What a format can't tell.
NO_IGNORED = ("yolo",)


def test_the_suite_covers_all_formats():
    assert FORMS == ["coco", "csv", "cvat", "dota", "voc", "yolo"]


@pytest.fixture
def images(tmp_path):
    """Six images in two folders, of different sizes."""
    for i in range(6):
        place = tmp_path / "images" / ("a" if i % 2 else "b") / f"{i}.some name.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40 + 70 * i, 90 + 50 * i)).save(place)
    return list_images(tmp_path / "images", annotated=True)


def random_boxes(rng, size, n):
    """Boxes whose centres are in the image, and the hard ones among them."""
    height, width = size
    sides = np.sort(rng.uniform(0.5, 60, (n, 2)))[:, ::-1]
    boxes = np.column_stack(
        [rng.uniform(0, width, n), rng.uniform(0, height, n), sides, rng.uniform(-90, 90, n)]
    )
    kind = rng.integers(0, 6, n)
    boxes[kind == 0, 3] = boxes[kind == 0, 2]  # squares
    boxes[kind == 1, 4] = -90
    boxes[kind == 2, 4] = 89.9999
    boxes[kind == 3, 4] = 0
    return boxes


def truth(images, seed=0, *, has_scores=False, has_ignored=False):
    rng = np.random.default_rng(seed)
    scenes = []
    for i, item in enumerate(images.items):
        n = 12 * i
        size = size_of(item)
        oriented = random_boxes(rng, size, n)
        ignored = rng.integers(0, 2, n).astype(bool) if has_ignored and n else None
        scenes.append(
            Annotations(
                size,
                boxes=upright_of_oriented(oriented).clip(0, [*size[::-1]] * 2),
                oriented=oriented,
                labels=rng.integers(1, len(CLASSES), n),
                scores=rng.uniform(size=n) if has_scores and n else None,
                ignored=ignored,
            )
        )
    return AnnotationSet(CLASSES, scenes)


def place_of(tmp_path, form):
    place = tmp_path / form / ENDINGS.get(form, "x")
    place.parent.mkdir(parents=True)
    return place


def assert_same(one, other, classes):
    for a, b in zip(one, other, strict=True):
        assert a.size == b.size
        assert [CLASSES[n] for n in a.labels] == [classes[n] for n in b.labels]
        assert b.oriented.shape == a.oriented.shape
        np.testing.assert_allclose(b.boxes, a.boxes, atol=1e-6)
        np.testing.assert_allclose(b.oriented[:, :4], a.oriented[:, :4], atol=1e-6)
        # A square's angle comes again after 90 degrees, any other after 180.
        turn = np.where(np.abs(a.oriented[:, 2] - a.oriented[:, 3]) < 1e-6, 90, 180)
        off = (b.oriented[:, 4] - a.oriented[:, 4] + turn / 2) % turn - turn / 2
        np.testing.assert_allclose(off, 0, atol=1e-6)
        if a.scores is not None:
            np.testing.assert_allclose(b.scores, a.scores, atol=1e-12)
        assert (a.ignored is None) == (b.ignored is None)
        if a.ignored is not None:
            assert a.ignored.tolist() == b.ignored.tolist()


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(FORMS, 2)))
def test_from_one_format_into_another_and_nothing_is_lost(tmp_path, images, first, second):
    is_told = not {first, second} & set(NO_IGNORED)
    found = true = truth(images, has_scores=True, has_ignored=is_told)
    for i, form in enumerate((first, second, first)):
        place = place_of(tmp_path / str(i), form)
        write_annotations(place, images.names, found, found.classes, form=form)
        found = read_annotations(place, images, needs="oriented")
        assert inspected(found, images, needs="oriented") == ([], [])
        assert_same(true, found, found.classes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_boxes_are_in_the_one_convention(tmp_path, images, form, seed):
    place = place_of(tmp_path, form)
    write_annotations(place, images.names, truth(images, seed), CLASSES, form=form)
    for one in read_annotations(place, images):
        _, _, length, width, angle = one.oriented.T
        assert (length >= width).all()
        assert ((angle >= -90) & (angle < 90)).all()
        height, right = one.size
        assert (one.boxes >= 0).all()
        assert (one.boxes <= [right, height, right, height]).all()


@pytest.mark.parametrize("form", FORMS)
def test_a_set_of_upright_angles_stays_oriented_and_images_without_objects_too(
    tmp_path, images, form
):
    scenes = [
        Annotations(one.size, oriented=np.array([[20.0, 30, 15, 5, 0]] * n), labels=np.ones(n, int))
        if n
        else Annotations(one.size, oriented=np.zeros((0, 5)), labels=np.zeros(0, int))
        for n, one in enumerate(truth(images))
    ]
    place = place_of(tmp_path, form)
    write_annotations(place, images.names[::-1], scenes[::-1], CLASSES, form=form)
    found = read_annotations(place, images)
    assert [one.oriented.shape for one in found] == [(n, 5) for n in range(6)]
    for one in found:
        np.testing.assert_allclose(
            one.boxes, [[12.5, 27.5, 27.5, 32.5]] * len(one.boxes) or one.boxes
        )


@pytest.mark.parametrize("form", FORMS)
def test_upright_boxes_stay_upright(tmp_path, images, form):
    scenes = [dataclasses.replace(one, oriented=None) for one in truth(images)]
    place = place_of(tmp_path, form)
    write_annotations(place, images.names, scenes, CLASSES, form=form)
    found = read_annotations(place, images)
    for one, other in zip(scenes, found, strict=True):
        np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-9)
    faults, remarks = inspected(found, images, needs="oriented")
    assert remarks == []
    if form == "dota":  # whose boxes are oriented always
        assert faults == []
    else:
        assert {fault.index for fault in faults} >= set(range(1, 6))
        assert "upright" in faults[-1].reason
        assert "--to dota --upright" in faults[-1].reason


@pytest.mark.parametrize("form", FORMS)
def test_every_format_tells_what_it_left_out(tmp_path, images, form):
    boxes = np.array(
        [[20.0, 20, 9, 5, 30], [-30, -30, 50, 4, 45], [9, 9, 5, 0, 10], [0, 9, 9, 4, 9]]
    )
    scenes = [
        Annotations(one.size, oriented=boxes, labels=np.array([1, 2, 3, 1]))
        for one in truth(images)
    ]
    place = place_of(tmp_path, form)
    write_annotations(place, images.names, scenes, CLASSES, form=form)
    found = read_annotations(place, images)
    faults, remarks = inspected(found, images, needs="oriented")
    assert faults == []
    first = [remark.reason for remark in remarks if remark.index == 0]
    assert len(first) == 2
    assert "is outside of the image of 110 × 140 px; left out" in first[0]
    assert "has no area; left out" in first[1]
    # A box that leaves the image isn't cut, but the upright one around it is.
    np.testing.assert_allclose(found[0].oriented, boxes[[0, 3]], atol=1e-6)
    assert found[0].boxes[1, 0] == 0


# ---- as other programs write them -------------------------------------------------------


def corners_by_hand(x, y, width, height, degrees):
    """Corners of a box that is turned clockwise on the screen, where y runs downwards."""
    turn = math.radians(degrees)
    cos, sin = math.cos(turn), math.sin(turn)
    ends = [(-width, -height), (width, -height), (width, height), (-width, height)]
    return np.array([(x + (w * cos - h * sin) / 2, y + (w * sin + h * cos) / 2) for w, h in ends])


def written_by_hand(form, box):
    """One object as programs write it: a box that is turned clockwise by some degrees."""
    x, y, width, height, degrees = box
    corners = corners_by_hand(*box)
    if form == "dota":
        flat = " ".join(f"{value:.6f}" for value in corners.ravel())
        return f"imagesource:GoogleEarth\ngsd:0.1\n{flat} small-cat 1\n"
    if form == "yolo":
        return "0 " + " ".join(f"{value:.9f}" for value in (corners / (40, 90)).ravel())
    if form == "voc":
        return (
            "<annotation><size><width>40</width><height>90</height></size><object>"
            "<type>robndbox</type><name>small-cat</name><difficult>0</difficult><robndbox>"
            f"<cx>{x}</cx><cy>{y}</cy><w>{width}</w><h>{height}</h>"
            f"<angle>{math.radians(degrees):.9f}</angle></robndbox></object></annotation>"
        )
    if form == "coco":
        flat = corners.ravel().tolist()
        one = {"id": 1, "image_id": 1, "category_id": 3, "segmentation": [flat], "iscrowd": 0}
        image = {"id": 1, "file_name": "0.some name.png", "width": 40, "height": 90}
        return json.dumps(
            {"images": [image], "annotations": [one], "categories": [{"id": 3, "name": "cat"}]}
        )
    if form == "cvat":
        return (
            "<annotations><version>1.1</version><meta><task><labels><label><name>dog</name></label>"
            "<label><name>small-cat</name></label></labels></task></meta>"
            f'<image id="0" name="b/0.some name.png" width="40" height="90"><box label="small-cat" '
            f'xtl="{x - width / 2}" ytl="{y - height / 2}" xbr="{x + width / 2}" '
            f'ybr="{y + height / 2}" rotation="{degrees:.6f}" z_order="0"/></image></annotations>'
        )
    return (
        f"path,x,y,length,width,angle,label\n0.some name.png,{x},{y},{width},{height},{-degrees},a"
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("degrees", [0, 10, 45, 89, 90, 135, 179])
@pytest.mark.parametrize("sides", [(20, 8), (8, 20)])
def test_conventions_of_angles(tmp_path, images, form, degrees, sides):
    box = (20, 45, *sides, degrees)
    place = (
        tmp_path / "in" / {"voc": "0.some name.xml"}.get(form, ENDINGS.get(form, "0.some name.txt"))
    )
    place.parent.mkdir()
    place.write_text(written_by_hand(form, box))
    given = place if form in ENDINGS else place.parent
    one = read_annotations(given, images.select([list(images.names).index("b/0.some name.png")]))[0]
    assert one.remarks == ()
    expected = corners_by_hand(*box)
    (found,) = corners_of_oriented(one.oriented)
    apart = np.linalg.norm(found[:, None] - expected[None], axis=2)
    assert apart.min(0).max() < 1e-4
    assert (one.ignored is not None) == (form == "dota")


def test_a_file_of_rolabelimg_may_hold_both_kinds(tmp_path, images):
    upright = (
        "<object><type>bndbox</type><name>dog</name><bndbox><xmin>3</xmin><ymin>5</ymin>"
        "<xmax>9</xmax><ymax>25</ymax></bndbox></object>"
    )
    turned = written_by_hand("voc", (20, 45, 20, 8, 30))
    (tmp_path / "x").mkdir()
    (tmp_path / "x/0.some name.xml").write_text(
        turned.replace("</annotation>", f"{upright}</annotation>")
    )
    (tmp_path / "x/1.some name.xml").write_text(f"<annotation>{upright}</annotation>")
    (tmp_path / "x/2.some name.xml").write_text("<annotation/>")
    found = read_annotations(tmp_path / "x", images)
    one = found[list(images.names).index("b/0.some name.png")]
    np.testing.assert_allclose(one.oriented, [[20, 45, 20, 8, -30], [6, 15, 20, 6, -90]], atol=1e-6)
    assert one.boxes[1].tolist() == pytest.approx([3, 5, 9, 25])
    for name, n in (("a/1.some name.png", 1), ("b/2.some name.png", 0)):
        assert found[list(images.names).index(name)].oriented.shape == (n, 5)


@pytest.mark.parametrize(
    ("line", "label", "is_ignored", "score"),
    [
        ("plane 0", "plane", False, None),
        ("plane", "plane", False, None),
        ("small-vehicle 1", "small-vehicle", True, None),
        ("tennis court 2", "tennis court", True, None),
        ("class 1 0", "class 1", False, None),
        ("class 1 1 0.25", "class 1", True, 0.25),
        ("row 0 of x", "row 0 of x", False, None),
        ("DontCare 0", "DontCare", False, None),
        ("7 0", "7", False, None),
    ],
)
def test_lines_of_dota(tmp_path, images, line, label, is_ignored, score):
    (tmp_path / "x").mkdir()
    text = f"\ufeffgsd:null\r\n\r\n1 2 9.5 2 9.5 4 1 4 {line}\r\n"
    (tmp_path / "x/0.some name.txt").write_text(text, newline="", encoding="utf-8")
    found = read_annotations(tmp_path / "x", images)
    one = found[list(images.names).index("b/0.some name.png")]
    assert one.oriented.tolist() == [[5.25, 3, 8.5, 2, 0]]
    assert [found.classes[n] for n in one.labels] == [label]
    assert (one.ignored is not None) == is_ignored
    assert one.scores == score
    assert found.is_annotated.sum() == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 2 3 4 5 6 7 8\n", "line 1 has 8 words"),
        (
            "imagesource:x\ngsd:0\n1 2 3 4 5 6 7 8 a 0\n1 2 3 4 5 6 7 b c 0\n",
            "line 4: 'b' is no number",
        ),
        ("1 2 3 4 5 6 7 nan a 0\n", "'nan' is no number"),
        ("1 2 3 4 5 6 7 1e300 a 0\n", "isn't in px"),
    ],
)
def test_bad_lines_of_dota_are_named(tmp_path, images, text, words):
    write_annotations(tmp_path / "x", images.names, truth(images), CLASSES, form="dota")
    (tmp_path / "x/b/0.some name.txt").write_text(text)
    found = read_annotations(tmp_path / "x", images, classes=[*CLASSES, "a", "c"])
    faults, _ = inspected(found, images, needs="oriented")
    assert [images.names[fault.index] for fault in faults] == ["b/0.some name.png"]
    assert words in faults[0].reason


def test_names_that_dota_files_cannot_tell_are_refused(tmp_path, images):
    with pytest.raises(ValueError, match="single blanks"):
        write_annotations(
            tmp_path / "x",
            images.names,
            truth(images),
            ("background", "a", "b", "c  d"),
            form="dota",
        )


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_quadrilaterals_that_are_no_rectangles(is_shuffled):
    """Against the smallest of all upright boxes, when the points are turned step by step."""
    rng = np.random.default_rng(0)
    corners = corners_of_oriented(random_boxes(rng, (200, 200), 40)) + rng.normal(0, 3, (40, 4, 2))
    if is_shuffled:
        corners = corners[:, rng.permutation(4)]
    boxes, remarks = oriented_of_quads(corners, [f"<{i}>" for i in range(40)])
    areas = []
    for turn in np.deg2rad(np.arange(0, 90, 0.05)):
        at = corners @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        areas.append(np.prod(at.max(1) - at.min(1), axis=1))
    smallest = np.min(areas, axis=0)
    assert (boxes[:, 2] * boxes[:, 3] <= smallest + 1e-9).all()
    np.testing.assert_allclose(boxes[:, 2] * boxes[:, 3], smallest, rtol=0.05)
    # All corners are inside.
    for box, quad in zip(boxes, corners, strict=True):
        turn = math.radians(box[4])
        dx, dy = (quad - box[:2]).T
        assert np.abs(dx * math.cos(turn) - dy * math.sin(turn)).max() <= box[2] / 2 + 1e-6
        assert np.abs(dx * math.sin(turn) + dy * math.cos(turn)).max() <= box[3] / 2 + 1e-6
    (remark,) = remarks
    assert "no rectangle, by" in remark
    assert "more objects" in remark


def test_boxes_are_left_out_as_sampling_says():
    """A box is in the image if any of many points of it is."""
    rng = np.random.default_rng(0)
    n, size = 400, (50, 80)
    boxes = np.column_stack([rng.uniform(-40, 120, n), rng.uniform(-40, 90, n),
                             rng.uniform(1, 60, (n, 2)), rng.uniform(-400, 400, n)])  # fmt: skip
    mended = mended_oriented(boxes, size, [f"<{i}>" for i in range(n)])
    assert 50 < mended.kept.sum() < n - 50
    np.testing.assert_allclose(mended.oriented, canonical_oriented(boxes))
    share = np.linspace(0, 1, 60)
    u, v = (axis.ravel() for axis in np.meshgrid(share, share))
    corners = corners_of_oriented(boxes)
    for quad, is_kept in zip(corners, mended.kept, strict=True):
        points = quad[0] + u[:, None] * (quad[1] - quad[0]) + v[:, None] * (quad[3] - quad[0])
        inside = ((points > 0) & (points < (80, 50))).all(1)
        if inside.any():
            assert is_kept
        elif is_kept:  # just a corner of it, between the points
            near = ((points > -1.5) & (points < (81.5, 51.5))).all(1)
            assert near.any()
    assert sum("outside" in remark for remark in mended.remarks) == (~mended.kept).sum()


# ---- YOLO: boxes, oriented boxes and masks ----------------------------------------------


def test_polygons_of_yolo_are_masks(tmp_path, images):
    square, five = "0 .2 .2 .6 .2 .6 .6 .2 .6", "1 .1 .1 .5 .1 .9 .5 .5 .9 .1 .5"
    (tmp_path / "x").mkdir()
    lines = {
        0: [square, five],
        1: [square],
        2: ["0 .5 .5 .2 .2"],
        3: [five, "0 .5 .5 .2 .2"],
        4: [],
    }
    for i, each in lines.items():
        (tmp_path / f"x/{i}.some name.txt").write_text("\n".join(each))
    found = read_annotations(tmp_path / "x", images, needs="masks")
    by_number = {int(name[2]): one for name, one in zip(images.names, found, strict=True)}
    assert [by_number[i].masks is None for i in range(6)] == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]
    assert all(one.oriented is None for one in found)
    assert [len(by_number[i].boxes) for i in range(6)] == [2, 1, 1, 2, 0, 0]
    one = by_number[0]
    height, width = one.size
    # Pixels whose centres are in the square.
    y, x = np.mgrid[:height, :width] + 0.5
    inside = (x > 0.2 * width) & (x < 0.6 * width) & (y > 0.2 * height) & (y < 0.6 * height)
    np.testing.assert_array_equal(one.masks[0], inside)


def masks_of(rng, size, n):
    """Masks with holes and of several parts, and one that is a rectangle."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((n, height, width), bool)
    for i in range(n):
        for is_hole in (False, False, True):
            centre, radius = rng.uniform(0, 1, 2) * size, rng.uniform(2, 30)
            inside = np.hypot(y - centre[0], x - centre[1]) < radius * (0.6 if is_hole else 1)
            masks[i] = masks[i] & ~inside if is_hole else masks[i] | inside
        masks[i] ^= rng.uniform(size=size) < 0.005
    masks[0, 3:9, 5:20] = True
    return masks


def test_masks_in_yolo_there_and_back(tmp_path, images):
    rng = np.random.default_rng(0)
    scenes = [
        Annotations(one.size, masks=masks_of(rng, one.size, 3), labels=np.array([1, 2, 3]))
        for one in truth(images)
    ]
    write_annotations(tmp_path / "x", images.names, scenes, CLASSES, form="yolo")
    found = read_annotations(tmp_path / "x", images, needs="masks")
    for one, other in zip(scenes, found, strict=True):
        np.testing.assert_array_equal(np.asarray(one.masks), np.asarray(other.masks))
        np.testing.assert_allclose(one.masks.boxes, other.boxes, atol=1e-9)


def test_scores_stand_behind_polygons_too(tmp_path, images):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/0.some name.txt").write_text("0 .2 .2 .6 .2 .6 .6 .2 .6 .75\n")
    found = read_annotations(tmp_path / "x", images)
    one = found[list(images.names).index("b/0.some name.png")]
    assert one.scores.tolist() == [0.75]
    np.testing.assert_allclose(one.oriented, [[16, 36, 36, 16, -90]])
    assert one.masks.areas.tolist() == [16 * 36]


def test_oriented_boxes_without_pixels_are_no_masks(tmp_path, images):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/0.some name.txt").write_text("0 .2 .2 .201 .2 .201 .201 .2 .201\n")
    one = read_annotations(tmp_path / "x", images)[list(images.names).index("b/0.some name.png")]
    assert one.oriented.shape == (1, 5)
    assert one.masks is None


def test_masks_of_a_file_that_take_too_much_memory_are_refused(tmp_path, images, monkeypatch):
    monkeypatch.setattr("transferkit.annotations._objects.MAX_REGION_PIXELS", 1000)
    (tmp_path / "x").mkdir()
    (tmp_path / "x/0.some name.txt").write_text("0 0 0 1 0 1 1 0 1 .5 .5\n" * 3)
    (fault,) = inspected(read_annotations(tmp_path / "x", images))[0]
    assert "masks take more than" in fault.reason


# ---- tables -----------------------------------------------------------------------------


def test_tables_of_oriented_boxes(tmp_path, images):
    name, other = images.names[:2]
    (tmp_path / "x.csv").write_text(
        f"label,path,angle,x,y,Width,length,difficult\ncat,{name},-100,20,30,10,5,1\n,{other},,,,,,\n"
    )
    found = read_annotations(tmp_path / "x.csv", images, needs="oriented")
    np.testing.assert_allclose(found[0].oriented, [[20, 30, 10, 5, -10]])
    assert found[0].ignored.tolist() == [True]
    assert found[1].oriented.shape == (0, 5)
    (tmp_path / "y.csv").write_text(f"path,x1,y1,x2,y2,label\n{name},1,2,3,4,cat\n")
    with pytest.raises(ValueError, match="hold oriented boxes and others upright ones"):
        read_annotations([tmp_path / "x.csv", tmp_path / "y.csv"], images)
    (tmp_path / "y.csv").write_text(f"path,x,y,width,angle,label\n{name},1,2,3,4,cat\n")
    with pytest.raises(ValueError, match="has no column length"):
        read_annotations(tmp_path / "y.csv", images)


# ---- CVAT -------------------------------------------------------------------------------


def cvat(shapes, more="", name="b/0.some name.png"):
    return (
        f'<annotations>{more}<image id="0" name="{name}" width="40" height="90">{shapes}</image>'
        "</annotations>"
    )


def cvat_one(tmp_path, images, text):
    (tmp_path / "x.xml").write_text(text, encoding="utf-8")
    found = read_annotations(tmp_path / "x.xml", images)
    return found, list(images.names).index("b/0.some name.png")


def test_shapes_of_cvat(tmp_path, images):
    quad = '<polygon label="été" points="4,4;14,4;14,9;4,9"/>'
    box = '<box label="dog" xtl="1" ytl="2" xbr="11" ybr="22"/>'
    found, at = cvat_one(tmp_path, images, cvat(quad + box))
    np.testing.assert_allclose(found[at].oriented, [[9, 6.5, 10, 5, 0], [6, 12, 20, 10, -90]])
    assert found.classes == ("background", "dog", "été")
    assert found[at].masks is None
    # Polygons with other corners make masks of all, and rotated boxes alone can't be masks.
    found, at = cvat_one(
        tmp_path, images, cvat(quad + '<polygon label="dog" points="1,1;9,1;5,9"/>')
    )
    assert found[at].oriented is None
    assert found[at].masks.areas[0] == 50
    assert found[at].boxes.tolist() == [[4, 4, 14, 9], [1, 1, 9, 9]]
    # Eight px in two rows, of which the last of the first and the first of the second are inside.
    mask = '<mask label="dog" rle="3, 2, 3" left="5" top="7" width="4" height="2"/>'
    found, at = cvat_one(
        tmp_path, images, cvat(mask + '<ellipse label="dog" cx="4"/><tag label="x"/>')
    )
    assert np.argwhere(found[at].masks[0]).tolist() == [[7, 8], [8, 5]]
    assert found[at].oriented is None
    assert "1 of its shapes are left out" in found[at].remarks[0]


def test_classes_of_cvat_are_in_the_order_of_the_file(tmp_path, images):
    meta = "<meta><job><labels>" + "".join(f"<label><name>{n}</name></label>" for n in "zmb")
    text = cvat('<box label="m" xtl="1" ytl="2" xbr="9" ybr="9">'
                '<attribute name="Difficult">true</attribute></box>',
                meta + "</labels></job></meta>")  # fmt: skip
    found, at = cvat_one(tmp_path, images, text)
    assert found.classes == ("background", "z", "m", "b")
    assert found[at].labels.tolist() == [2]
    assert found[at].ignored.tolist() == [True]
    assert found.is_annotated.sum() == 1


def test_masks_of_cvat_there_and_back(tmp_path, images):
    rng = np.random.default_rng(0)
    scenes = [
        Annotations(
            one.size, masks=rng.uniform(size=(3, *one.size)) < 0.3, labels=np.array([1, 2, 3])
        )
        for one in truth(images)
    ]
    write_annotations(tmp_path / "x.xml", images.names, scenes, CLASSES, form="cvat")
    for one, other in zip(scenes, read_annotations(tmp_path / "x.xml", images), strict=True):
        np.testing.assert_array_equal(np.asarray(one.masks), np.asarray(other.masks))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ('<box label="a" xtl="1" ytl="2" xbr="9"/>', "box 1 (a) has no ybr"),
        ('<box label="a" xtl="1" ytl="2" xbr="9" ybr="x"/>', "'x' is no number"),
        ('<polygon label="a" points="1,2;3,4"/>', "has points '1,2;3,4'"),
        ('<polygon label="a" points="1,2;3,4;5"/>', "has points '1,2;3,4;5'"),
        ('<polygon label="a" points="1,2;3,4;1e300,5;1,1"/>', "in px"),
        ('<polygon label="a" points="1,2;3,4;1e300,5"/>', "in px"),
        ('<mask label="a" rle="4" left="39" top="0" width="2" height="2"/>', "isn't one of pixels"),
        (
            '<mask label="a" rle="4" left="0" top="0" width="2e9" height="2e9"/>',
            "isn't one of pixels",
        ),
        (
            '<mask label="a" rle="3" left="0" top="0" width="2" height="2"/>',
            "run lengths make 3 px",
        ),
        ('<mask label="a" rle="x" left="0" top="0" width="2" height="2"/>', "invalid literal"),
    ],
)
def test_bad_shapes_of_cvat_are_named(tmp_path, images, shapes, words):
    found, at = cvat_one(tmp_path, images, cvat(shapes))
    faults, _ = inspected(found.select([at]), images.select([at]))
    assert len(faults) == 1
    assert words in faults[0].reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotations>", "is no XML"),
        ("<annotations><track/></annotations>", "tracks of a video"),
        (f"<annotations>{cvat('')[13:-14]}{cvat('')[13:-14]}</annotations>", "stands twice"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "document type"),
        (cvat("", name="z.png"), "no image is named in x.xml"),
        (
            "<annotations>" + "<image>" * 3000 + "</image>" * 3000 + "</annotations>",
            "elements within elements",
        ),
    ],
)
def test_bad_files_of_cvat_are_refused(tmp_path, images, text, words):
    with pytest.raises(ValueError, match=words):
        cvat_one(tmp_path, images, text)


def test_an_image_of_cvat_that_is_said_to_be_huge_is_refused(tmp_path, images):
    text = cvat('<polygon label="a" points="1,2;3,4;5,9"/>').replace('"40"', '"4000000"')
    found, at = cvat_one(tmp_path, images, text.replace('"90"', '"900000"'))
    with pytest.raises(ValueError, match="is said to have 900000 × 4000000 px"):
        found[at]


# ---- found beside the images ------------------------------------------------------------

PLACES = {"cvat": "annotations.xml", "dota": "labelTxt", "voc": "Annotations", "yolo": "labels"}


@pytest.mark.parametrize("form", PLACES)
def test_oriented_boxes_beside_the_images_are_found(tmp_path, images, form, caplog):
    """Though other formats, which hold upright boxes, are there too."""
    true = truth(images)
    others = [other for other in PLACES if other not in (form, "dota")]
    for other in others:
        upright = [dataclasses.replace(one, oriented=None) for one in true]
        write_annotations(tmp_path / PLACES[other], images.names, upright, CLASSES, form=other)
    faults, _ = inspected(read_annotations(None, images, needs="oriented"), needs="oriented")
    assert "upright" in faults[-1].reason
    write_annotations(tmp_path / PLACES[form], images.names, true, CLASSES, form=form)
    with caplog.at_level(logging.INFO):
        found = read_annotations(None, images, needs="oriented")
    assert f"annotations: {form} in" in caplog.text
    assert inspected(found, images, needs="oriented") == ([], [])
    if form == "dota":
        # Upright boxes are better told by other formats.
        assert read_annotations(None, images, needs="boxes")[1].oriented is None
