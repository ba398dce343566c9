"""`Frame`: a painted spot lies in the network's input where the frame says."""

import functools
import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image

from transferkit.extract.pixels import network_input
from transferkit.images import Frame, frame_of, prepare, read_rgb
from transferkit.spec import CROP_MODES, INTERPOLATIONS, Preprocess

SIZES = [(100, 100), (97, 163), (163, 97), (240, 71), (51, 50), (301, 299)]
INPUTS = [(64, 64), (64, 96), (97, 61)]
# From the upright image to the file's pixels, by EXIF orientation.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def preprocess_of(
    image_size=(64, 64), crop_mode="center", crop_pct=0.875, interpolation="bilinear", **more
):
    grey = (0.3,) * 3
    return Preprocess(image_size, interpolation, crop_pct, crop_mode, grey, grey, **more)


def spot(size, at, width):
    """Intensity of a round spot, 0 to 1: the mean of every pixel's area, roughly."""
    y, x = (np.arange(4 * side) / 4 + 1 / 8 for side in size)
    fine = np.exp(-((x - at[0]) ** 2 + (y[:, None] - at[1]) ** 2) / (2 * width**2))
    return fine.reshape(size[0], 4, size[1], 4).mean((1, 3))


def painted(size, at, width):
    """A dark image, and one with a spot whose middle is at a point (x, y), px from the edges."""
    pixels = 40 + 180 * spot(size, at, width)[..., None] * [1, 1, 1]
    return np.full((*size, 3), 40, np.uint8), pixels.round().astype(np.uint8)


def middle(dark, bright):
    """Where the spot is: the mean of the edges' coordinates, weighted by how bright they are."""
    weights = (bright.astype(float) - dark.astype(float)).mean(-1)
    weights[np.abs(weights) < 2] = 0  # rounding, and what JPEG leaves around
    y, x = (np.arange(side) + 0.5 for side in weights.shape)
    return (weights @ x).sum() / weights.sum(), (y @ weights).sum() / weights.sum()


def place(size, frame, image_size, width, rng):
    """A point of the image whose spot lies within image and input, drawn at random."""
    seen = frame.back_boxes([[0, 0, image_size[1], image_size[0]]])[0]
    low = np.maximum(seen[:2], 0) + 3 * width
    high = np.minimum(seen[2:], size[::-1]) - 3 * width
    assert (low < high).all()
    return rng.uniform(low, high)


def spot_width(frame):
    """As wide as a spot must be to show after the image was made smaller."""
    return max(2.0, 1.5 / np.abs(frame.scale).min())


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("image_size", INPUTS)
def test_a_painted_spot_lies_where_the_frame_says(size, image_size, crop_mode):
    rng = np.random.default_rng(list(size))
    for crop_pct, interpolation in itertools.product((0.875, 1.0), ("bilinear", "bicubic")):
        preprocess = preprocess_of(image_size, crop_mode, crop_pct, interpolation)
        frame = frame_of(size, preprocess)
        width = spot_width(frame)
        at = place(size, frame, image_size, width, rng)
        images = painted(size, at, width)
        by_pil = [prepare(Image.fromarray(pixels), preprocess) for pixels in images]
        by_torch = [network_input(pixels, preprocess)[0] for pixels in images]
        for inputs in (by_pil, by_torch):
            assert inputs[0].shape[:2] == image_size
            np.testing.assert_allclose([middle(*inputs)], frame.forward_points([at]), atol=0.1)
        np.testing.assert_allclose(frame.back_points([middle(*by_pil)]), [at], atol=0.3)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_filter_maps_edges_to_edges(interpolation):
    preprocess = preprocess_of((80, 64), "squash", 1.0, interpolation)
    at = (37.3, 41.8)
    images = painted((101, 93), at, 6)
    found = middle(*(prepare(Image.fromarray(pixels), preprocess) for pixels in images))
    expected = frame_of((101, 93), preprocess).forward_points([at])
    # The nearest pixel is up to half a pixel away.
    np.testing.assert_allclose([found], expected, atol=0.5 if interpolation == "nearest" else 0.1)


def stored(pixels, orientation, form):
    """A file's bytes: turned as cameras do it, with the tag that tells so."""
    image = Image.fromarray(pixels)
    if STORED_AS[orientation] is not None:
        image = image.transpose(STORED_AS[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, form, exif=exif, **({"quality": 98} if form == "JPEG" else {}))
    return file.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("decode", ["exact", "scaled"])
@pytest.mark.parametrize("orientation", STORED_AS)
def test_orientation_and_scaled_decoding(orientation, decode, form):
    upright = (331, 517)
    at = (203.6, 151.2)
    files = [stored(pixels, orientation, form) for pixels in painted(upright, at, 12)]
    for exif in (True, False):
        preprocess = preprocess_of((48, 48), "border", 1.0, decode=decode, exif=exif)
        results = [network_input(data, preprocess) for data in files]
        size = results[0][1]
        raw = Image.open(io.BytesIO(files[0])).size[::-1]
        assert size == (upright if exif else raw)
        # Without EXIF the image is the file's, and so is the point: found there by itself.
        point = at if exif else middle(*(np.asarray(read_rgb(data)) for data in files))
        expected = frame_of(size, preprocess).forward_points([point])
        found = middle(*(pixels for pixels, _ in results))
        np.testing.assert_allclose([found], expected, atol=0.5 if decode == "scaled" else 0.12)


def test_scaled_decoding_moves_points_by_less_than_half_a_pixel():
    preprocess = preprocess_of((32, 32), "squash", 1.0, decode="scaled")
    for side, share in itertools.product(range(505, 521), (0.2, 0.8)):
        at = (share * side, 0.5 * side)
        files = [stored(pixels, 1, "JPEG") for pixels in painted((side, side), at, 30)]
        found = middle(*(network_input(data, preprocess)[0] for data in files))
        expected = frame_of((side, side), preprocess).forward_points([at])
        np.testing.assert_allclose([found], expected, atol=0.5)


@pytest.mark.parametrize("is_flipped", [True, False])
def test_a_view_is_a_crop_and_a_flip(is_flipped):
    from torchvision.transforms.v2 import functional

    rng = np.random.default_rng(0)
    size, preprocess = (120, 163), preprocess_of((96, 112), "border", 1.0)
    for _ in range(5):
        top, left = rng.integers(0, 16, 2).tolist()
        height, width = rng.integers(72, 80, 2).tolist()
        view = Frame.crop((left, top, left + width, top + height), (96, 112))
        view = view.then(Frame.flip(112)) if is_flipped else view
        frame = frame_of(size, preprocess, view)
        assert frame.is_mirrored == is_flipped
        at = place(size, frame, (96, 112), 4.0, rng)
        seen = []
        for pixels in painted(size, at, 4.0):
            image = functional.to_image(prepare(Image.fromarray(pixels), preprocess))
            image = functional.resized_crop(image, top, left, height, width, [96, 112])
            image = functional.horizontal_flip(image) if is_flipped else image
            seen.append(image.permute(1, 2, 0).numpy())
        np.testing.assert_allclose([middle(*seen)], frame.forward_points([at]), atol=0.1)


def test_points_and_boxes_come_back():
    rng = np.random.default_rng(0)
    for _ in range(50):
        parts = [
            Frame(tuple(rng.uniform(0.1, 3, 2)), tuple(rng.uniform(-99, 99, 2))),
            Frame.flip(224),
            Frame((1, -1), (0, 30)),
        ]
        frame = functools.reduce(Frame.then, parts[: rng.integers(1, 4)])
        points = rng.uniform(-500, 500, (7, 2))
        boxes = np.concatenate([points, points + rng.uniform(0, 90, (7, 2))], axis=1)
        moved = frame.forward_boxes(boxes)
        assert (moved[:, :2] <= moved[:, 2:]).all()
        scale = np.abs(frame.scale)
        np.testing.assert_allclose(moved[:, 2:] - moved[:, :2], scale * (boxes[:, 2:] - points))
        np.testing.assert_allclose(frame.back_points(frame.forward_points(points)), points)
        np.testing.assert_allclose(frame.back_boxes(moved), boxes)


def test_maps_behind_one_another_are_one():
    first, second = Frame((2, 3), (5, -7)), Frame((-0.5, 4), (1, 2))
    points = np.arange(10).reshape(5, 2)
    np.testing.assert_allclose(
        first.then(second).forward_points(points),
        second.forward_points(first.forward_points(points)),
    )
    assert first.then(Frame()) == Frame().then(first) == first
    assert Frame.flip(9).then(Frame.flip(9)) == Frame()


def test_the_whole_image_fills_what_the_border_leaves():
    frame = frame_of((100, 200), preprocess_of((64, 64), "border", 1.0))
    assert frame.forward_boxes([[0, 0, 200, 100]]).tolist() == [[0, 16, 64, 48]]


def test_nothing_gives_nothing():
    assert Frame().forward_points(np.empty((0, 2))).shape == (0, 2)
    assert Frame().back_boxes(np.empty((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(
    ("method", "values", "match"),
    [
        ("forward_points", [1, 2], r"shape \(2,\); give points x, y as \(n, 2\)"),
        ("back_points", [[1, 2, 3]], r"give points x, y as \(n, 2\)"),
        ("forward_boxes", [[1, 2]], r"give boxes left, top, right, bottom as \(n, 4\)"),
        ("back_boxes", [1, 2, 3, 4], r"give boxes"),
    ],
)
def test_arrays_of_other_shapes_are_refused(method, values, match):
    with pytest.raises(ValueError, match=match):
        getattr(Frame(), method)(values)


@pytest.mark.parametrize(
    "wrong", [((0, 1), (0, 0)), ((1, math.nan), (0, 0)), ((1, 1), (0, math.inf))]
)
def test_maps_without_a_way_back_are_refused(wrong):
    with pytest.raises(ValueError, match="give finite numbers"):
        Frame(*wrong)
