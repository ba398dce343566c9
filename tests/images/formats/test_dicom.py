import io

import numpy as np
import pydicom
import pytest

from tests.images.formats.files import dicom
from transferkit.images import ImageError, read_rgb, scaled_channels, size_of
from transferkit.images.formats.dicom import read
from transferkit.spec import Preprocess

VALUES = np.random.default_rng(0).integers(0, 4096, (30, 20)).astype(np.uint16)


def stated(**options):
    return Preprocess((20, 20), "bilinear", 1.0, "center", (0.5,), (0.5,), **options)


def test_values_are_rescaled():
    data = dicom(VALUES, RescaleSlope="2", RescaleIntercept="-1024")
    np.testing.assert_array_equal(read(data, "HWC").values[:, :, 0], VALUES * 2.0 - 1024)
    np.testing.assert_array_equal(read(dicom(VALUES), "HWC").values[:, :, 0], VALUES)
    signed = (VALUES.astype(int) - 2000).astype(np.int16)
    np.testing.assert_array_equal(read(dicom(signed), "HWC").values[:, :, 0], signed)
    assert size_of(data) == (30, 20)


# PS3.3 C.11.2.1.2: of a linear window of width w and centre c, the lowest value is
# c - 0.5 - (w - 1) / 2 and the highest c - 0.5 + (w - 1) / 2; an exact one is c ± w / 2.
@pytest.mark.parametrize(
    ("tags", "low", "high"),
    [
        ({}, 1000, 2999),
        ({"VOILUTFunction": "LINEAR_EXACT"}, 1000, 3000),
        ({"WindowCenter": ["2000", "9"], "WindowWidth": ["2000", "2"]}, 1000, 2999),
    ],
)
def test_the_file_s_own_window(tags, low, high):
    data = dicom(VALUES, **{"WindowCenter": "2000", "WindowWidth": "2000"} | tags)
    image = read(data, "HWC")
    assert image.window == (low, high)
    (found,) = scaled_channels(image, stated(window=True))
    expected = 255 * ((VALUES - float(low)) / (high - low)).clip(0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    # A range that is given is taken instead.
    (found,) = scaled_channels(image, stated(value_range=(0.0, 4095.0)))
    np.testing.assert_allclose(found, VALUES / 4095 * 255, atol=1e-3)


@pytest.mark.parametrize("tags", [{}, {"WindowCenter": "5", "WindowWidth": "1"}])
def test_without_a_window_a_sentence_says_so(tags):
    with pytest.raises(ImageError, match=r"no window in the file.*--value-range LOW HIGH"):
        list(scaled_channels(read(dicom(VALUES, **tags), "HWC"), stated(window=True)))


def test_a_curved_window_is_no_range():
    tags = {"WindowCenter": "5", "WindowWidth": "9", "VOILUTFunction": "SIGMOID"}
    assert read(dicom(VALUES, **tags), "HWC").window is None


def test_monochrome1_is_inverted():
    (plain,) = scaled_channels(read(dicom(VALUES), "HWC"), stated(value_range=(0.0, 4095.0)))
    inverted = read(dicom(VALUES, kind="MONOCHROME1"), "HWC")
    (found,) = scaled_channels(inverted, stated(value_range=(0.0, 4095.0)))
    np.testing.assert_allclose(found, 255 - plain, atol=1e-4)
    grey = (VALUES // 16).astype(np.uint8)
    shown = np.asarray(read_rgb(dicom(grey, kind="MONOCHROME1")))
    np.testing.assert_array_equal(shown, np.repeat(255 - grey[:, :, None], 3, axis=2))


def test_frames_are_channels_if_it_is_said():
    frames = np.stack([VALUES, VALUES // 2], axis=2)
    np.testing.assert_array_equal(read(dicom(frames), "CHW").values, frames)
    with pytest.raises(ImageError, match=r"2 frames; .*--layout CHW"):
        read(dicom(frames), "HWC")


def deflated():
    data = dicom(VALUES)
    made = pydicom.dcmread(io.BytesIO(data))
    made.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


def encapsulated():
    """JPEG-LS by its header; the bytes are none."""
    made = pydicom.dcmread(io.BytesIO(dicom(VALUES)))
    made.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    made.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 no codestream "])
    file = io.BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (deflated(), "deflated as a whole"),
        (encapsulated(), "compressed as JPEG-LS.* pip install pylibjpeg"),
        (dicom(VALUES, Rows=60_000, Columns=60_000), "million values, above the limit"),
        (dicom(VALUES, Rows=31), "truncated: fewer bytes"),
        (dicom(VALUES, Rows=0), "no pixels"),
        (dicom(VALUES, kind="PALETTE COLOR"), "kind PALETTE COLOR"),
        (bytes(128) + b"DICM", "without an image"),
    ],
)
def test_damaged_and_hostile_files_are_named(data, match):
    with pytest.raises(ImageError, match=match):
        read(data, "HWC")
