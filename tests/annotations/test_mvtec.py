"""MVTec's layout: good images need no mask, defects have one."""

import numpy as np
import pytest

from tests.annotations.masks import SIZE, save, write_images
from transferkit.annotations import annotation_faults, read_annotations
from transferkit.images import list_images

DEFECT = np.zeros(SIZE, np.uint8)
DEFECT[3:6, 4:9] = 255


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path, ["train/good/0.png", "train/good/1.png", "test/good/0.png"])
    write_images(tmp_path, ["test/scratch/0.png", "test/scratch/1.png", "test/hole/0.png"])
    save(tmp_path / "ground_truth/scratch/0_mask.png", DEFECT)
    save(tmp_path / "ground_truth/hole/0_mask.png", DEFECT.T[: SIZE[0], : SIZE[1]])
    save(tmp_path / "ground_truth/scratch/1_mask.png", DEFECT // 255)
    return tmp_path


def test_splits_labels_and_no_masks_among_the_images(root):
    images = list_images(root, annotated=True)
    assert images.names == (
        *("test/good/0.png", "test/hole/0.png", "test/scratch/0.png", "test/scratch/1.png"),
        *("train/good/0.png", "train/good/1.png"),
    )
    assert images.labels == ("good", "hole", "scratch", "scratch", "good", "good")
    assert images.splits == ("test",) * 4 + ("train",) * 2


@pytest.mark.parametrize("given", [None, "", "ground_truth"])
def test_masks_of_defects(root, given):
    images = list_images(root, annotated=True)
    found = read_annotations(None if given is None else root / given, images)
    assert found.classes == ("good", "defect")
    assert [each.score for each in found] == [0, 1, 1, 1, 0, 0]
    for i in (2, 3):
        np.testing.assert_array_equal(found[i].map, DEFECT > 0)
    for i in (0, 4, 5):
        assert (found[i].map.shape, found[i].map.any()) == (SIZE, False)
    # The mask of the hole is 17 × 12.
    [fault] = annotation_faults(found, images)
    assert fault.name == "test/hole/0.png"
    assert "and the image is 12 × 17" in fault.reason


@pytest.mark.parametrize("part", ["test", "train", "test/scratch"])
def test_part_of_the_layout(root, part):
    found = read_annotations(None, list_images(root / part))
    assert found.classes == ("good", "defect")
    assert found.is_annotated.all()


def test_a_defect_without_a_mask_is_a_fault(root):
    (root / "ground_truth/scratch/1_mask.png").unlink()
    (root / "ground_truth/hole/0_mask.png").write_bytes(b"no image")
    images = list_images(root, annotated=True)
    faults = annotation_faults(read_annotations(None, images), images)
    assert [fault.name for fault in faults] == ["test/hole/0.png", "test/scratch/1.png"]
    assert "not an image" in faults[0].reason
    assert "no annotations were found" in faults[1].reason


def test_classes_have_to_be_two(root):
    images = list_images(root, annotated=True)
    assert read_annotations(root, images, classes=["fine", "bad"]).classes == ("fine", "bad")
    with pytest.raises(ValueError, match="3 classes are named for MVTec's layout; name two"):
        read_annotations(root, images, classes=["a", "b", "c"])
