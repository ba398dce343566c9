"""COCO files as people have them."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from tests.annotations.masks import SIZE, classes_of, write_images
from transferkit.annotations import (
    VOID,
    Annotations,
    _coco_objects,
    _json,
    annotation_faults,
    coco,
    read_annotations,
    write_annotations,
)
from transferkit.images import list_images

SQUARE = [2, 1, 6, 1, 6, 4, 2, 4]
TWO = [[2, 1], [6, 1]]


def dataset(annotations, names=("a.jpg", "b.jpg"), categories=None, first=0, **image):
    """A file's content: images of 12 × 17 px, ids from 0 on."""
    sized = {"height": SIZE[0], "width": SIZE[1], **image}
    return {
        "info": {"year": 2014},
        "images": [{"id": first + i, "file_name": name, **sized} for i, name in enumerate(names)],
        "annotations": [{"id": i, "iscrowd": 0, **one} for i, one in enumerate(annotations)],
        "categories": categories
        or [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat", "supercategory": "animal"}],
    }


def one(segmentation=None, image=0, category=3, **more):
    return {"image_id": image, "category_id": category, "segmentation": segmentation, **more}


def read(tmp_path, content, names=("a.jpg", "b.jpg"), **options):
    write_images(tmp_path / "images", names)
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "instances.json").write_text(text)
    images = list_images(tmp_path / "images")
    return read_annotations(tmp_path / "instances.json", images, form="coco", **options)


def square(value=1, size=SIZE):
    canvas = np.zeros(size, int)
    canvas[1:4, 2:6] = value
    return canvas


def test_objects_boxes_and_the_map_of_classes(tmp_path):
    other = [0, 0, 9, 0, 9, 9, 0, 9]
    found = read(tmp_path, dataset([one([SQUARE], category=7), one([other], area=0)]))
    assert found.classes == ("background", "cat", "dog")
    assert found.is_annotated.all()
    # The smaller one is on top, although it comes first.
    truth = np.zeros(SIZE, int)
    truth[:9, :9] = 1
    truth[1:4, 2:6] = 2
    np.testing.assert_array_equal(found[0].map, truth)
    np.testing.assert_array_equal(found[0].masks[0], square() == 1)
    np.testing.assert_array_equal(found[0].masks[1], truth > 0)
    assert found[0].labels.tolist() == [2, 1]
    assert found[0].boxes.tolist() == [[2, 1, 6, 4], [0, 0, 9, 9]]
    assert found[0].scores is None
    # Nothing is in the other image: it is background, and known to be so.
    assert found[1].map.max() == 0
    assert (found[1].boxes.shape, found[1].labels.dtype) == ((0, 4), np.int64)


@pytest.mark.parametrize("how", ["polygon", "plain runs", "packed runs", "texts", "flat", "file"])
def test_spellings_of_the_same_object(tmp_path, how):
    runs = [25, 3, 9, 3, 9, 3, 9, 3, 140]
    size = list(SIZE)
    segmentation = {
        "plain runs": {"size": size, "counts": runs},
        "packed runs": {"size": size, "counts": "i03901N3NPl4"},
        "texts": [[str(n) for n in SQUARE]],
        "flat": SQUARE,
    }.get(how, [SQUARE])
    content = dataset([one(segmentation, bbox=[2, 1, 4, 3])])
    if how == "packed runs":
        from transferkit.annotations._rle import pack_runs

        segmentation["counts"] = pack_runs(np.array(runs))
    if how == "texts":
        content["annotations"][0] |= {"image_id": "0", "category_id": "3", "bbox": list("2143")}
        for image in content["images"]:
            image |= {"height": "12", "width": "17.0"}
    if how == "file":
        for image in content["images"]:
            image["filename"] = f"some\\where\\{image.pop('file_name')}"
            del image["height"]
    found = read(tmp_path, content)
    np.testing.assert_array_equal(found[0].map, square())
    assert found[0].boxes.tolist() == [[2, 1, 6, 4]]
    assert annotation_faults(found, list_images(tmp_path / "images")) == []


def test_boxes_alone_make_no_map(tmp_path):
    found = read(tmp_path, dataset([one(bbox=[2, 1, 4, 3], score=0.5)]))
    assert found[0].map is None
    assert found[0].masks is None
    assert (found[0].boxes.tolist(), found[0].scores.tolist()) == ([[2, 1, 6, 4]], [0.5])


def test_crowds_are_pixels_and_objects_that_are_ignored(tmp_path):
    found = read(tmp_path, dataset([one([SQUARE], iscrowd=1), one([SQUARE])]))
    np.testing.assert_array_equal(found[0].map, square())
    assert found[0].labels.tolist() == [1, 1]
    assert found[0].ignored.tolist() == [True, False]
    assert read(tmp_path, dataset([one([SQUARE])]))[0].ignored is None


def test_several_files_with_ids_of_their_own(tmp_path):
    write_images(tmp_path / "images", ["train/a.jpg", "val/a.jpg"])
    other = [{"id": 3, "name": "horse"}, {"id": 4, "name": "dog"}]
    for split, categories in (("train", None), ("val", other)):
        content = dataset([one([SQUARE])], [f"{split}/a.jpg"], categories)
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(content))
    images = list_images(tmp_path / "images")
    found = read_annotations(None, images)  # found beside the images
    assert found.classes == ("background", "cat", "dog", "horse")
    assert [each.map.max() for each in found] == [1, 3]
    assert found.splits == ("train", "val")
    assert found.select([1]).splits == ("val",)
    assert read_annotations(sorted(tmp_path.glob("*.json")), images).classes == found.classes
    content = dataset([], ["train/a.jpg"])
    (tmp_path / "instances_val.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"'train/a.jpg' stands twice, in .*instances_train.json"):
        read_annotations(None, images)


def test_classes_that_are_given_choose_the_order(tmp_path):
    found = read(tmp_path, dataset([one([SQUARE])]), classes=["dog", "cat"])
    assert found.classes == ("background", "dog", "cat")
    assert found[0].map.max() == 2
    found = read(tmp_path, dataset([one([SQUARE])]), classes=["background", "dog"])
    with pytest.raises(ValueError, match="unknown class: category '3' isn't among those named"):
        found[0]


def test_a_background_among_the_categories_is_the_first_class(tmp_path):
    categories = [{"id": 3, "name": "cat"}, {"id": 9, "name": "Background"}]
    assert read(tmp_path, dataset([], categories=categories)).classes == ("Background", "cat")


def test_images_that_are_not_listed_have_no_annotations(tmp_path):
    found = read(tmp_path, dataset([one([SQUARE])], ["a.jpg"]))
    assert found.is_annotated.tolist() == [True, False]


def test_roboflow_layout_is_found(tmp_path):
    write_images(tmp_path, ["train/a.jpg", "valid/a.jpg"])
    for i, (split, name) in enumerate([("train", "a.jpg"), ("valid", "a.jpg")]):
        content = dataset([one([SQUARE])] if i else [], [name])
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    found = read_annotations(None, list_images(tmp_path))
    assert [each.map.max() for each in found] == [0, 1]


# ---- oriented boxes ---------------------------------------------------------------------


def corners(box):
    """Corners of one oriented box, by complex numbers, whose angles are clockwise on screen."""
    x, y, width, height, angle = box
    turn = np.exp(-1j * np.deg2rad(angle))
    points = [complex(x, y) + turn * complex(u * width, v * height) / 2 for u, v in UNIT]
    return [value for point in points for value in (point.real, point.imag)]


UNIT = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def canonical(box):
    x, y, width, height, angle = box
    if height > width:
        width, height, angle = height, width, angle + 90
    return [x, y, width, height, (angle + 90) % 180 - 90]


@pytest.mark.parametrize("how", ["rotated_box", "bbox", "corners", "both"])
def test_oriented_boxes_in_every_spelling(tmp_path, how):
    drawn = np.random.default_rng(0)
    low, high = [2, 2, 3, 3, -400], [10, 10, 9, 9, 400]
    boxes = drawn.uniform(low, high, (20, 5)).tolist()
    told = {
        "rotated_box": lambda box: one(rotated_box=box),
        "bbox": lambda box: one(bbox=box),
        "corners": lambda box: one([corners(box)]),
        "both": lambda box: one([corners(box)], rotated_box=box, bbox=[1, 2, 3, 4]),
    }[how]
    found = read(tmp_path, dataset([told(box) for box in boxes]))
    np.testing.assert_allclose(found[0].oriented, [canonical(box) for box in boxes], atol=1e-9)
    points = np.array([corners(box) for box in boxes]).reshape(-1, 4, 2).clip(0, SIZE[::-1])
    around = np.concatenate([points.min(1), points.max(1)], axis=1)
    expected = np.tile([1.0, 2, 4, 6], (20, 1)) if how == "both" else around
    np.testing.assert_allclose(found[0].boxes, expected, atol=1e-9)
    assert (found[0].masks is None) == (how in ("rotated_box", "bbox"))
    assert found[0].remarks == ()
    assert found[1].oriented.shape == (0, 5)
    assert annotation_faults(found, list_images(tmp_path / "images"), needs="oriented") == []


def test_only_objects_that_are_all_oriented_have_oriented_boxes(tmp_path):
    pentagon = [2, 1, 6, 1, 8, 2, 6, 4, 2, 4]
    found = read(tmp_path, dataset([one([SQUARE]), one([pentagon]), one([SQUARE], image=1)]))
    assert found[0].oriented is None
    assert found[1].oriented.tolist() == [[4, 2.5, 4, 3, 0]]
    [fault] = annotation_faults(found, list_images(tmp_path / "images"), needs="oriented")
    assert "no oriented boxes" in fault.reason


def test_the_box_of_four_corners_that_are_no_rectangle_is_that_of_the_file(tmp_path):
    slanted = [2, 1, 9, 1, 12, 8, 2, 8]
    found = read(tmp_path, dataset([one([slanted], bbox=[2, 1, 10, 7])]))
    assert found[0].boxes.tolist() == [[2, 1, 12, 8]]
    assert "no rectangle, by 3" in found[0].remarks[0]


def test_difficult_objects_are_ignored(tmp_path):
    box = [5, 5, 4, 2, 30]
    more = [{"difficult": 1}, {"iscrowd": 1}, {"difficult": 0}]
    found = read(tmp_path, dataset([one(rotated_box=box, **each) for each in more]))
    assert found[0].ignored.tolist() == [True, True, False]


@pytest.mark.parametrize(
    "box",
    [[1, 2, 3, 4], [1, 2, 3, 4, "x"], [1, 2, float("inf"), 4, 5], "12345x", [1, 2, 3, 4, 5, 6]],
)
def test_oriented_boxes_that_are_none(tmp_path, box):
    found = read(tmp_path, dataset([one(rotated_box=box)]))
    with pytest.raises(ValueError, match=r"instances.json: annotation 0: "):
        found[0]


@pytest.mark.parametrize("with_masks", [True, False])
def test_oriented_boxes_come_back(tmp_path, with_masks):
    drawn = np.random.default_rng(1)
    boxes = drawn.uniform([2, 2, 5, 1, -90], [9, 9, 9, 5, 90], (9, 5))
    boxes[0, 4] = -90
    masks = drawn.random((9, *SIZE)) < 0.5
    ignored = np.arange(9) % 3 == 0
    objects = Annotations(
        SIZE, oriented=boxes, masks=masks if with_masks else None, labels=np.ones(9, int),
        scores=drawn.random(9), ignored=ignored,
    )  # fmt: skip
    found = again(tmp_path, [objects] * 3, ["background", "x"])[0]
    np.testing.assert_allclose(found.oriented, boxes, atol=1e-9)
    assert found.ignored.tolist() == ignored.tolist()
    np.testing.assert_array_equal(found.scores, objects.scores)
    if with_masks:
        np.testing.assert_array_equal(found.masks, masks)


# ---- what is wrong with a file ----------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"category_id": 5}, "annotation 0: unknown class: category '5'"),
        ({"segmentation": [[1, 2, 3, 4]]}, "polygon has 4 numbers"),
        ({"segmentation": [[1, 2, 3, 4, float("nan"), 5]]}, "polygon has 6 numbers"),
        ({"segmentation": [[20, 1, 30, 1, 30, 9]]}, r"polygon from \(20, 1\) .* outside of the im"),
        ({"segmentation": {"size": [3, 4], "counts": [12]}}, r"of \[3, 4\] px, and the image"),
        ({"segmentation": {"size": list(SIZE), "counts": [5]}}, "run lengths make 5 px"),
        ({"segmentation": {"size": list(SIZE), "counts": "~"}}, "damaged"),
        ({"segmentation": "x"}, "neither polygons nor run lengths"),
        ({"segmentation": [["a"] * 6]}, "could not convert"),
        ({"segmentation": None}, "neither 'segmentation' nor 'bbox'"),
        ({"bbox": [1, 2, float("inf"), 4]}, r"bbox .* isn't"),
        ({"bbox": [1, 2, 3]}, "not enough values"),
        ({"iscrowd": 0.5}, "no whole number"),
    ],
)
def test_faults_of_objects_are_named_by_image(tmp_path, changed, message):
    found = read(tmp_path, dataset([{**one([SQUARE], image=1), **changed}]))
    [fault] = annotation_faults(found, list_images(tmp_path / "images"))
    assert fault.name == "b.jpg"
    with pytest.raises(ValueError, match=message) as error:
        found[1]
    assert fault.reason == str(error.value)
    assert "instances.json: annotation 0" in fault.reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "'{' is expected"),
        ("{", "can't be read as a COCO file"),
        ('{"images": [}', "can't be read as a COCO file"),
        ('{"images": [1], "annotations": []}', "has to be a list of objects"),
        ('[{"image_id": 1}]', "list of results, which names no images"),
        ('{"shapes": []}', "'images', 'annotations' and 'categories' are looked for"),
        ('{"images": [{"id": 1}], "annotations": []}', "no 'id' or no 'file_name'"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5_000 + "}", "can't be read as a COCO file"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


def test_two_images_of_one_id(tmp_path):
    content = dataset([])
    content["images"][1]["id"] = 0
    with pytest.raises(ValueError, match="two images have the id 0"):
        read(tmp_path, content)


def test_files_of_other_images(tmp_path):
    with pytest.raises(ValueError, match=r"such as 'a.jpg', and the files name such as 'z.jpg'"):
        read(tmp_path, dataset([], ["z.jpg"]))


def test_hostile_sizes_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    found = read(tmp_path, dataset([one([SQUARE])], height=10**9))
    with pytest.raises(ValueError, match=r"said to have 1000000000 × 17 px"):
        found[0]
    monkeypatch.setattr(_json, "MAX_JSON_BYTES", 100)
    with pytest.raises(ValueError, match="the limit is"):
        read(tmp_path, dataset([one([SQUARE])]))


def test_masks_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_coco_objects, "MAX_REGION_PIXELS", 30)
    with pytest.raises(ValueError, match="annotation 2: the masks of its image take more than"):
        read(tmp_path, dataset([one([SQUARE])] * 3))[0]


def test_other_sizes_than_the_image_are_faults(tmp_path):
    found = read(tmp_path, dataset([one([SQUARE])], width=18))
    faults = annotation_faults(found, list_images(tmp_path / "images"))
    assert [fault.name for fault in faults] == ["a.jpg", "b.jpg"]
    assert faults[0].reason == "the annotations are of 12 × 18 px, and the image is 12 × 17"


# ---- writing --------------------------------------------------------------------------

NAMES = ["a.jpg", "b.jpg", "in/c \u00e9.jpg"]


def again(tmp_path, written, classes, **options):
    """Write annotations, and read them."""
    write_annotations(tmp_path / "out.json", NAMES, iter(written), classes, form="coco", **options)
    return read_annotations(tmp_path / "out.json", list_images(list(NAMES)))


def test_maps_come_back(tmp_path):
    classes = ("background", "sky", "sea", "land")
    maps = [classes_of(i, 4, (20, 30 + i)) for i in range(2)] + [np.zeros((5, 6), int)]
    found = again(tmp_path, (Annotations(m.shape, map=m) for m in maps), classes)
    assert found.classes == classes
    for truth, read in zip(maps, found, strict=True):
        np.testing.assert_array_equal(read.map, truth)


def test_void_becomes_background_and_classes_without_one_are_shifted(tmp_path):
    truth = classes_of(0, 2, void=True)
    written = [Annotations(SIZE, map=truth)] * 3
    found = again(tmp_path, written, ["sky", "sea"])
    assert found.classes == ("background", "sky", "sea")
    np.testing.assert_array_equal(found[0].map, truth + 1)
    assert (truth == VOID).any()


def test_objects_come_back_with_their_scores(tmp_path):
    masks = np.stack([square(size=(8, 9)) == 1, np.eye(8, 9, dtype=bool)])
    boxes = np.array([[1.5, 1, 6.25, 4], [0, 0, 8, 8]])
    objects = Annotations(
        (8, 9), masks=masks, boxes=boxes, labels=np.array([2, 1]), scores=np.array([0.25, 1])
    )
    only_boxes = Annotations((8, 9), boxes=boxes, labels=np.array([1, 1]))
    nothing = Annotations((8, 9), boxes=np.zeros((0, 4)), labels=np.zeros(0, int))
    found = again(tmp_path, [objects, only_boxes, nothing], ["background", "x", "y"])
    for field in ("masks", "boxes", "labels", "scores"):
        np.testing.assert_array_equal(getattr(found[0], field), getattr(objects, field))
    np.testing.assert_array_equal(found[1].boxes, boxes)
    assert found[1].masks is None
    assert len(found[2].labels) == 0


def test_results_bear_the_ids_of_another_file(tmp_path):
    truth = dataset([], [*NAMES], [{"id": 70, "name": "x"}, {"id": 30, "name": "y"}], first=400)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    written = [Annotations(SIZE, map=square(i)) for i in (1, 0, 2)]
    write_annotations(
        tmp_path / "results.json",
        NAMES,
        written,
        ["background", "y", "x"],
        form="coco",
        like=tmp_path / "truth.json",
    )
    results = json.loads((tmp_path / "results.json").read_text())
    assert [(r["image_id"], r["category_id"], r["score"]) for r in results] == [
        (400, 30, 1.0),
        (402, 70, 1.0),
    ]
    assert results[0]["bbox"] == [2, 1, 4, 3]
    assert coco.image_ids(tmp_path / "truth.json")["b.jpg"] == 401
    with pytest.raises(ValueError, match=r"lists no image 'z.jpg'"):
        write_annotations(
            tmp_path / "r.json", ["z.jpg"], written[:1], ["background", "y"], form="coco",
            like=tmp_path / "truth.json",
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools' own
@pytest.mark.parametrize("segmentation", ["rle", "polygons"])
def test_masks_come_back_as_run_lengths_or_as_polygons(tmp_path, segmentation):
    drawn = np.random.default_rng(0)
    masks = drawn.random((40, 9, 11)) < drawn.random((40, 1, 1))
    masks[:, 0, 0] = True
    masks[0] = True
    masks[1, 3:6, 3:6] = True
    masks[1, 4, 4] = False  # a hole
    objects = Annotations((9, 11), masks=masks, labels=np.ones(40, int))
    found = again(tmp_path, [objects] * 3, ["background", "x"], segmentation=segmentation)
    np.testing.assert_array_equal(found[0].masks, masks)
    content = json.loads((tmp_path / "out.json").read_text())
    kinds = [type(one["segmentation"]) for one in content["annotations"][:40]]
    assert kinds[:2] == [list if segmentation == "polygons" else dict, dict]
    # Another reader fills them in the same way.
    size = {"height": 9, "width": 11}
    for one, mask in zip(content["annotations"], masks, strict=False):
        runs = one["segmentation"]
        if isinstance(runs, list):
            runs = mask_api.merge(mask_api.frPyObjects(runs, *size.values()))
        np.testing.assert_array_equal(mask_api.decode(runs), mask)
        assert one["area"] == mask.sum()
    with pytest.raises(ValueError, match="segmentation='x'; choose 'rle' or 'polygons'"):
        again(tmp_path, [objects] * 3, ["background", "x"], segmentation="x")


def test_what_has_nothing_to_be_written(tmp_path):
    with pytest.raises(ValueError, match="'a' has neither objects nor a class per pixel"):
        write_annotations(tmp_path / "x.json", ["a"], [Annotations(SIZE)], ["x"], form="coco")
    assert not (tmp_path / "x.json").exists()


def test_written_files_are_read_by_pycocotools_rules(tmp_path):
    # Areas, boxes and ids, as they say: from 1 on, [left, top, width, height].
    write_annotations(
        tmp_path / "x.json", ["a.jpg"], [Annotations(SIZE, map=square(1))], ["bg", "x"], form="coco"
    )
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "x"}]
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "height": 12, "width": 17}]
    [written] = content["annotations"]
    assert written["area"] == 12
    assert (written["id"], written["image_id"], written["bbox"]) == (1, 1, [2, 1, 4, 3])
    assert Image.MAX_IMAGE_PIXELS is not None


def test_categories_that_are_all_unknown_are_one_error(tmp_path):
    with pytest.raises(ValueError, match=r"not one category .* 'cat', 'dog'.* 'tree'"):
        read(tmp_path, dataset([one([SQUARE])]), classes=["background", "tree"])
