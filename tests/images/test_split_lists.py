"""Splits from lists of names, and folders that hold masks beside the images."""

import logging

import pytest

from transferkit.images import list_images
from transferkit.images.layouts import MASK_FOLDERS, is_image_folder, is_mask_folder
from transferkit.images.split_lists import find_split_lists


def make(root, names):
    for name in names.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def write(folder, **lists):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
    return folder


def splits_of(images):
    return dict(zip(images.names, images.splits or [None] * len(images), strict=True))


@pytest.mark.parametrize(
    "line",
    [
        *("{}", "{}.jpg", "./x/{}.jpg", "x/{}", "x/{}.png", "/home/me/data/x/{}.jpg", "{} 1"),
        *("/x/{}.jpg /masks/{}.png", "  {}\t", "x\\{}.jpg"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_as_people_write_them(tmp_path, line, end):
    make(tmp_path, "x/a.jpg x/b.b.jpg y/c.jpg")
    lists = write(
        tmp_path / "lists",
        train="\ufeff" + line.replace("{}", "a") + end + end,
        val=line.replace("{}", "b.b") + end,
    )
    found = splits_of(list_images(tmp_path, split_lists=lists))
    assert found == {"x/a.jpg": "train", "x/b.b.jpg": "val", "y/c.jpg": None}


def test_names_with_blanks_go_before_what_stands_behind_one(tmp_path):
    make(tmp_path, "a.jpg")
    (tmp_path / "a 1.jpg").write_bytes(b"x")
    found = list_images(tmp_path, split_lists={"train": ["a 1"], "test": ["a"]})
    assert splits_of(found) == {"a 1.jpg": "train", "a.jpg": "test"}


def test_mappings_of_names_and_of_files(tmp_path):
    make(tmp_path, "a.jpg b.jpg c.jpg")
    lists = write(tmp_path / "lists", mine="b\n")
    given = {"training": ["a.jpg"], "valid": lists / "mine.txt", "test": ("c",)}
    found = list_images(list_images(tmp_path), split_lists=given)
    assert found.splits == ("train", "val", "test")


def test_trainval_counts_where_there_is_no_train(tmp_path):
    make(tmp_path, "a.jpg b.jpg c.jpg")
    lists = write(tmp_path / "lists", trainval="a\nb\n", test="c\n", aeroplane_train="a -1\n")
    assert list_images(tmp_path, split_lists=lists).splits == ("train", "train", "test")
    write(lists, train="a\n", val="b\n")
    assert list_images(tmp_path, split_lists=lists).splits == ("train", "val", "test")


def test_lists_go_before_folders(tmp_path):
    make(tmp_path, "train/x/a.jpg test/x/b.jpg")
    found = list_images(tmp_path, split_lists={"test": ["a"], "train": ["test/x/b.jpg"]})
    assert splits_of(found) == {"test/x/b.jpg": "train", "train/x/a.jpg": "test"}
    assert found.labels == ("x", "x")


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": ["a"], "test": ["a"]}, "'x/a.jpg' is in the list of train and in that of test"),
        ({"train": ["c"]}, "'c' in a split list means several images; write their paths"),
        ({"train": ["z"]}, r"none of the split lists' names is an image: they name 'z', and"),
        ({"first": ["a"]}, "split 'first' is unknown; name the lists train, val, test"),
        ({}, "no split lists in"),
        ("nowhere", "no split lists in 'nowhere'; give a folder that holds train.txt"),
    ],
)
def test_what_is_wrong_with_lists(tmp_path, lists, message):
    make(tmp_path, "x/a.jpg x/c.jpg y/c.jpg")
    with pytest.raises(ValueError, match=message):
        list_images(tmp_path, split_lists=lists)


def test_two_lists_of_one_split(tmp_path):
    make(tmp_path, "a.jpg")
    lists = write(tmp_path / "lists", train="a\n", training="a\n")
    with pytest.raises(ValueError, match=r"two lists of one split, train.txt and training.txt"):
        list_images(tmp_path, split_lists=lists)


def test_damaged_and_large_lists(tmp_path, monkeypatch):
    make(tmp_path, "a.jpg")
    (tmp_path / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="is no text"):
        list_images(tmp_path, split_lists=tmp_path)
    monkeypatch.setattr("transferkit.images.split_lists.MAX_LIST_BYTES", 1)
    with pytest.raises(ValueError, match="is larger than"):
        list_images(tmp_path, split_lists=tmp_path)


def test_names_that_are_no_images_are_told(tmp_path, caplog):
    make(tmp_path, "a.jpg")
    with caplog.at_level(logging.WARNING):
        list_images(tmp_path, split_lists={"train": ["a", "y", "z"]})
    assert "split lists name 2 images that aren't there: 'y', 'z'" in caplog.text


# ---- folders that hold masks ----------------------------------------------------------------


@pytest.mark.parametrize("masks", MASK_FOLDERS)
def test_folders_of_masks_are_no_images_where_annotations_are_asked_for(tmp_path, masks):
    make(tmp_path, f"images/a.jpg {masks}/a.png")
    assert list_images(tmp_path, annotated=True).names == ("images/a.jpg",)
    assert list_images(tmp_path, annotated=True).labels is None
    assert len(list_images(tmp_path)) == 2  # as ever


def test_names_of_folders():
    for name in ("SegmentationObject", "labels", "Masks", "instance_masks", "train_mask"):
        assert is_mask_folder(name)
    for name in ("masked", "labelled", "train", "unmasked people"):
        assert not is_mask_folder(name)
    assert is_image_folder("Images")
    assert not is_image_folder("my images")


def test_masks_beside_images_are_left_out_only_where_the_image_is(tmp_path):
    make(tmp_path, "x/a.jpg x/a_mask.png y/a_mask.png")
    assert list_images(tmp_path, annotated=True).names == ("x/a.jpg", "y/a_mask.png")


@pytest.mark.parametrize(
    "names",
    [
        "train/images/a.jpg train/masks/a.png val/images/b.jpg val/masks/b.png",
        "images/train/a.jpg masks/train/a.png images/val/b.jpg masks/val/b.png",
        "train/a.jpg train/a_mask.png val/b.jpg val/b_mask.png",
    ],
)
def test_folders_named_images_are_neither_classes_nor_splits(tmp_path, names):
    images = list_images(make(tmp_path, names), annotated=True)
    assert images.splits == ("train", "val")
    assert images.labels is None


@pytest.mark.parametrize("place", ["", "ImageSets/Segmentation", "ImageSets/Main", "splits"])
@pytest.mark.parametrize("given", ["", "JPEGImages"])
def test_lists_are_found_where_annotations_are_asked_for(tmp_path, place, given):
    make(tmp_path, "JPEGImages/a.jpg JPEGImages/b.jpg")
    write(tmp_path / place, train="a\n", val="b\n")
    assert find_split_lists(tmp_path / given) == tmp_path / place
    assert list_images(tmp_path / given, annotated=True).splits == ("train", "val")
    assert list_images(tmp_path / given).splits is None


def test_found_lists_of_other_images_and_lone_ones_are_not_taken(tmp_path, caplog):
    make(tmp_path, "images/a.jpg")
    write(tmp_path, train="y\n")
    assert list_images(tmp_path, annotated=True).splits is None
    write(tmp_path, val="z\n")
    assert list_images(tmp_path, annotated=True).splits is None
    assert "name 2 images that aren't there" in caplog.text
    # Folders of splits say more than lists that nobody asked for.
    make(tmp_path, "images/train/b.jpg images/test/c.jpg")
    (tmp_path / "images/a.jpg").unlink()
    write(tmp_path, train="c\n", test="b\n")
    assert list_images(tmp_path, annotated=True).splits == ("test", "train")
