"""The quick way to the network's input against PIL and timm's transform."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image
from timm.data import create_transform

from transferkit.extract import pixels as module
from transferkit.extract.pixels import network_input
from transferkit.images import ImageError, prepare, read_rgb
from transferkit.spec import CROP_MODES, INTERPOLATIONS, Preprocess

HALF = (0.5, 0.5, 0.5)


def smooth(height, width, seed=0):
    """A picture with edges and gradients, as photographs have."""
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(x * (c + 1) + seed) * np.cos(y * (3 - c)) for c in range(3)]
    picture = np.stack(waves, axis=2) * 90 + 128
    picture[height // 4 : height // 2, width // 3 : width // 2] = (250, 20, 90)
    return Image.fromarray(picture.astype(np.uint8))


def encoded(image, format="JPEG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def preprocess(size=(96, 96), interpolation="bicubic", crop_pct=0.875, mode="center", **options):
    return Preprocess(size, interpolation, crop_pct, mode, HALF, HALF, **options)


def difference(found, expected):
    return np.abs(found.astype(int) - expected.astype(int))


@pytest.mark.parametrize("mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", [(300, 200), (97, 301), (60, 50)])
def test_pixels_are_timm_s(mode, interpolation, size):
    data = encoded(smooth(*size))
    wanted = preprocess(interpolation=interpolation, mode=mode)
    found, original = network_input(data, wanted)
    assert original == size
    if interpolation in ("bilinear", "bicubic", "nearest", "lanczos"):
        transform = create_transform(
            (3, 96, 96), interpolation=interpolation, crop_pct=0.875, crop_mode=mode,
            mean=HALF, std=HALF, normalize=False,
        )  # fmt: skip
        with Image.open(io.BytesIO(data)) as image:
            expected = np.asarray(transform(image)).transpose(1, 2, 0)
    else:
        expected = prepare(read_rgb(data), wanted)
    error = difference(found, expected)
    assert found.dtype == np.uint8
    assert found.shape == (96, 96, 3)
    assert error.mean() <= 0.02
    assert error.max() <= 2


@pytest.mark.parametrize(
    "data",
    [
        encoded(smooth(150, 120), "PNG"),
        encoded(smooth(150, 120).convert("L")),
        encoded(smooth(150, 120).convert("L"), "PNG"),
        encoded(smooth(150, 120).convert("CMYK")),
        encoded(smooth(150, 120), progressive=True, subsampling=0),
        encoded(smooth(150, 120).convert("P"), "PNG"),
        encoded(smooth(150, 120).convert("RGBA"), "PNG"),
        encoded(smooth(150, 120).convert("1"), "PNG"),
        encoded(smooth(150, 120), "WEBP", lossless=True),
        encoded(smooth(150, 120), "GIF"),
        encoded(Image.fromarray(np.arange(150 * 120, dtype=np.uint16).reshape(150, 120)), "PNG"),
        encoded(smooth(9, 150)),
        encoded(smooth(150, 3), "PNG"),
        encoded(smooth(96, 96)),
    ],
)
def test_every_kind_of_file_gives_pil_s_pixels(data):
    wanted = preprocess(crop_pct=1.0)
    error = difference(network_input(data, wanted)[0], prepare(read_rgb(data), wanted))
    assert error.mean() <= 0.02
    assert error.max() <= 2


def test_plain_jpegs_do_go_the_quick_way(monkeypatch):
    if module._decoder() is None:
        pytest.skip("torchvision's binary has no decoder")
    wanted, calls = preprocess(), []

    def slow(*args, **options):
        calls.append(1)
        return read_rgb(*args, **options)

    monkeypatch.setattr(module, "read_rgb", slow)
    network_input(encoded(smooth(150, 120)), wanted)
    network_input(encoded(smooth(150, 120), "PNG"), wanted)
    assert calls == []
    network_input(encoded(smooth(150, 120), "WEBP"), wanted)
    assert calls == [1]


def test_without_torchvision_s_decoder(monkeypatch):
    data, wanted = encoded(smooth(150, 120)), preprocess()
    expected = network_input(data, wanted)[0]
    monkeypatch.setattr(module, "_decoder", lambda: None)
    np.testing.assert_array_equal(network_input(data, wanted)[0], expected)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("decode", ["exact", "scaled"])
def test_exif_only_when_asked(orientation, decode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth(150, 120), exif=exif)
    for apply in (False, True):
        wanted = preprocess(decode=decode, exif=apply)
        found, size = network_input(data, wanted)
        image = read_rgb(data, exif=apply)
        assert size == (image.height, image.width)
        assert difference(found, prepare(image, wanted)).mean() <= 0.02


def outcome(call):
    """Pixels, or the reason why there are none."""
    try:
        return call(), ""
    except ImageError as error:
        return None, str(error)


def test_damaged_files_are_what_pil_says(tmp_path):
    good = bytearray(encoded(smooth(150, 120)))
    rng = np.random.default_rng(0)
    n_errors = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's own, on damaged metadata
        for _ in range(60):
            data = bytearray(good)
            for at in rng.integers(2, len(data), 3):
                data[at] = rng.integers(256)
            data = bytes(data[: rng.integers(100, len(data))] if rng.random() < 0.3 else data)
            expected, reason = outcome(lambda data=data: prepare(read_rgb(data), preprocess()))
            found, found_reason = outcome(lambda data=data: network_input(data, preprocess())[0])
            assert found_reason == reason
            n_errors += bool(reason)
            assert reason or difference(found, expected).mean() <= 0.02
    assert 10 < n_errors < 50


@pytest.mark.parametrize("data", [b"", b"no image", encoded(smooth(90, 90))[:400]])
@pytest.mark.parametrize("decode", ["exact", "scaled"])
def test_no_images(data, decode):
    with pytest.raises(ImageError) as expected:
        read_rgb(data)
    with pytest.raises(ImageError) as caught:
        network_input(data, preprocess(decode=decode))
    assert str(caught.value) == str(expected.value)


def test_scaled_decoding_is_near_and_only_for_large_jpegs(monkeypatch):
    large, small = encoded(smooth(1600, 1200)), encoded(smooth(200, 180))
    exact, scaled = preprocess(), preprocess(decode="scaled")
    sizes = []
    original = module._resize
    monkeypatch.setattr(
        module, "_resize", lambda p, *rest: sizes.append(p.shape[:2]) or original(p, *rest)
    )
    error = difference(network_input(large, scaled)[0], network_input(large, exact)[0])
    assert 0 < error.mean() < 1
    assert sizes == [(400, 300), (1600, 1200)]
    assert network_input(large, scaled)[1] == (1600, 1200)
    np.testing.assert_array_equal(network_input(small, scaled)[0], network_input(small, exact)[0])
    png = encoded(smooth(800, 800), "PNG")
    np.testing.assert_array_equal(network_input(png, scaled)[0], network_input(png, exact)[0])


def test_images_in_memory():
    image = smooth(150, 120)
    wanted = preprocess()
    expected = prepare(image, wanted)
    for source in (image, np.asarray(image)):
        found, size = network_input(source, wanted)
        assert size == (150, 120)
        assert difference(found, expected).mean() <= 0.02
