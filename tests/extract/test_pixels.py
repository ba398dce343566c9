"""The quick way to the network's input against PIL and timm's transform."""

import contextlib
import dataclasses
import io
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from transferkit.extract import pixels as module
from transferkit.extract.decoding import decode
from transferkit.extract.pixels import network_input
from transferkit.images import FORMATS, ImageError, ImageSet, prepare, read_rgb, resized_size
from transferkit.images.geometry import corner
from transferkit.spec import CROP_MODES, INTERPOLATIONS, Preprocess

ROOT = Path(__file__).parents[2]
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
    network_input(encoded(smooth(150, 120).convert("L")), wanted)
    assert calls == []
    network_input(encoded(smooth(150, 120), "WEBP"), wanted)
    assert calls == [1]
    # torchvision's PNG decoder ends the process on a damaged file.
    network_input(encoded(smooth(150, 120), "PNG"), wanted)
    assert calls == [1, 1]


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


@pytest.mark.parametrize("decode", ["exact", "scaled"])
@pytest.mark.parametrize("exif", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_that_is_turned(orientation, exif, decode):
    """The same as the upright picture that it shows, without a tag: PIL itself turns a TIFF."""
    upright = smooth(300, 120)
    file = io.BytesIO()
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # from upright to how the file holds it
    turned = upright.transpose(turns[orientation]) if orientation > 1 else upright
    turned.save(file, "TIFF", tiffinfo={274: orientation})
    wanted = preprocess((64, 64), mode="squash", crop_pct=1.0, decode=decode, exif=exif)
    found, size = network_input(file.getvalue(), wanted)
    expected, _ = network_input(encoded(upright, "PNG"), wanted)
    assert size == (300, 120)
    np.testing.assert_array_equal(found, expected)


def test_images_in_memory():
    image = smooth(150, 120)
    wanted = preprocess()
    expected = prepare(image, wanted)
    for source in (image, np.asarray(image)):
        found, size = network_input(source, wanted)
        assert size == (150, 120)
        assert difference(found, expected).mean() <= 0.02


@pytest.mark.parametrize("size", [(150, 120), (96, 96)])  # the second is not resized
def test_pixels_may_be_written_to(size):
    whole = preprocess(crop_pct=1.0)
    array = np.array(smooth(*size))
    array.flags.writeable = False
    for source in (*(encoded(smooth(*size), kind) for kind in ("JPEG", "PNG")), array):
        network_input(source, whole)[0][:] = 0
    assert array.any()


@pytest.mark.parametrize("exif", [False, True])
def test_what_is_too_long_and_thin(monkeypatch, exif):
    data = encoded(Image.new("L", (200_000, 1)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    if not exif:  # it is known before it is decoded
        monkeypatch.setattr(module, "read_rgb", None)
    with pytest.raises(ImageError, match="200000 × 1 pixels are too long and thin"):
        network_input(data, preprocess(exif=exif))


def exif_orientation(kind, count, value):
    """EXIF data of one tag, the orientation, of any type: PIL writes whole numbers only."""
    return b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, 0x0112, kind, count, value, 0)


@pytest.mark.parametrize("decode", ["exact", "scaled"])
@pytest.mark.parametrize(
    "exif",
    [
        exif_orientation(2, 2, b"6\0"),  # a text
        exif_orientation(2, 4, b"top\0"),
        exif_orientation(3, 1, struct.pack("<H", 0)),
        exif_orientation(3, 1, struct.pack("<H", 9)),
        exif_orientation(3, 2, struct.pack("<HH", 6, 6)),
        exif_orientation(11, 1, struct.pack("<f", 6)),
        exif_orientation(5, 1, struct.pack("<I", 10**9)),  # a ratio beyond the end
        exif_orientation(99, 1, b"1234"),
        b"Exif\0\0II*\0\xff\xff\xff\xff",
    ],
)
def test_an_orientation_that_is_none(decode, exif):
    data = encoded(smooth(1600, 1200), exif=exif)
    wanted = preprocess(decode=decode, exif=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PIL's own, on damaged metadata
        turned, reason = outcome(lambda: read_rgb(data, exif=True))
        found, found_reason = outcome(lambda: network_input(data, wanted))
    assert found_reason == reason
    if turned is not None:
        assert difference(found[0], prepare(turned, wanted)).mean() < 1
        assert found[1] == turned.size[::-1]


@pytest.mark.parametrize("decode", ["exact", "scaled"])
@pytest.mark.parametrize("exif", [False, True])
def test_a_broken_chunk_of_a_png(decode, exif):
    data = encoded(smooth(90, 90), "PNG")
    chunk = b"\x00\x00\x00\x04eXIf\x00\x01\x02\x03" + b"\x00" * 4  # its checksum is wrong
    broken = data[:-12] + chunk + data[-12:]
    wanted = preprocess(decode=decode, exif=exif)
    _, reason = outcome(lambda: read_rgb(broken, exif=exif))
    assert outcome(lambda: network_input(broken, wanted))[1] == reason


def test_the_filters_of_warnings_are_left_alone():
    """They are the whole process's, and images are decoded in several threads."""
    files = [encoded(smooth(150, 120), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP")] * 25
    before = list(warnings.filters)
    version = warnings._filters_version if hasattr(warnings, "_filters_version") else None
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda data: network_input(data, preprocess()), files))
    assert warnings.filters == before
    if version is not None:
        assert warnings._filters_version == version


def test_too_little_memory_is_the_image_s_failure(monkeypatch):
    def exhausted(*args, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(torch.nn.functional, "interpolate", exhausted)
    images = ImageSet((encoded(smooth(150, 120)),), ("a",))
    assert decode(images, 0, preprocess()).reason == "not enough memory to decode it"


MUTATIONS = """
import random, sys
from tests.extract.test_pixels import encoded, preprocess, smooth
from transferkit.extract.pixels import network_input
from transferkit.images import ImageError

def outcomes(kind, n):
    whole = encoded(smooth(60, 50), kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    for i in range(n):
        data = bytearray(whole)
        for _ in range(random.choice((1, 1, 2, 8))):
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
        if i % 10 == 0:
            del data[random.randrange(len(data)):]
        wanted = preprocess(decode=random.choice(("exact", "scaled")), exif=random.random() < 0.5)
        try:
            pixels, size = network_input(bytes(data), wanted)
        except ImageError as error:
            assert str(error) and len(str(error).splitlines()) == 1, repr(error)
            yield "refused"
        else:
            assert pixels.shape == (96, 96, 3) and pixels.dtype == "uint8"
            yield "read"

for kind in sys.argv[1:]:
    random.seed(kind)
    found = list(outcomes(kind, 300))
    print(kind, found.count("read"), found.count("refused"), flush=True)
"""


@pytest.mark.kills
def test_flipped_bits_never_end_the_process():
    command = [sys.executable, "-W", "ignore", "-c", MUTATIONS, *FORMATS]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [kind for kind, _, _ in lines] == list(FORMATS)
    for kind, n_read, n_refused in lines:
        assert int(n_read) + int(n_refused) == 300
        assert int(n_refused) > 0 or kind in ("BMP", "PPM")


def npy(values):
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


@pytest.mark.parametrize("mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(150, 200), (60, 50)])
def test_channels_are_resized_as_torch_does_it(mode, interpolation, size):
    values = np.random.default_rng(0).integers(0, 4096, (*size, 5)).astype(np.uint16)
    mean = (0.1, 0.3, 0.5, 0.7, 0.9)
    wanted = Preprocess(
        (64, 80), interpolation, 0.9, mode, mean, (0.2,) * 5, value_range=(500.0, 4000.0)
    )
    found, original = network_input(npy(values), wanted)
    assert original == size
    assert (found.shape, found.dtype) == ((64, 80, 5), np.float32)
    scaled = 255 * ((values.astype(np.float64) - 500) / 3500).clip(0, 1)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(scaled.transpose(2, 0, 1))[None], resized_size(size, wanted),
        mode=interpolation, antialias=True,
    )[0].clamp(0, 255).numpy().transpose(1, 2, 0)  # fmt: skip
    fill = [255 * m for m in mean] if mode == "border" else [0.0] * 5
    expected = np.empty((64, 80, 5))
    expected[:] = fill
    top, left = corner(resized.shape[:2], (64, 80))
    for y in range(64):
        for x in range(80):
            if 0 <= y - top < resized.shape[0] and 0 <= x - left < resized.shape[1]:
                expected[y, x] = resized[y - top, x - left]
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_8_bits_with_their_range_are_the_usual_pixels_within_rounding(interpolation):
    data = encoded(smooth(150, 120), "PNG")
    plain = preprocess(interpolation=interpolation)
    usual = network_input(data, plain)[0].astype(np.float32)
    found = network_input(data, dataclasses.replace(plain, value_range=(0.0, 255.0)))[0]
    # Where a filter overshoots, 8-bit pixels are cut off between rows and columns too.
    assert (np.abs(found - usual) <= 1.1).mean() > 0.99
    assert np.abs(found - usual).mean() <= 0.35


def test_values_are_read_within_the_budget(monkeypatch):
    claims = []

    class Budget:
        def claim(self, n_pixels):
            claims.append(n_pixels)
            return contextlib.nullcontext()

    monkeypatch.setattr(module, "_BUDGET", Budget())
    wanted = Preprocess((32, 32), "bilinear", 1.0, "center", (0.5,) * 20, (0.5,) * 20)
    network_input(npy(np.zeros((40, 50, 20), np.uint8)), wanted)
    # More than its 40,000 values take, at 26 bytes for a pixel.
    assert claims == [40 * 50 * 13]
