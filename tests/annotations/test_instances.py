"""Instance masks: one number per object."""

import json
import logging
import pickle

import numpy as np
import pytest
from PIL import Image

from tests.annotations.masks import SIZE, save, write_images
from transferkit.annotations import (
    Annotations,
    annotation_faults,
    read_annotations,
    write_annotations,
)
from transferkit.images import list_images

NAMES = ["a.jpg", "in/b.png"]


def numbers(seed=0, n=4, size=SIZE, step=1):
    """Patches with the numbers 0, step, 2 step, …"""
    coarse = np.random.default_rng(seed).permutation(16).reshape(4, 4) % (n + 1)
    rows, columns = np.arange(size[0]) * 4 // size[0], np.arange(size[1]) * 4 // size[1]
    return coarse[np.ix_(rows, columns)] * step


def given(tmp_path, *masks, folder="instance_masks", suffix=".png", **options):
    names = NAMES[: len(masks)]
    write_images(tmp_path / "images", names)
    for name, mask in zip(names, masks, strict=True):
        save(tmp_path / folder / name.replace(".jpg", suffix).replace(".png", suffix), mask)
    images = list_images(tmp_path / "images")
    return read_annotations(options.pop("given", None), images, **options)


def assert_objects(found, mask, order=None):
    wanted = [n for n in np.unique(mask) if n] if order is None else order
    assert len(found.labels) == len(wanted)
    for i, number in enumerate(wanted):
        np.testing.assert_array_equal(found.masks[i], mask == number)
        rows, columns = np.nonzero(mask == number)
        edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        assert found.boxes[i].tolist() == list(edges)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("folder", ["instance_masks", "Instances", "SegmentationObject"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_number_is_an_object(tmp_path, dtype, folder, suffix):
    masks = [numbers(i, step=3).astype(dtype) for i in range(2)]
    found = given(tmp_path, *masks, folder=folder, suffix=suffix, needs="masks")
    assert found.classes == ("background", "object")
    for one, mask in zip(found, masks, strict=True):
        assert_objects(one, mask)
        np.testing.assert_array_equal(one.map, mask > 0)
        assert one.labels.tolist() == [1] * len(one.masks)
    assert pickle.loads(pickle.dumps(found))[1].labels.tolist() == found[1].labels.tolist()


def test_a_folder_within_that_of_the_images_is_none_of_them(tmp_path):
    write_images(tmp_path, ["a.png"])
    save(tmp_path / "instances/a.png", numbers().astype(np.uint8))
    images = list_images(tmp_path, annotated=True)
    assert list(images.names) == ["a.png"]
    assert_objects(read_annotations(None, images, needs="masks")[0], numbers())


def test_many_numbers_and_none(tmp_path):
    many = np.arange(300, dtype=np.uint16).reshape(15, 20) + 60_000
    found = given(tmp_path, many, np.zeros((9, 9), np.uint8))
    assert found[0].masks.areas.tolist() == [1] * 300
    assert found[1].boxes.shape == (0, 4)


def test_the_edges_of_objects_in_masks_with_a_palette_are_none(tmp_path):
    mask = numbers()
    mask[:, 5] = 255
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8).tobytes())
    assert_objects(given(tmp_path, image)[0], np.where(mask == 255, 0, mask))
    assert_objects(given(tmp_path, mask.astype(np.uint8))[0], mask)  # without one, an object


def test_one_class_may_be_named(tmp_path):
    mask = numbers().astype(np.uint8)
    assert given(tmp_path, mask, classes=["nucleus"]).classes == ("background", "nucleus")
    values = {"background": 0, "nucleus": 1}
    assert len(given(tmp_path, mask, classes=values)[0].labels) == 4
    (tmp_path / "instance_masks/classes.txt").write_text("nucleus\n")
    assert given(tmp_path, mask).classes == ("background", "nucleus")
    with pytest.raises(ValueError, match=r"tell objects apart and not classes.*24000, 24001"):
        given(tmp_path, mask, classes=["a", "b"])


def test_values_of_classes_in_the_numbers_when_they_are_given(tmp_path):
    coded = np.array([0, 24_000, 24_001, 26_000, 26, 33_000, 7], dtype=np.uint16)[numbers(n=6)]
    found = given(tmp_path, coded, classes={"person": 24, "car": 26})
    assert found.classes == ("background", "person", "car")
    assert_objects(found[0], coded, [26, 24_000, 24_001, 26_000])
    assert found[0].labels.tolist() == [2, 1, 1, 2]
    assert found[0].ignored.tolist() == [True, False, False, False]
    assert len(given(tmp_path, coded, classes={"person": 24})[0].labels) == 2
    # Nobody asked: so every number is an object.
    assert len(given(tmp_path, coded)[0].labels) == 6


def test_masks_of_classes_are_not_taken_for_objects(tmp_path, caplog):
    mask = (numbers() > 0).astype(np.uint8)
    with pytest.raises(ValueError, match="no annotations in or beside"):
        given(tmp_path, mask, folder="masks", needs="masks")
    with pytest.raises(ValueError, match=r"masks of classes don't say where one ends.*instances'"):
        given(tmp_path, mask, folder="masks", given=tmp_path / "masks", needs="masks")
    assert caplog.text == ""
    found = given(tmp_path, mask, folder="x", given=tmp_path / "x", form="instances")
    assert len(found[0].labels) == 1  # as it was asked for
    assert "masks of classes don't tell objects apart" in caplog.text


def test_coco_files_which_name_classes_come_before_instance_masks(tmp_path, caplog):
    one = Annotations(SIZE, masks=numbers()[None] == 1, labels=np.array([1]))
    images = list_images(write_images(tmp_path / "images", NAMES))
    pairs = NAMES, [one, one], ["background", "cell"]
    write_annotations(tmp_path / "instances.json", *pairs, form="coco")
    with caplog.at_level(logging.INFO):
        found = given(tmp_path, numbers().astype(np.uint8), needs="masks")
    assert found.classes == ("background", "cell")
    assert "not taken: instances in" in caplog.text
    assert len(images) == 2


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((*SIZE, 3), np.uint8), "holds colours; save it with one number per object"),
        (np.zeros((5, 6), np.uint8), "are of 5 × 6 px, and the image is 12 × 17"),
    ],
)
def test_faults_of_masks(tmp_path, mask, message):
    mask[0, 0] = (1, 2, 3)[: mask.ndim] if mask.ndim == 3 else 0
    found = given(tmp_path, mask)
    [fault] = annotation_faults(found, list_images(tmp_path / "images"))
    assert message in fault.reason


def test_a_jpeg_and_masks_of_other_images(tmp_path):
    found = given(
        tmp_path, numbers().astype(np.uint8), folder="x", suffix=".jpg",
        given=tmp_path / "x", form="instances",
    )  # fmt: skip
    with pytest.raises(ValueError, match="JPEG, whose numbers aren't exact"):
        found[0]
    (tmp_path / "x/a.jpg").rename(tmp_path / "x/z.png")
    with pytest.raises(ValueError, match=r"no instance mask in .* such as 'z.png'"):
        read_annotations(tmp_path / "x", list_images(tmp_path / "images"), form="instances")


# ---- writing ----------------------------------------------------------------------------


def scene(n, size=(40, 50), *, seed=0, overlap=False, **fields):
    """Objects in a row, or anywhere."""
    drawn = np.random.default_rng(seed)
    masks = np.zeros((n, *size), bool)
    for i, mask in enumerate(masks):
        if overlap:
            top, left = drawn.integers(0, 20, 2)
            mask[top : top + drawn.integers(1, 20), left : left + drawn.integers(1, 20)] = True
        else:
            mask.flat[i * 5 + np.arange(drawn.integers(1, 6))] = True
    return Annotations(size, masks=masks, labels=drawn.integers(1, 3, n), **fields)


def again(tmp_path, *written, classes=("background", "a", "b é")):
    images = list_images(NAMES[: len(written)])
    write_annotations(tmp_path / "x", images.names, iter(written), classes, form="instances")
    found = read_annotations(tmp_path / "x", images)
    assert found.classes == tuple(classes)
    return found


@pytest.mark.parametrize("n", [0, 1, 5, 255, 256, 390])
def test_objects_come_back_with_all_that_is_known_of_them(tmp_path, n, caplog):
    drawn = np.random.default_rng(n)
    ignored = drawn.random(n) < 0.3
    one = scene(n, scores=drawn.random(n), ignored=ignored)
    plain = scene(3, seed=1)
    found = again(tmp_path, one, plain)
    assert annotation_faults(found, np.array([one.size, plain.size]), needs="masks") == []
    for field in ("masks", "labels", "scores", "ignored"):
        if n and (field != "ignored" or ignored.any()):
            np.testing.assert_array_equal(getattr(found[0], field), getattr(one, field))
    np.testing.assert_array_equal(found[1].masks, plain.masks)
    assert found[1].scores is None
    assert found[1].ignored is None
    assert caplog.text == ""
    with Image.open(tmp_path / "x/a.png") as image:
        assert image.mode == ("L" if n < 256 else "I;16")


@pytest.mark.parametrize("has_scores", [True, False])
def test_of_objects_that_overlap_one_is_on_top_and_what_is_lost_is_told(
    tmp_path, caplog, has_scores
):
    n = 12
    scores = np.random.default_rng(0).permutation(n) / n if has_scores else None
    one = scene(n, overlap=True, scores=scores)
    found = again(tmp_path, one)[0]
    rank = scores if has_scores else -one.masks.areas
    expected = np.zeros((n, *one.size), bool)
    for row, column in np.argwhere(np.asarray(one.masks).any(0)):
        there = np.flatnonzero(np.asarray(one.masks)[:, row, column])
        best = there[rank[there] == rank[there].max()][-1]
        expected[best, row, column] = True
    left = expected.any((1, 2))
    np.testing.assert_array_equal(found.masks, expected[left])
    np.testing.assert_array_equal(found.labels, one.labels[left])
    n_lost = int(one.masks.areas.sum() - expected.sum())
    n_cut = int((expected.sum((1, 2)) < one.masks.areas).sum())
    assert f"{n_lost} px of {n_cut} objects are covered" in caplog.text
    assert f"{int((~left).sum())} objects entirely" in caplog.text


def test_ignored_objects_lie_beneath_all(tmp_path):
    masks = np.ones((2, 4, 5), bool)
    masks[0, 2:] = False
    ignored = np.array([False, True])
    one = Annotations((4, 5), masks=masks, labels=np.ones(2, int), ignored=ignored)
    found = again(tmp_path, one, classes=("background", "a"))[0]
    assert found.masks.areas.tolist() == [10, 10]
    assert found.ignored.tolist() == [False, True]


def test_what_cannot_be_written(tmp_path):
    pairs = [Annotations(SIZE, boxes=np.ones((1, 4)), labels=np.ones(1, int))]
    with pytest.raises(ValueError, match="'a' has no masks of objects"):
        write_annotations(tmp_path, ["a"], pairs, ["x"], form="instances")
    with pytest.raises(ValueError, match="class 1; 1 are named"):
        write_annotations(tmp_path, ["a"], [scene(1, seed=3)], ["x"], form="instances")
    assert not (tmp_path / "instances.json").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"number": 9}, "its numbers 1 aren't in instances.json"),
        ({"number": "1"}, "number '1'"),
        ({"class": "c"}, "unknown class 'c'"),
        ({"score": "x"}, "could not convert"),
        (None, "None"),
    ],
)
def test_lists_that_do_not_fit(tmp_path, changed, message):
    again(tmp_path, scene(1))
    content = json.loads((tmp_path / "x/instances.json").read_text())
    row = content["masks"][0]["objects"]
    row[0] = None if changed is None else row[0] | changed
    (tmp_path / "x/instances.json").write_text(json.dumps(content))
    found = read_annotations(tmp_path / "x", list_images(NAMES[:1]))
    with pytest.raises(ValueError, match=message) as error:
        found[0]
    assert "a.png" in str(error.value)
    content["masks"][0]["file"] = "b.png"
    (tmp_path / "x/instances.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"instances.json lists no mask 'a.png'"):
        read_annotations(tmp_path / "x", list_images(NAMES[:1]))
    (tmp_path / "x/instances.json").write_text('{"masks": [1]}')
    with pytest.raises(ValueError, match="is no list of instance masks"):
        read_annotations(tmp_path / "x", list_images(NAMES[:1]))
