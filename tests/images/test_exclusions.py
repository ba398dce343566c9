"""Lists of names to leave out: written, read and applied, whatever the names are."""

import os

import pytest

from tests.pictures import write_pictures
from transferkit.images import list_images
from transferkit.images.exclusions import excluded_names, write_exclusions


def test_names_are_left_out_by_a_list_and_by_patterns(tmp_path):
    write_pictures(tmp_path / "images" / "a", range(3))
    write_pictures(tmp_path / "images" / "b", range(3))
    file = tmp_path / "exclude.txt"
    write_exclusions(file, ["a/001.png", "b/002.png"])
    images = list_images(tmp_path / "images", exclude=[str(file), "000.png"])
    assert images.names == ("a/002.png", "b/001.png")
    assert images.labels == ("a", "b")


def test_a_table_keeps_its_other_lines(tmp_path):
    write_pictures(tmp_path, range(3))
    table = tmp_path / "table.csv"
    table.write_text("path,label\n000.png,x\n001.png,y\n002.png,z\n")
    write_exclusions(tmp_path / "exclude.txt", ["001.png"])
    images = list_images(table, exclude=str(tmp_path / "exclude.txt"))
    assert images.names == ("000.png", "002.png")
    assert images.labels == ("x", "z")


def test_names_that_are_not_utf8_survive(tmp_path):
    folder = tmp_path / "images"
    for path in write_pictures(folder, range(2)):
        path.rename(path.with_name(os.fsdecode(b"\xe9 " + path.name.encode())))
    names = list_images(folder).names
    write_exclusions(tmp_path / "exclude.txt", names[:1])
    assert (tmp_path / "exclude.txt").read_bytes() == b"\xe9 000.png\n"
    assert list_images(folder, exclude=[str(tmp_path / "exclude.txt")]).names == names[1:]


def test_lists_as_windows_writes_them(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfa/1.png\r\n\r\na/2 .png\r\n")
    assert excluded_names(tmp_path / "x.txt") == ["a/1.png", "a/2 .png"]


def test_names_of_other_images_are_an_error(tmp_path):
    write_pictures(tmp_path / "images", range(2))
    file = tmp_path / "exclude.txt"
    file.write_text("000.png\n" + "".join(f"other/{i}.png\n" for i in range(7)))
    with pytest.raises(ValueError, match=r"7 of 8 names .* are no images here \('other/0.png'.*…"):
        list_images(tmp_path / "images", exclude=[str(file)])


def test_a_list_of_everything_or_of_nothing(tmp_path):
    write_pictures(tmp_path / "images", range(2))
    file = tmp_path / "exclude.txt"
    write_exclusions(file, [])
    assert len(list_images(tmp_path / "images", exclude=[str(file)])) == 2
    write_exclusions(file, ["000.png", "001.png"])
    with pytest.raises(ValueError, match="no images are left without those in"):
        list_images(tmp_path / "images", exclude=[str(file)])


def test_a_missing_list_is_no_pattern(tmp_path):
    write_pictures(tmp_path / "images", range(1))
    with pytest.raises(FileNotFoundError, match="there is no list of images to exclude"):
        list_images(tmp_path / "images", exclude=[str(tmp_path / "gone.txt")])


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="line break"):
        write_exclusions(tmp_path / "x.txt", ["a\nb.png"])
    with pytest.raises(ValueError, match=r"end it in .txt"):
        write_exclusions(tmp_path / "x.csv", [])
