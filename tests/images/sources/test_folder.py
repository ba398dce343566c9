"""Folders as people have them: splits by other names, links, files that are no images."""

import logging
import os
import unicodedata

import pytest

from transferkit.images import list_images


def make(root, names):
    for name in names.split() if isinstance(names, str) else names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def listed(images):
    splits = images.splits or [None] * len(images)
    labels = images.labels or [None] * len(images)
    return sorted(zip(images.names, splits, labels, strict=True))


# ---- splits -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Test"),
        ("TRAIN", "valid"),
        ("train_set", "test_set"),
        ("trainset", "testset"),
        ("train2017", "val2017"),
        ("training data", "evaluation"),
        ("trn", "dev"),
    ],
)
def test_splits_by_their_usual_names(tmp_path, train, test):
    make(tmp_path, [f"{s}/{c}/{s}{c}.png" for s in (train, test) for c in ("cat", "dog")])
    images = list_images(tmp_path)
    assert set(images.labels) == {"cat", "dog"}
    assert images.split_names in (("train", "test"), ("train", "val"))
    assert len(images.split("train")) == 2


def test_splits_that_stand_in_themselves_again(tmp_path):
    make(tmp_path, "seg_train/seg_train/sea/1.jpg seg_test/seg_test/sea/2.jpg pred/pred/3.jpg")
    with pytest.raises(ValueError, match=r"holds split folders and 'pred', .*--exclude 'pred'"):
        list_images(tmp_path)
    (tmp_path / "pred/pred/3.jpg").unlink()
    assert listed(list_images(tmp_path)) == [
        ("seg_test/seg_test/sea/2.jpg", "test", "sea"),
        ("seg_train/seg_train/sea/1.jpg", "train", "sea"),
    ]


def test_splits_within_classes(tmp_path):
    make(tmp_path, "cat/train/1.jpg cat/test/2.jpg dog/train/3.jpg dog/Test/4.jpg")
    assert listed(list_images(tmp_path)) == [
        ("cat/test/2.jpg", "test", "cat"),
        ("cat/train/1.jpg", "train", "cat"),
        ("dog/Test/4.jpg", "test", "dog"),
        ("dog/train/3.jpg", "train", "dog"),
    ]


def test_classes_with_their_splits_are_not_called_empty(tmp_path, caplog):
    make(tmp_path, "cat/train/1.jpg cat/test/2.jpg dog/train/3.jpg dog/test/4.heic")
    with caplog.at_level(logging.WARNING):
        assert set(list_images(tmp_path).labels) == {"cat", "dog"}
    assert "no classes" not in caplog.text


@pytest.mark.parametrize("other", ["dog/1.jpg", "dog/train/1.jpg dog/extra/2.jpg"])
def test_splits_within_some_classes_only(tmp_path, other):
    make(tmp_path, f"cat/train/1.jpg cat/test/2.jpg {other}")
    with pytest.raises(ValueError, match=r"'cat' with split folders in it \(test, train"):
        list_images(tmp_path)


def test_one_folder_around_the_splits(tmp_path):
    make(tmp_path, "archive/train/cat/1.jpg archive/test/cat/2.jpg")
    with pytest.raises(
        ValueError, match=r"nothing but 'archive', with split folders in it; give '"
    ):
        list_images(tmp_path)
    assert list_images(tmp_path / "archive").split_names == ("train", "test")


@pytest.mark.parametrize(
    "names",
    [
        "fold1/cat/1.jpg fold1/dog/2.jpg fold2/cat/3.jpg fold2/dog/4.jpg",
        "Training/cat/1.jpg Training/dog/2.jpg Foo/cat/3.jpg Foo/dog/4.jpg",
        "Training/cat/1.jpg Foo/cat/3.jpg",
        "A/cat/1.jpg A/dog/2.jpg A/cow/5.jpg B/cat/3.jpg B/dog/4.jpg",
        "old/cat/1.jpg old/dog/2.jpg new/cat/3.jpg new/dog/4.jpg readme/x.png",
    ],
)
def test_splits_by_no_name(tmp_path, names):
    make(tmp_path, names)
    with pytest.raises(ValueError, match=r"which look like splits but aren't named so; name them "):
        list_images(tmp_path)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("plane/1.jpg car/2.jpg train/3.jpg", {"plane", "car", "train"}),
        ("cat/images/1.jpg dog/images/2.jpg", {"cat", "dog"}),
        ("cat/a/1.jpg cat/b/2.jpg dog/c/3.jpg dog/d/4.jpg", {"cat", "dog"}),
        ("positive/1.jpg negative/2.jpg test/3.jpg", {"positive", "negative", "test"}),
    ],
)
def test_classes_are_classes(tmp_path, names, labels):
    images = list_images(make(tmp_path, names))
    assert images.splits is None
    assert set(images.labels) == labels


# ---- classes ------------------------------------------------------------------------


def test_labels_in_one_unicode_form_without_blanks(tmp_path):
    nfd = unicodedata.normalize("NFD", "Café")
    make(tmp_path, [f"train/Café /{1}.jpg", f"test/{nfd}/2.jpg"])
    images = list_images(tmp_path)
    assert set(images.labels) == {"Café"}
    assert all(item.exists() for item in images.items)


def test_lookalikes_are_named_once(tmp_path, caplog):
    make(tmp_path, "Cat/1.jpg cat/2.jpg dog/3.jpg")
    with caplog.at_level(logging.WARNING):
        assert set(list_images(tmp_path).labels) == {"Cat", "cat", "dog"}
    assert [r.getMessage() for r in caplog.records] == [
        "labels that look alike are different classes: 'Cat' and 'cat'; rename them if they are one"
    ]


@pytest.mark.parametrize("above", ["", "train/"])
def test_a_class_without_images_is_named(tmp_path, caplog, above):
    make(
        tmp_path, [f"{above}{n}" for n in ("cat/1.JPG", "dog/1.heic", "dog/2.heic", "dog/x/3.txt")]
    )
    (tmp_path / f"{above}cow").mkdir()
    with caplog.at_level(logging.WARNING):
        assert set(list_images(tmp_path).labels) == {"cat"}
    assert "folders without an image are no classes: " in caplog.text
    assert f"'{above}dog' (.heic 2, .txt 1)" in caplog.text
    assert f"'{above}cow' (empty)" in caplog.text


def test_no_word_where_nothing_is_labelled(tmp_path, caplog):
    make(tmp_path, "1.jpg 2.jpg")
    (tmp_path / "notes").mkdir()
    with caplog.at_level(logging.WARNING):
        assert list_images(tmp_path).labels is None
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", [".jfif", ".JFIF", ".pjpeg", ".avif", ".apng", ".pnm"])
def test_other_suffixes_of_images(tmp_path, suffix):
    make(tmp_path, [f"a/1{suffix}"])
    assert len(list_images(tmp_path)) == len(list_images(tmp_path / f"a/1{suffix}")) == 1


def test_one_file_that_is_no_image(tmp_path, caplog):
    make(tmp_path, "a/1.jpg a/2.txt")
    with caplog.at_level(logging.WARNING):
        list_images(tmp_path)
    assert (
        f"1 file below {tmp_path} is no image by its name and was left out (.txt 1)" in caplog.text
    )


# ---- links and folders that can't be read -------------------------------------------


def test_a_link_to_itself_and_one_to_nothing(tmp_path):
    make(tmp_path, "cat/1.jpg")
    (tmp_path / "cat/self.jpg").symlink_to(tmp_path / "cat/self.jpg")
    (tmp_path / "cat/gone.jpg").symlink_to("gone")
    (tmp_path / "dog").symlink_to(tmp_path / "dog")
    images = list_images(tmp_path)
    assert images.names == ("cat/1.jpg", "cat/gone.jpg", "cat/self.jpg")  # named when they're read


def test_folders_that_link_to_each_other(tmp_path, caplog):
    n = 12
    for i in range(n):
        make(tmp_path, [f"d{i}/{i}.jpg"])
    for i in range(n):
        for j in range(n):
            (tmp_path / f"d{i}/to{j}").symlink_to(tmp_path / f"d{j}")
    with caplog.at_level(logging.WARNING):
        images = list_images(tmp_path)
    assert set(images.names) == {f"d{i}/{i}.jpg" for i in range(n)}
    assert "linked folders were left out, for they are listed elsewhere: d" in caplog.text
    assert " more" in caplog.text


def test_links_to_classes_elsewhere(tmp_path):
    make(tmp_path, "store/cat/1.jpg store/dog/2.jpg")
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (tmp_path / f"set/{split}").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"set/{split}/{label}").symlink_to(tmp_path / "store" / label)
    assert [name for name, *_ in listed(list_images(tmp_path / "set"))] == [
        "test/cat/1.jpg",
        "test/dog/2.jpg",
        "train/cat/1.jpg",
        "train/dog/2.jpg",
    ]


def test_links_to_links(tmp_path):
    make(tmp_path, "real/c1/1.jpg real/c2/2.jpg")
    for split in ("train", "test"):
        (tmp_path / f"hub_{split}").mkdir()
        for label in ("c1", "c2"):
            (tmp_path / f"hub_{split}/{label}").symlink_to(tmp_path / "real" / label)
    (tmp_path / "set").mkdir()
    for split in ("train", "test"):
        (tmp_path / "set" / split).symlink_to(tmp_path / f"hub_{split}")
    images = list_images(tmp_path / "set")
    assert images.split_names == ("train", "test")
    assert len(images) == 4


def test_what_is_left_out_takes_nothing_along(tmp_path):
    make(tmp_path, "real/c1/1.jpg real/c2/2.jpg set/test/c1/3.jpg")
    (tmp_path / "hub").mkdir()
    for label in ("c1", "c2"):
        (tmp_path / "hub" / label).symlink_to(tmp_path / "real" / label)
    for name in ("a_old", "train"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "hub")
    images = list_images(tmp_path / "set", exclude=["a_old"])
    assert images.split_names == ("train", "test")
    assert images.names == ("test/c1/3.jpg", "train/c1/1.jpg", "train/c2/2.jpg")


def test_a_folder_that_can_not_be_listed(tmp_path, caplog, monkeypatch):
    make(tmp_path, "cat/1.jpg dog/2.jpg")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with caplog.at_level(logging.WARNING):
        assert list_images(tmp_path).names == ("cat/1.jpg",)
    assert (
        "could not be listed, so images in them are missing: dog (Permission denied)" in caplog.text
    )


def test_paths_of_over_4096_bytes(tmp_path, caplog):
    make(tmp_path, "cat/1.jpg")
    here = os.open(tmp_path / "cat", os.O_RDONLY)
    try:
        for _ in range(20):
            os.mkdir("x" * 250, dir_fd=here)
            inner = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
    finally:
        os.close(here)
    with caplog.at_level(logging.WARNING):
        assert list_images(tmp_path).names == ("cat/1.jpg",)
    assert "File name too long" in caplog.text


def test_names_that_are_not_utf_8(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    make(tmp_path, [f"{name}/{name}.jpg", "b/2.jpg"])
    images = list_images(tmp_path)
    assert images.names == ("b/2.jpg", f"{name}/{name}.jpg")
    assert images.items[1].read_bytes() == b"x"
    assert os.fsencode(images.labels[1]) == b"caf\xe9"


# ---- what is left out on purpose ----------------------------------------------------


@pytest.mark.parametrize("pattern", ["train_augmented", "*augmented*", "train_augmented/*"])
def test_excluded_folders(tmp_path, caplog, pattern):
    make(tmp_path, "train/cat/1.jpg test/cat/2.jpg train_augmented/cat/3.jpg")
    with pytest.raises(ValueError, match="--exclude 'train_augmented'"):
        list_images(tmp_path)
    with caplog.at_level(logging.WARNING):
        images = list_images(tmp_path, exclude=[pattern])
    assert images.names == ("test/cat/2.jpg", "train/cat/1.jpg")
    assert images.split_names == ("train", "test")
    assert f"one file or folder was left out by {pattern}" in caplog.text


def test_a_pattern_that_leaves_out_nothing_or_everything(tmp_path, caplog):
    make(tmp_path, "cat/1.jpg dog/2.jpg")
    with caplog.at_level(logging.WARNING):
        assert len(list_images(tmp_path, exclude="cow")) == 2
    assert "no file or folder was left out by cow" in caplog.text
    with pytest.raises(ValueError, match="no images in"):
        list_images(tmp_path, exclude=["*"])
    with pytest.raises(ValueError, match="no images are left without a, b; exclude less"):
        list_images(["a", "b"], exclude=["a", "b"])
    assert list_images(["x/a.png", "y/a.png"], exclude=["x"]).names == ("y/a.png",)
