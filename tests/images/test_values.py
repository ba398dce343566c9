"""Values of any range and number of channels against plain numpy."""

import numpy as np
import pytest

from transferkit.images import ImageError, ImageValues, scaled_channels
from transferkit.images.values import rgb_of_values
from transferkit.spec import Preprocess

VALUES = np.random.default_rng(0).integers(0, 4096, (9, 8, 5)).astype(np.uint16)


def stated(n, **options):
    return Preprocess((8, 8), "bilinear", 1.0, "center", (0.5,) * n, (0.5,) * n, **options)


def scaled(values, preprocess, **options):
    return np.stack(list(scaled_channels(ImageValues(values, **options), preprocess)), axis=2)


@pytest.mark.parametrize("type_", ["u2", "i2", ">u2", "i4", "f4", "f8"])
def test_the_stated_range_becomes_0_to_255_and_the_rest_is_clipped(type_):
    values = VALUES.astype(type_) - np.array(100 if type_ in ("i2", "f4") else 0, type_)
    expected = 255 * np.clip((values.astype(float) - 1000) / 2000, 0, 1)
    found = scaled(values, stated(5, value_range=(1000.0, 3000.0)))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.min() == 0
    assert found.max() == 255


def test_large_integers_that_differ_by_little():
    values = 2_000_000_000 + np.arange(72, dtype=np.int64).reshape(9, 8, 1)
    found = scaled(values, stated(1, value_range=(2_000_000_000.0, 2_000_000_071.0)))
    np.testing.assert_allclose(found[:, :, 0].ravel(), np.linspace(0, 255, 72), rtol=1e-6)


def test_8_bits_need_no_range():
    pixels = (VALUES // 16).astype(np.uint8)
    np.testing.assert_array_equal(scaled(pixels, stated(5)), pixels)


def test_bands_are_chosen_in_order_from_1():
    whole = scaled(VALUES, stated(5, value_range=(0.0, 4095.0)))
    found = scaled(VALUES, stated(3, value_range=(0.0, 4095.0), bands=(3, 2, 1)))
    np.testing.assert_array_equal(found, whole[:, :, 2::-1])


def test_grey_becomes_three_channels_for_rgb():
    grey = scaled(VALUES[:, :, :1], stated(3, value_range=(0.0, 4095.0)))
    one = scaled(VALUES, stated(3, value_range=(0.0, 4095.0), bands=(1,)))
    np.testing.assert_array_equal(grey, one)
    np.testing.assert_array_equal(grey[:, :, 0], grey[:, :, 2])


@pytest.mark.parametrize(
    ("values", "preprocess", "match"),
    [
        (VALUES, stated(5), r"uint16 values from 11 to 4084 have no range.*--value-range LOW HIGH"),
        (VALUES / 4095, stated(5), "float64 values from 0.0026862 to 0.997314 .*value_range"),
        (VALUES, stated(4, value_range=(0.0, 1.0)), "5 channels .* takes 4; .*in_chans=5"),
        (
            np.moveaxis(VALUES, 2, 0),
            stated(5, value_range=(0.0, 1.0)),
            "8 channels .*takes 5; .*--layout CHW",
        ),
        (VALUES, stated(1, bands=(6,)), "5 channels, and band 6 was asked for"),
        (VALUES[:, :, :1], stated(5, value_range=(0.0, 1.0)), "1 channel .* takes 5"),
    ],
)
def test_what_isn_t_stated_is_asked_for(values, preprocess, match):
    with pytest.raises(ImageError, match=match):
        scaled(values, preprocess)


def test_pixels_that_are_no_numbers_are_counted():
    values = VALUES.astype(np.float32)
    values[2, 3, 0] = values[2, 3, 1] = np.nan
    values[4, 4, 4] = -np.inf
    with pytest.raises(ImageError, match=r"^2 of 72 pixels are NaN or infinite"):
        scaled(values, stated(5, value_range=(0.0, 4095.0)))
    # What isn't taken doesn't matter.
    scaled(values, stated(2, value_range=(0.0, 4095.0), bands=(3, 4)))


def test_what_is_shown_is_the_first_three_channels_or_the_first():
    preprocess = stated(5, value_range=(0.0, 4095.0))
    found = np.asarray(rgb_of_values(ImageValues(VALUES), preprocess))
    np.testing.assert_array_equal(found, np.rint(VALUES[:, :, :3] / 4095 * 255))
    found = np.asarray(
        rgb_of_values(ImageValues(VALUES[:, :, :2]), stated(2, value_range=(0.0, 4095.0)))
    )
    np.testing.assert_array_equal(found, np.rint(VALUES[:, :, [0, 0, 0]] / 4095 * 255))
