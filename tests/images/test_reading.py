"""Values of pictures that PIL reads, where a range is stated."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.pictures import picture
from transferkit.images import ImageError, read_rgb, read_values, rendered
from transferkit.spec import Preprocess

PIXELS = picture(1, (20, 30))
DEEP = np.random.default_rng(0).integers(0, 65_536, (20, 30)).astype(np.uint16)


def stated(n=3, **options):
    given = {"value_range": (0.0, 255.0)} | options
    return Preprocess((8, 8), "bilinear", 1.0, "center", (0.5,) * n, (0.5,) * n, **given)


def encoded(array, form="PNG"):
    file = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(file, form)
    return file.getvalue()


def deep_png():
    """A 16-bit RGB PNG, which PIL doesn't write: the depth of an 8-bit one is changed."""
    data = bytearray(encoded(np.zeros((4, 4, 3), np.uint8)))
    data[24] = 16
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def test_pictures_are_8_bits_or_16_of_grey():
    np.testing.assert_array_equal(read_values(encoded(PIXELS), stated()).values, PIXELS)
    grey = PIXELS[:, :, 0]
    np.testing.assert_array_equal(read_values(encoded(grey), stated(1)).values[:, :, 0], grey)
    found = read_values(encoded(DEEP), stated(1)).values
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[:, :, 0], DEEP)
    deep_pgm = b"P5 30 20 65535\n" + DEEP.astype(">u2").tobytes()
    np.testing.assert_array_equal(read_values(deep_pgm, stated(1)).values[:, :, 0], DEEP)


@pytest.mark.parametrize(
    "data",
    [
        deep_png(),
        b"P6 2 2 65535\n" + bytes(24),
        b"P5 2 2 4095\n" + bytes(8),
        b"P6 2 2 100\n" + bytes(12),
    ],
)
def test_values_that_pil_would_change_are_refused(data):
    with pytest.raises(ImageError, match="to another depth; save it as TIFF or"):
        read_values(data, stated())


def test_arrays_and_pil_images_in_memory():
    values = np.stack([DEEP] * 5, axis=2)
    np.testing.assert_array_equal(read_values(values, stated(5)).values, values)
    first = read_values(np.moveaxis(values, 2, 0), stated(5, layout="CHW"))
    np.testing.assert_array_equal(first.values, values)
    image = Image.fromarray(PIXELS[:, :, 0])
    np.testing.assert_array_equal(read_values(image, stated(1)).values, PIXELS[:, :, :1])
    # Its row id would be that of its 8-bit pixels.
    with pytest.raises(ImageError, match=r"mode I;16; give .*np.asarray\(image\)"):
        read_values(Image.fromarray(DEEP), stated(1))
    for wrong in (values[None], values[:0], np.array([["x"]])):
        with pytest.raises(ImageError, match="give numbers of shape"):
            read_values(wrong, stated(5))


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"", "empty file"), (b"text", "not an image"), (encoded(PIXELS)[:50], "truncated|damaged")],
)
def test_what_is_no_image_is_named(data, match):
    with pytest.raises(ImageError, match=match):
        read_values(data, stated())


def test_what_is_shown():
    plain = Preprocess((8, 8), "bilinear", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    data = encoded(PIXELS)
    np.testing.assert_array_equal(rendered(data, plain), read_rgb(data))
    shown = np.asarray(rendered(encoded(DEEP), stated(1, value_range=(0.0, 65535.0))))
    np.testing.assert_array_equal(shown[:, :, 1], np.rint(DEEP / 257))
