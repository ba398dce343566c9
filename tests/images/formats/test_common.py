"""Every format that isn't PIL's alone: one file of ``formats/``, found by being there."""

import builtins
import contextlib
from pathlib import Path

import numpy as np
import pytest

from tests.images.formats.files import MAKERS
from tests.pictures import picture
from transferkit import registry
from transferkit.extract.pixels import network_input
from transferkit.images import (
    EXTENSIONS,
    ImageError,
    formats,
    list_images,
    read_rgb,
    read_values,
    size_of,
)
from transferkit.spec import Preprocess

PIXELS = picture(3, (40, 30))
STATED = Preprocess(
    (30, 30), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3, value_range=(0.0, 255.0)
)


@pytest.fixture(params=registry.names("transferkit.images.formats"))
def name(request):
    return request.param


@pytest.fixture
def data(name):
    return MAKERS[name](PIXELS)


@pytest.fixture
def form(name):
    return registry.load("transferkit.images.formats", name, "image format")


def test_every_file_is_a_subject():
    files = Path(formats.__file__).parent.glob("[!_]*.py")
    assert sorted(path.stem for path in files) == sorted(MAKERS)


def test_it_knows_its_own_files(form, data):
    assert formats.format_of(data[:132]) is form
    assert [one for one in MAKERS if formats.format_of(MAKERS[one](PIXELS)) is form] == [
        form.__name__.rpartition(".")[2]
    ]
    assert set(form.SUFFIXES) <= set(EXTENSIONS)
    assert form.shape(data, "HWC") == (40, 30, 3)


def test_8_bit_rgb_is_an_image_like_any_other(data, form, tmp_path):
    np.testing.assert_array_equal(np.asarray(read_rgb(data)), PIXELS)
    file = tmp_path / f"x{form.SUFFIXES[0]}"
    file.write_bytes(data)
    images = list_images(tmp_path)
    assert images.names == (file.name,)
    assert size_of(file) == size_of(data) == (40, 30)
    np.testing.assert_array_equal(np.asarray(read_rgb(file)), PIXELS)


def test_its_values_are_those_of_the_array(data):
    np.testing.assert_array_equal(read_values(data, STATED).values, PIXELS)


def test_the_network_s_input_is_that_of_8_bits_within_rounding(data):
    plain = Preprocess((30, 30), "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    found, size = network_input(data, STATED)
    expected, _ = network_input(data, plain)
    assert (found.dtype, expected.dtype) == (np.float32, np.uint8)
    assert size == (40, 30)
    assert np.abs(found - expected.astype(np.float32)).max() <= 1
    assert np.abs(found - expected.astype(np.float32)).mean() <= 0.4


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.999])
def test_a_truncated_file_is_named(data, share):
    with pytest.raises(ImageError):
        read_values(data[: int(share * len(data))], STATED)


def test_damaged_headers_are_named_or_read(data):
    # Whatever stands in a header: an error of the one type, or values of an image.
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data)
        for at in rng.integers(6, len(data) - len(PIXELS.tobytes()), size=3):
            damaged[at] = rng.integers(256)
        with contextlib.suppress(ImageError):
            assert read_values(bytes(damaged), STATED).values.ndim == 3
        with contextlib.suppress(ImageError):
            assert min(size_of(bytes(damaged))) > 0


def test_without_its_library_a_sentence_tells_what_to_install(name, data, monkeypatch):
    library = {"tiff": "tifffile", "dicom": "pydicom"}.get(name)
    if library is None:
        pytest.skip("needs none")
    real = builtins.__import__

    def without(module, *others, **options):
        if module.partition(".")[0] == library:
            raise ImportError(module)
        return real(module, *others, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImageError, match=rf"pip install 'transferkit\[{name}\]'"):
        read_values(data, STATED)
