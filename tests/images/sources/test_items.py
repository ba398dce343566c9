import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.sources.tables import encoded
from tests.pictures import picture, write_pictures
from transferkit.images import ImageBag, ImageSet, content_of, list_images

DATA = encoded(picture(0))


@pytest.mark.parametrize(
    "value",
    [
        DATA,
        bytearray(DATA),
        memoryview(DATA),
        io.BytesIO(DATA),
        {"bytes": DATA, "path": None},
        {"bytes": DATA},
    ],
)
def test_encoded_images(value):
    for images in (list_images(value), list_images([value])):
        assert images.names == ("image 0",)
        assert images.items == (DATA,)
        assert images.is_in_memory


def test_open_files_are_read_from_their_beginning(tmp_path):
    (path,) = write_pictures(tmp_path, [3])
    with path.open("rb") as file:
        file.read(7)
        images = list_images([file, file])
    assert images.items == (path.read_bytes(), path.read_bytes())
    assert images.names == (str(path), str(path))


def test_dictionaries_of_paths():
    images = list_images([{"bytes": None, "path": "a.jpg"}, {"bytes": DATA, "path": "b.jpg"}])
    assert images.items == (Path("a.jpg"), DATA)
    assert images.names == ("a.jpg", "b.jpg")


def test_a_generator_and_arrays_of_objects():
    names = ("a.jpg", "b.jpg")
    for source in (
        (name for name in names),
        np.array(names, dtype=object),
        np.array(names, dtype="S"),
        np.array(names)[:, None],
        np.array([Path(name) for name in names])[:, None],
    ):
        images = list_images(source)
        assert images.names == names
        assert images.items == (Path("a.jpg"), Path("b.jpg"))


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda v: np.array(v, dtype=object)])
def test_a_row_of_paths_is_an_item_of_several_images(kind):
    images = list_images(kind([["a", "b"], ["c", "d"], ["e", "e"]]))
    assert len(images) == 3
    assert images.names == ("a + b", "c + d", "e + e")
    assert images.n_images.tolist() == [2, 2, 2]
    singles = images.select([2, 0]).singles()
    assert singles.names == ("e", "e", "a", "b")
    assert singles.items == (Path("e"), Path("e"), Path("a"), Path("b"))


def test_items_of_different_numbers_of_images():
    pixels = Image.fromarray(picture(0))
    images = list_images([["a"], ("b", pixels, DATA), "c"])
    assert images.n_images.tolist() == [1, 3, 1]
    assert images.items[0] == Path("a")  # one image is no bag
    assert isinstance(images.items[1], ImageBag)
    assert images.names == ("a", "b + image 1 of item 1 + image 2 of item 1", "c")
    assert images.is_in_memory
    assert not images.select([0, 2]).is_in_memory
    with pytest.raises(TypeError, match="an item of 3 images; take them one by one"):
        content_of(images.items[1])


def test_one_by_one_without_bags_is_the_same():
    images = ImageSet((Path("a"), Path("b")), ("x", "y"), ("cat", "dog"))
    assert images.singles().items == images.items
    assert images.singles().names == images.names


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (["a", None], ValueError, r"image 1 is missing \(None\); give its path, or leave it out"),
        (["a", math.nan], ValueError, r"image 1 is missing \(nan\)"),
        ([np.float32("nan")], ValueError, "image 0 is missing"),
        ([type("NAType", (), {})()], ValueError, "image 0 is missing"),
        ([{"bytes": None, "path": None}], ValueError, "image 0 is missing"),
        (["a", " "], ValueError, "image 1 has an empty path"),
        ([["a", "b"], []], ValueError, "item 1 has no images"),
        ([["a", "b"], ["a", None]], ValueError, "image 1 of item 1 is missing"),
        ([("a.jpg", 3)], TypeError, "image 1 of item 0 is a int; give paths.*and labels as y"),
        ([[["a"]]], TypeError, "image 0 of item 0 is a list"),
        (io.StringIO("x"), TypeError, r"is a StringIO whose read\(\) gives str; open .* 'rb'"),
        ({"a", "b"}, TypeError, "images given as set"),
        (np.array([[["a"]]]), ValueError, r"dtype <U1 and shape \(1, 1, 1\); give uint8"),
        (np.zeros((2, 0), dtype=object), ValueError, r"shape \(2, 0\)"),
    ],
)
def test_wrong_items(source, error, message):
    with pytest.raises(error, match=message):
        list_images(source)


def test_files_that_are_closed_or_open_as_text(tmp_path):
    (path,) = write_pictures(tmp_path, [0])
    with path.open("rb") as file:
        pass
    with pytest.raises(ValueError, match=r"image 0 is a file that can't be read \(I/O operation"):
        list_images([file])
    with path.open(encoding="utf-8") as file, pytest.raises(TypeError, match="in binary mode"):
        list_images([file])
