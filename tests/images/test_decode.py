import contextlib
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile
from timm.data import create_transform

from transferkit.images import ImageError, crop_fraction, prepare, read_rgb, upscale_factor
from transferkit.spec import CROP_MODES, INTERPOLATIONS, Preprocess

HALF = (0.5, 0.5, 0.5)
IMAGENET = (0.485, 0.456, 0.406)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height=48, width=64):
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (x + y) % 256], -1).astype(np.uint8)


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(source, **options):
    image = read_rgb(source, **options)
    assert image.mode == "RGB"
    array = np.asarray(image)
    assert array.dtype == np.uint8
    assert array.shape == (image.height, image.width, 3)
    return array


def png(width, height, *, depth=8, colour=0, rows=b"", extra=b""):
    """A PNG made by hand: what PIL doesn't write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + (chunk(b"tRNS", extra) if extra else b"")
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# --- kinds of images -------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM", "TIFF", "WEBP"])
def test_lossless_formats_give_the_pixels(tmp_path, format):
    path = tmp_path / "x"  # the name says nothing: the bytes decide
    path.write_bytes(encoded(Image.fromarray(noise(7, 5)), format, lossless=True))
    assert (pixels(path) == noise(7, 5)).all()
    assert (pixels(str(path)) == noise(7, 5)).all()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_is_pil_s(tmp_path, options):
    path = tmp_path / "x.jpg"
    Image.fromarray(smooth()).save(path, **options)
    with Image.open(path) as theirs:
        assert (pixels(path) == np.asarray(theirs)).all()


@pytest.mark.parametrize("mode", ["1", "L"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_grey_is_repeated(tmp_path, mode, format):
    grey = Image.fromarray(noise(9, 8)[:, :, 0]).convert(mode)
    (tmp_path / "x").write_bytes(encoded(grey, format))
    expected = np.asarray(grey.convert("L"))
    assert (pixels(tmp_path / "x") == expected[:, :, None]).all()


def test_hidden_colours_do_not_show(tmp_path):
    colours = noise(6, 6)
    alpha = np.full((6, 6), 255, np.uint8)
    alpha[:3] = 0
    image = Image.fromarray(np.dstack([colours, alpha]))
    for format in ("PNG", "TIFF"):
        (tmp_path / "x").write_bytes(encoded(image, format))
        assert (pixels(tmp_path / "x")[:3] == 255).all()
        assert (pixels(tmp_path / "x")[3:] == colours[3:]).all()


def test_half_transparent_lies_between_colour_and_white():
    image = Image.new("RGBA", (2, 2), (100, 0, 200, 128))
    assert np.abs(pixels(image)[0, 0].astype(int) - [177, 127, 227]).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBa", "RGBA"])
def test_every_mode_with_alpha(mode):
    grey = np.full((4, 4), 100, np.uint8)
    alpha = np.array([[0, 255]] * 4, np.uint8).repeat(2, axis=1)
    base = Image.fromarray(np.dstack([grey, grey, grey, alpha]))
    if mode in ("La", "LA"):
        image = base.convert("LA").convert(mode)
    elif mode == "PA":
        image = Image.merge("PA", (Image.new("P", (4, 4), 100), base.getchannel("A")))
        image.putpalette([i for i in range(256) for _ in range(3)])
    else:
        image = base.convert(mode)
    assert image.mode == mode
    assert (pixels(image) == np.where(alpha == 0, 255, 100)[:, :, None]).all()


@pytest.mark.parametrize(
    ("format", "transparency"), [("PNG", 2), ("PNG", bytes([255, 255, 0, 255])), ("GIF", 2)]
)
def test_palette_with_transparency(tmp_path, format, transparency):
    image = Image.new("P", (4, 1))
    image.putdata([0, 1, 2, 3])
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    (tmp_path / "x").write_bytes(encoded(image, format, transparency=transparency))
    expected = [[10, 20, 30], [40, 50, 60], [255, 255, 255], [100, 110, 120]]
    assert pixels(tmp_path / "x").tolist() == [expected]


def test_transparent_colour_of_grey_and_rgb_png(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(png(3, 1, rows=b"\0" + bytes([0, 7, 9]), extra=struct.pack(">H", 7)))
    assert pixels(path)[0, :, 0].tolist() == [0, 255, 9]
    rows = b"\0" + bytes([1, 2, 3, 4, 5, 6])
    path.write_bytes(png(2, 1, colour=2, rows=rows, extra=struct.pack(">HHH", 4, 5, 6)))
    assert pixels(path).tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_16_bit_grey_uses_the_full_range(tmp_path):
    values = np.array([[0, 1, 128, 129, 255, 256, 4095, 32767, 32768, 65406, 65407, 65535]], ">u2")
    expected = np.floor(values / 65535 * 255 + 0.5)
    path = tmp_path / "x"
    path.write_bytes(png(12, 1, depth=16, rows=b"\0" + values.tobytes()))
    assert (pixels(path)[:, :, 0] == expected).all()
    path.write_bytes(b"P5 12 1 65535\n" + values.tobytes())
    assert (pixels(path)[:, :, 0] == expected).all()
    Image.fromarray(values.astype("<u2")).save(path, "TIFF")
    assert (pixels(path)[:, :, 0] == expected).all()
    big_endian = Image.frombytes("I;16B", (12, 1), values.tobytes())
    assert (pixels(big_endian)[:, :, 0] == expected).all()
    path.write_bytes(png(12, 1, depth=16, rows=b"\0" + values.tobytes(), extra=b"\x0f\xff"))
    expected[0, 6] = 255
    assert (pixels(path)[:, :, 0] == expected).all()


def test_16_bit_rgb_png_gives_the_high_byte(tmp_path):
    values = np.array([[0x1234, 0xFFFF, 0x00FF]], ">u2")
    (tmp_path / "x.png").write_bytes(png(1, 1, depth=16, colour=2, rows=b"\0" + values.tobytes()))
    assert pixels(tmp_path / "x.png").tolist() == [[[0x12, 0xFF, 0x00]]]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_has_no_range(tmp_path, dtype):
    Image.fromarray(np.ones((3, 3), dtype)).save(tmp_path / "x.tif")
    with pytest.raises(ImageError, match=r"from 1 to 1 have no fixed range; say .* value_range"):
        read_rgb(tmp_path / "x.tif")


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_colour_spaces_come_back_as_rgb(mode):
    rgb = Image.fromarray(smooth())
    error = np.abs(pixels(rgb.convert(mode)).astype(int) - smooth())
    assert error.mean() < 3


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_file(tmp_path, format):
    cmyk = Image.fromarray(smooth()).convert("CMYK")
    (tmp_path / "x").write_bytes(encoded(cmyk, format))
    assert np.abs(pixels(tmp_path / "x").astype(int) - smooth()).mean() < 6


@pytest.mark.parametrize("format", ["GIF", "TIFF", "WEBP", "PNG", "MPO"])
def test_first_frame(tmp_path, format):
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    options = {"save_all": True, "append_images": [second]}
    (tmp_path / "x").write_bytes(encoded(first, format, **options))
    assert np.abs(pixels(tmp_path / "x").astype(int) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_only_when_asked(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(smooth(8, 16)).save(tmp_path / "x.png", exif=exif)
    assert (pixels(tmp_path / "x.png") == smooth(8, 16)).all()
    upright = pixels(tmp_path / "x.png", exif=True)
    s = smooth(8, 16)
    turned = [s, s[:, ::-1], s[::-1, ::-1], s[::-1], np.swapaxes(s, 0, 1)]
    turned += [np.rot90(s, -1), np.swapaxes(s[::-1, ::-1], 0, 1), np.rot90(s)]
    assert np.array_equal(upright, turned[orientation - 1])


def test_exif_of_16_bit_grey(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    Image.fromarray(grey).save(tmp_path / "x.png", exif=exif)
    upright = pixels(tmp_path / "x.png", exif=True)[:, :, 0]
    assert (upright == np.rot90(np.round(grey / 257), -1)).all()


def test_images_and_arrays_in_memory():
    array = noise(5, 4)
    image = Image.fromarray(array)
    assert (pixels(image) == array).all()
    assert (pixels(array) == array).all()
    assert (pixels(array[::-1, ::2]) == array[::-1, ::2]).all()
    assert (pixels(array[:, :, 0]) == array[:, :, :1]).all()
    assert (pixels(array[:, :, :1]) == array[:, :, :1]).all()
    assert image.size == (4, 5)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3)), "dtype float64; give uint8"),
        (np.zeros((4, 4, 3), np.uint16), "dtype uint16; give uint8"),
        (np.zeros((4, 4, 4), np.uint8), r"shape \(4, 4, 4\); give"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
    ],
)
def test_wrong_arrays(array, message):
    with pytest.raises(ImageError, match=message):
        read_rgb(array)


def test_image_without_pixels():
    with pytest.raises(ImageError, match="no pixels"):
        read_rgb(Image.new("RGB", (0, 5)))


# --- bad files -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"^empty file \(0 bytes\)$"),
        (b"just text\n", "^not an image"),
        (b"\xff\xd8\xff", "^not an image|^damaged|^truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "^not an image"),
        (b"GIF89a", "^not an image"),
    ],
)
def test_no_images(tmp_path, content, reason):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=reason):
        read_rgb(tmp_path / "x.jpg")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r"^no such file$"):
        read_rgb(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="can't be read"):
        read_rgb(tmp_path)


def test_jpeg_with_nothing_but_a_header(tmp_path):
    data = encoded(Image.fromarray(noise(32, 32)), "JPEG")
    (tmp_path / "x.jpg").write_bytes(data[: data.index(b"\xff\xda") + 14])
    with pytest.raises(ImageError, match=r"^truncated: "):
        read_rgb(tmp_path / "x.jpg")


FORMATS = {
    "JPEG": {},
    "progressive": {"format": "JPEG", "progressive": True},
    "PNG": {},
    "GIF": {},
    "BMP": {},
    "PPM": {},
    "TIFF": {},
    "deflate": {"format": "TIFF", "compression": "tiff_deflate"},
    "WEBP": {"quality": 80},
    "lossless": {"format": "WEBP", "lossless": True},
}


@pytest.mark.parametrize("kind", FORMATS)
# Plugins warn of damaged metadata; here that is to be no error of its own.
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_truncated_is_an_error_or_complete(tmp_path, kind):
    options = {"format": kind} | FORMATS[kind]
    data = encoded(Image.fromarray(noise(40, 60)), **options)
    path = tmp_path / "x"
    path.write_bytes(data)
    whole = pixels(path)
    rng = np.random.default_rng(0)
    n_errors = 0
    for length in [len(data) // 2, len(data) - 1, *rng.integers(1, len(data), 60)]:
        path.write_bytes(data[:length])
        try:
            cut = pixels(path)
        except ImageError:
            n_errors += 1
        else:
            assert (cut == whole).all()
    assert n_errors > 50


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_any_bytes_give_an_image_or_an_image_error(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    options = {"format": kind} | FORMATS[kind]
    data = encoded(Image.fromarray(noise(20, 20)), **options)
    path = tmp_path / "x"
    rng = np.random.default_rng(1)
    for trial in range(120):
        damaged = bytearray(data)
        if trial % 4 == 0:
            damaged[16:] = rng.bytes(len(data))
        else:
            last = 200 if trial % 2 else len(data)
            for at in rng.integers(2, min(last, len(data)), 4):
                damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(ImageError):
            pixels(path, exif=bool(trial % 3))


def test_decompression_bomb(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(png(20_000, 10_000))
    with pytest.raises(ImageError, match=r"^200\.0 megapixels, above the limit of 179 "):
        read_rgb(tmp_path / "x.png")
    rows = (b"\0" + bytes(100)) * 100
    (tmp_path / "y.png").write_bytes(png(100, 100, rows=rows))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)
    with pytest.raises(ImageError, match="above the limit"):
        read_rgb(tmp_path / "y.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6_000)
    with pytest.warns(Image.DecompressionBombWarning):
        assert not pixels(tmp_path / "y.png").any()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="above the limit"):
            read_rgb(tmp_path / "y.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert not pixels(tmp_path / "y.png").any()


def test_reading_truncated_files_as_half_images_is_refused(tmp_path, monkeypatch):
    Image.fromarray(noise(8, 8)).save(tmp_path / "x.png")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(RuntimeError, match=r"LOAD_TRUNCATED_IMAGES is True.*set it to False"):
        read_rgb(tmp_path / "x.png")
    assert (pixels(noise(8, 8)) == noise(8, 8)).all()


def test_file_may_change_after_it_was_read(tmp_path):
    path = tmp_path / "x.bmp"
    Image.fromarray(noise(8, 8)).save(path)
    image = read_rgb(path)
    path.write_bytes(b"")
    path.unlink()
    assert (np.asarray(image) == noise(8, 8)).all()


def test_threads_decode_the_same(tmp_path):
    for i in range(8):
        Image.fromarray(noise(64, 64, i)).save(tmp_path / f"{i}.jpg")
    paths = sorted(tmp_path.glob("*.jpg")) * 4
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(pixels, paths))
    assert all((a == pixels(p)).all() for a, p in zip(together, paths, strict=True))


# --- geometry --------------------------------------------------------------------------------


def timm_pixels(image, preprocess):
    transform = create_transform(
        input_size=(3, *preprocess.image_size),
        interpolation=preprocess.interpolation,
        crop_pct=preprocess.crop_pct,
        crop_mode=preprocess.crop_mode,
        mean=preprocess.mean,
        std=preprocess.std,
        normalize=False,
    )
    return transform(image).permute(1, 2, 0).numpy()


def sizes(n, seed):
    """Random sizes, half of them long and thin; and those where rounding is delicate."""
    rng = np.random.default_rng(seed)
    fixed = [(1, 1), (1, 2), (2, 1), (1, 40), (40, 1), (32, 32), (31, 33), (36, 37), (256, 256)]
    close = [tuple(rng.integers(24, 60, 2)) for _ in range(n)]
    far = [tuple(np.exp(rng.uniform(0, 5.5, 2)).astype(int)) for _ in range(n)]
    return [(int(h), int(w)) for h, w in fixed + close + far]


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("target", [(32, 32), (33, 33), (24, 40), (41, 23), (1, 1), (1, 7)])
def test_every_pixel_is_timm_s(crop_mode, target):
    n_compared = 0
    for i, (height, width) in enumerate(sizes(20, sum(target))):
        crop_pct = (0.8, 0.875, 0.9, 0.95, 0.965, 1.0)[i % 6]
        interpolation = INTERPOLATIONS[i % len(INTERPOLATIONS)]
        preprocess = Preprocess(target, interpolation, crop_pct, crop_mode, IMAGENET, HALF)
        image = Image.fromarray(noise(height, width, i))
        try:
            theirs = timm_pixels(image, preprocess)
        except ValueError:  # the shorter side rounds to nothing
            assert crop_mode == "border"
            assert prepare(image, preprocess).shape == (*target, 3)
            continue
        ours = prepare(image, preprocess)
        assert ours.dtype == np.uint8
        assert np.array_equal(ours, theirs), (height, width, preprocess)
        n_compared += 1
    assert n_compared > 25


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("size", [(480, 640), (641, 427), (224, 224), (100, 75), (1000, 90)])
def test_common_sizes_are_timm_s_too(crop_mode, size):
    image = Image.fromarray(noise(*size))
    for side, crop_pct in ((224, 0.875), (224, 0.9), (240, 1.0), (288, 0.95)):
        preprocess = Preprocess((side, side), "bicubic", crop_pct, crop_mode, IMAGENET, HALF)
        assert np.array_equal(prepare(image, preprocess), timm_pixels(image, preprocess))


def test_result_belongs_to_the_caller():
    preprocess = Preprocess((8, 8), "bicubic", 1.0, "center", HALF, HALF)
    image = Image.fromarray(noise(8, 8))
    result = prepare(image, preprocess)
    result[:] = 0
    assert result.flags.c_contiguous
    assert (np.asarray(image) == noise(8, 8)).all()


def test_too_long_and_thin():
    preprocess = Preprocess((224, 224), "bicubic", 0.875, "center", HALF, HALF)
    with pytest.raises(ImageError, match="too long and thin"):
        prepare(Image.new("RGB", (60_000, 1)), preprocess)
    squash = Preprocess((224, 224), "bicubic", 0.875, "squash", HALF, HALF)
    assert prepare(Image.new("RGB", (60_000, 1)), squash).shape == (224, 224, 3)


@pytest.mark.parametrize("crop_mode", ["squash", "border"])
@pytest.mark.parametrize("target", [(32, 32), (24, 40)])
def test_nothing_is_cropped_away_at_crop_pct_1(crop_mode, target):
    whole = Preprocess(target, "bicubic", 1.0, crop_mode, HALF, HALF)
    assert all(crop_fraction(size, whole) == 0 for size in sizes(50, 2))


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("target", [(32, 32), (24, 40)])
def test_crop_fraction_counts_the_pixels_seen(crop_mode, target):
    for size in sizes(30, 3):
        preprocess = Preprocess(target, "nearest", 0.875, crop_mode, HALF, HALF)
        fraction = crop_fraction(size, preprocess)
        assert 0 <= fraction < 1
    # A wide white image: the black fill isn't part of it.
    preprocess = Preprocess((100, 100), "nearest", 0.8, "center", HALF, HALF)
    assert crop_fraction((200, 400), preprocess) == pytest.approx(1 - 0.8 * 0.8 / 2)


def test_upscale_factor():
    preprocess = Preprocess((224, 224), "bicubic", 0.875, "center", HALF, HALF)
    assert upscale_factor((256, 256), preprocess) == 1
    assert upscale_factor((512, 1024), preprocess) == 0.5
    assert upscale_factor((32, 64), preprocess) == 8
    squash = Preprocess((224, 224), "bicubic", 1.0, "squash", HALF, HALF)
    assert upscale_factor((112, 448), squash) == 2
