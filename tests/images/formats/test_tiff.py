import io
import struct
import zlib

import numpy as np
import pytest
import tifffile

from tests.images.formats.files import tiff
from transferkit.images import ImageError, size_of
from transferkit.images.formats.tiff import read, shape

VALUES = np.random.default_rng(0).integers(0, 4096, (50, 40, 5)).astype(np.uint16)
PAGES = np.moveaxis(VALUES, 2, 0)


@pytest.mark.parametrize("type_", ["u1", "u2", "f4"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "zlib"},
        {"rowsperstrip": 7},
        {"rowsperstrip": 7, "compression": "lzma"},
        {"tile": (16, 32)},
        {"tile": (16, 16), "compression": "zlib"},
    ],
)
def test_interleaved_and_planar(type_, options):
    values = VALUES.astype(type_)
    np.testing.assert_array_equal(read(tiff(values, **options), "HWC").values, values)
    planar = tiff(np.moveaxis(values, 2, 0), planarconfig="separate", **options)
    np.testing.assert_array_equal(read(planar, "HWC").values, values)
    assert shape(planar, "HWC") == (50, 40, 5)


def test_pages_are_channels_if_it_is_said():
    data = tiff(PAGES, planarconfig=None)
    np.testing.assert_array_equal(read(data, "CHW").values, VALUES)
    with pytest.raises(ImageError, match=r"5 pages; if they are channels, .*--layout CHW"):
        read(data, "HWC")
    assert size_of(data) == (50, 40)


def test_smaller_copies_are_no_channels(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(VALUES[:, :, 0], photometric="minisblack")
        file.write(VALUES[::2, ::2, 0], photometric="minisblack", subfiletype=1)
    data = (tmp_path / "x.tif").read_bytes()
    np.testing.assert_array_equal(read(data, "HWC").values, VALUES[:, :, :1])


def test_white_is_zero():
    assert read(tiff(VALUES[:, :, 0], photometric="miniswhite"), "HWC").is_inverted
    assert not read(tiff(VALUES[:, :, 0]), "HWC").is_inverted


def patched(data, code, value):
    """Change a short or long value of the first page's tag."""
    n, at = struct.unpack_from("<H", data, 8)[0], 10
    changed = bytearray(data)
    for i in range(n):
        tag, kind = struct.unpack_from("<HH", data, at + 12 * i)
        if tag == code:
            struct.pack_into("<H" if kind == 3 else "<I", changed, at + 12 * i + 8, value)
    assert bytes(changed) != data
    return bytes(changed)


ONE = tiff(VALUES[:, :, 0])
STRIPS = tiff(VALUES[:, :, 0], rowsperstrip=10, compression="zlib")


def without_a_strip():
    """The third of five strips has no place in the file, as in sparse files."""
    with tifffile.TiffFile(io.BytesIO(STRIPS)) as file:
        places = file.pages[0].tags["StripOffsets"].valueoffset
        size = file.pages[0].tags["StripOffsets"].valuebytecount // 5
    return STRIPS[: places + 2 * size] + bytes(size) + STRIPS[places + 3 * size :]


def bomb():
    """A strip that inflates to far more than the picture's bytes."""
    with tifffile.TiffFile(io.BytesIO(whole := tiff(VALUES[:, :, 0], compression="zlib"))) as file:
        tags = file.pages[0].tags
    packed = zlib.compress(bytes(10_000_000), 9)
    moved = patched(patched(whole, 273, len(whole)), 279, len(packed))
    assert tags["RowsPerStrip"].value == 50
    return moved + packed


def circle():
    """The page after the first is the first."""
    n = struct.unpack_from("<H", ONE, 8)[0]
    changed = bytearray(ONE)
    struct.pack_into("<I", changed, 10 + 12 * n, 8)
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (ONE[:-1], "truncated: the end"),
        (patched(ONE, 256, 65_000), "fewer bytes|damaged|truncated|corrupted"),
        (patched(patched(ONE, 256, 65_000), 257, 65_000), "million values, above the limit"),
        (circle(), "pages in a circle"),
        (without_a_strip(), "isn't in the file"),
        (bomb(), "holds more bytes than its pixels take"),
        (tiff(VALUES[:, :, 0], extratags=[(274, 3, 1, 6, True)]), "orientation tag"),
        (
            tiff(
                VALUES[:, :, 0].astype(np.uint8),
                photometric="palette",
                colormap=np.zeros((3, 256), np.uint16),
            ),
            "kind PALETTE",
        ),
        (tiff(VALUES[:, :, 0] * 1j), "type complex"),
        (b"II*\0" + bytes(200), "without a page"),
        (b"II*\0\xff\xff\xff\x7f", "truncated"),
    ],
)
def test_damaged_and_hostile_files_are_named(data, match):
    with pytest.raises(ImageError, match=match):
        read(data, "HWC")


def test_pages_that_differ_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(VALUES[:, :, 0], photometric="minisblack")
        file.write(VALUES[:10, :, 0], photometric="minisblack")
    with pytest.raises(ImageError, match="pages of different sizes"):
        read((tmp_path / "x.tif").read_bytes(), "CHW")


def test_a_compression_of_another_package_is_named():
    # LZW, which tifffile reads with imagecodecs; its bytes are never looked at without.
    data = patched(STRIPS, 259, 5)
    with pytest.raises(ImageError, match=r"compressed by LZW.* pip install imagecodecs|damaged"):
        read(data, "HWC")
