"""What `read_annotations` takes, what it finds by itself, and the faults of any form."""

import logging
import pickle

import numpy as np
import pytest
from PIL import Image

from tests.annotations.masks import SIZE, classes_of, save, write_images, write_masks
from transferkit.annotations import (
    VOID,
    Annotations,
    AnnotationSet,
    FaultyAnnotations,
    annotation_faults,
    annotation_forms,
    read_annotations,
    write_annotations,
)
from transferkit.images import Failure, list_images

PIXELS = np.zeros((2, *SIZE, 3), np.uint8)


def test_every_file_of_the_folder_is_a_form():
    assert annotation_forms() == [
        *("coco", "csv", "cvat", "dota", "instances", "masks", "mvtec", "voc", "yolo")
    ]


# ---- what is given ----------------------------------------------------------------------


def test_arrays_one_per_image_or_none():
    images = list_images(PIXELS)
    truth = classes_of(0, 3, void=True)
    found = read_annotations([truth, None], images)
    assert found.classes == ("background", "class 1", "class 2")
    np.testing.assert_array_equal(found[0].map, truth)
    assert found.is_annotated.tolist() == [True, False]
    with pytest.raises(ValueError, match="'image 1' has no annotations"):
        found[1]
    stacked = read_annotations(np.stack([truth > 0, truth > 1]), images)
    assert stacked.classes == ("background", "foreground")
    np.testing.assert_array_equal(stacked[1].map, truth > 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_255_is_void_in_arrays_too(dtype):
    truth = classes_of(0, 3, void=True)
    given = np.where(truth < 0, 255, truth).astype(dtype)
    np.testing.assert_array_equal(read_annotations([given], list_images(PIXELS[:1]))[0].map, truth)


def test_annotations_and_sets_are_taken_as_they_are():
    images = list_images(PIXELS)
    ones = [Annotations(SIZE, map=np.full(SIZE, i)) for i in (2, VOID)]
    found = read_annotations(ones, images)
    assert found.classes == ("background", "class 1", "class 2")
    assert found[1] is ones[1]
    assert read_annotations(ones, images, classes=["a", "b", "c"]).classes == ("a", "b", "c")
    assert read_annotations(found, images) is found


def test_files_one_per_image(tmp_path):
    images = list_images(write_images(tmp_path / "images", ["a.jpg", "b.jpg"]))
    write_masks(tmp_path / "elsewhere", ["x/a.png", "y/b_mask.png"])
    files = [tmp_path / "elsewhere/y/b_mask.png", tmp_path / "elsewhere/x/a.png"]
    found = read_annotations(files, images)
    for i in (0, 1):
        np.testing.assert_array_equal(found[i].map, classes_of(i))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([np.zeros(SIZE, int)], ValueError, "annotations of 1 images for 2 images"),
        (AnnotationSet(["a"], []), ValueError, "annotations of 0 images for 2 images"),
        (3, TypeError, "given as int; give"),
        ([], TypeError, "given as list; give"),
        ("nowhere", FileNotFoundError, "no annotations at 'nowhere'; give"),
        (
            [np.zeros(SIZE)] * 2,
            ValueError,
            "of 'image 0': array of dtype float64; give",
        ),
        ([np.zeros(3, int)] * 2, ValueError, r"shape \(3,\); give \(height, width\)"),
    ],
)
def test_what_is_not_taken(given, error, message):
    with pytest.raises(error, match=message):
        read_annotations(given, list_images(PIXELS))


def test_paths_of_no_form_and_unknown_forms(tmp_path):
    (tmp_path / "a.xml").write_text("<a/>")
    images = list_images(PIXELS)
    with pytest.raises(ValueError, match="of no form of annotations; give the root of a set"):
        read_annotations(tmp_path / "a.xml", images)
    with pytest.raises(ValueError, match=r"unknown form of annotations .*; did you mean 'masks'"):
        read_annotations(tmp_path, images, form="mask")
    with pytest.raises(ValueError, match="no annotations in or beside the folder of 'image 0'"):
        read_annotations(None, images)


# ---- found by themselves ------------------------------------------------------------------


def test_masks_come_before_coco_files_which_are_mentioned(tmp_path, caplog):
    images = list_images(write_images(tmp_path / "images", ["a.jpg"]))
    one = Annotations(SIZE, map=np.ones(SIZE, int))
    write_annotations(tmp_path / "instances.json", ["a.jpg"], [one], ["bg", "x"], form="coco")
    assert read_annotations(None, images).classes == ("background", "x")
    write_masks(tmp_path / "masks", ["a.png"])
    with caplog.at_level(logging.INFO):
        assert read_annotations(None, images).classes == ("background", "class 1", "class 2")
    assert "annotations: masks in" in caplog.text
    assert "not taken: coco in" in caplog.text
    assert read_annotations(None, images, form="coco").classes == ("background", "x")
    # Masks of other images are none of these.
    (tmp_path / "masks/a.png").rename(tmp_path / "masks/z.png")
    assert read_annotations(None, images).classes == ("background", "x")


def test_the_working_directory_as_the_folder_of_images(tmp_path, monkeypatch):
    write_images(tmp_path / "images", ["a.jpg"])
    write_masks(tmp_path / "masks", ["a.png"])
    monkeypatch.chdir(tmp_path / "images")
    np.testing.assert_array_equal(read_annotations(None, list_images("."))[0].map, classes_of(0))


# ---- faults -------------------------------------------------------------------------------


@pytest.fixture
def faulty(tmp_path):
    """Images a to f: good, without a mask, of another size, unknown value, damaged, a bomb."""
    images = write_images(tmp_path / "images", [f"{n}.jpg" for n in "abcdef"])
    write_masks(tmp_path / "masks", ["a.png"])
    save(tmp_path / "masks/c.png", np.zeros((17, 12), np.uint8))
    save(tmp_path / "masks/d.png", np.full(SIZE, 9, np.uint8))
    data = (tmp_path / "masks/a.png").read_bytes()
    (tmp_path / "masks/e.png").write_bytes(data[:50])
    (tmp_path / "masks/f.png").write_bytes(b"")
    (tmp_path / "masks/classes.txt").write_text("x\ny\nz")
    return list_images(images)


def test_every_fault_is_named_with_its_reason(faulty):
    found = read_annotations(None, faulty)
    faults = annotation_faults(found, faulty)
    assert [(fault.index, fault.name) for fault in faults] == [
        (i, f"{n}.jpg") for i, n in enumerate("abcdef") if n != "a"
    ]
    reasons = [fault.reason for fault in faults]
    for reason, words in zip(
        reasons,
        ["no annotations", "are of 17 × 12 px", "value 9", "truncated", "empty file"],
        strict=True,
    ):
        assert words in reason
    error = pickle.loads(pickle.dumps(FaultyAnnotations(faults, 6)))
    assert "the annotations of 5 of 6 images can't be used: b.jpg (no annotations" in str(error)
    many = FaultyAnnotations([Failure(i, str(i), "x") for i in range(30)], 40)
    assert "… and 10 more (all in .failures)" in str(many)


def test_sizes_may_be_given_as_numbers(faulty):
    found = read_annotations(None, faulty).select([0, 2])
    assert annotation_faults(found) == []
    assert [f.index for f in annotation_faults(found, np.array([SIZE, SIZE]))] == [1]
    assert annotation_faults(found, [(0, 0), (17, 12)]) == []
    with pytest.raises(ValueError, match="2 annotations for 1 images; give one for each"):
        annotation_faults(found, [SIZE])


def test_turned_images_have_the_size_that_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "images/a.jpg", np.zeros((12, 17, 3), np.uint8), exif=exif)
    save(tmp_path / "masks/a.png", np.zeros((17, 12), np.uint8))
    images = list_images(tmp_path / "images")
    found = read_annotations(None, images)
    assert len(annotation_faults(found, images)) == 1
    assert annotation_faults(found, images, exif=True) == []


def test_bombs_are_refused(tmp_path, monkeypatch):
    images = list_images(write_images(tmp_path / "images", ["a.jpg"]))
    write_masks(tmp_path / "masks", ["a.png"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    found = read_annotations(None, images)
    with pytest.raises(ValueError, match="above the limit"):
        found[0]


# ---- a table of what was found --------------------------------------------------------------


def test_pixels_of_classes_and_scores_as_a_table(tmp_path):
    maps = [Annotations((1, len(m)), map=np.array([m])) for m in ([0, 1, 1, VOID], [VOID])]
    write_annotations(tmp_path / "a.csv", ["x,1", "y"], maps, ["sky", "sea"], form="csv")
    assert (tmp_path / "a.csv").read_text() == (
        'image,class,pixels,share\n"x,1",sky,1,0.333333\n"x,1",sea,2,0.666667\n'
        "y,sky,0,0.000000\ny,sea,0,0.000000\n"
    )
    scored = [Annotations((1, 1), score=0.25), Annotations((1, 1), score=10)]
    write_annotations(tmp_path / "b.csv", ["x", "y\r"], scored, [], form="csv")
    assert (tmp_path / "b.csv").read_bytes() == b'image,score\nx,0.25\n"y\r",10\n'
    with pytest.raises(ValueError, match="'y' has no score, unlike the first"):
        write_annotations(tmp_path / "c.csv", ["x", "y"], [scored[0], maps[0]], [], form="csv")
    with pytest.raises(ValueError, match=r"'mvtec' annotations aren't written; choose one of coco"):
        write_annotations(tmp_path / "d", ["x"], maps, [], form="mvtec")
