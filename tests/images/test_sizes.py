"""`size_of`: what `read_rgb` decodes, told by the header."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.bad_pictures import BAD
from tests.pictures import picture
from transferkit.images import ImageBag, ImageError, LazyImage, read_rgb, size_of

SIZE = (37, 61)


def encoded(form, orientation=None):
    file = io.BytesIO()
    options = {}
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    Image.fromarray(picture(1, SIZE)).save(file, form, **options)
    return file.getvalue()


def decoded_size(source, exif):
    return np.asarray(read_rgb(source, exif=exif)).shape[:2]


@pytest.mark.parametrize("exif", [True, False])
@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_it_is_the_decoded_images_size(tmp_path, form, orientation, exif):
    data = encoded(form, orientation)
    path = tmp_path / "image"
    path.write_bytes(data)
    expected = decoded_size(data, exif)
    assert expected in (SIZE, SIZE[::-1])
    assert size_of(path, exif=exif) == size_of(data, exif=exif) == expected
    with Image.open(path) as image:
        assert size_of(image, exif=exif) == expected


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP", "PPM", "GIF", "TIFF"])
def test_nothing_is_decoded(form, monkeypatch):
    data = encoded(form)

    def forbidden(*args, **kwargs):
        raise AssertionError("was called")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", forbidden)
    assert size_of(data) == SIZE


@pytest.mark.parametrize("name", [name for name, bad in BAD.items() if not bad.reason])
def test_odd_files_that_can_be_read(tmp_path, name):
    BAD[name].write(tmp_path / "odd")
    for exif in (True, False):
        assert size_of(tmp_path / "odd", exif=exif) == decoded_size(tmp_path / "odd", exif)


class Taken(LazyImage):
    """An image of a data set."""

    def read(self):
        return encoded("PNG")


@pytest.mark.parametrize(
    "item",
    [
        picture(0, SIZE),
        picture(0, SIZE)[..., 0],
        picture(0, SIZE)[..., :1],
        Image.fromarray(picture(0, SIZE)),
        Taken(),
    ],
)
def test_images_in_memory_and_of_data_sets(item):
    assert size_of(item) == size_of(item, exif=True) == SIZE


def test_what_has_no_size_says_why(tmp_path):
    for name in ("text", "HTML error page", "decompression bomb"):
        BAD[name].write(tmp_path / "bad")
        with pytest.raises(ImageError, match=BAD[name].reason):
            size_of(tmp_path / "bad")
    with pytest.raises(ImageError, match="give uint8 pixels"):
        size_of(np.zeros((3, 3)))
    with pytest.raises(FileNotFoundError):
        size_of(tmp_path / "nowhere")
    with pytest.raises(TypeError, match="an item of 2 images"):
        size_of(ImageBag((b"", b""), ("a", "b")))
