"""`Frame`: a painted spot lies in the network's input where the frame says."""

import functools
import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image

from transferkit.extract.pixels import network_input
from transferkit.images import Frame, corners_of_oriented, frame_of, prepare, read_rgb
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


def any_frame(rng, *, is_uniform=False):
    """A chain of changes: shrunk or enlarged, moved, mirrored, turned."""
    result = Frame()
    for _ in range(rng.integers(1, 5)):
        scale = rng.uniform(0.2, 4, 2)
        if is_uniform:
            scale[1] = scale[0]
        part = (
            Frame(tuple(scale), tuple(rng.uniform(-99, 99, 2))),
            Frame.flip(rng.uniform(10, 300)),
            Frame.turn(int(rng.integers(-4, 8)), tuple(rng.uniform(10, 300, 2))),
        )[rng.integers(3)]
        result = result.then(part)
    return result


def test_chains_of_turns_and_flips_move_points_one_after_the_other():
    rng = np.random.default_rng(0)
    points = rng.uniform(-500, 500, (7, 2))
    seen = set()
    for _ in range(200):
        first, second = any_frame(rng), any_frame(rng)
        seen.add((first.is_transposed, second.is_transposed, first.is_mirrored))
        both = first.then(second)
        one_after_other = second.forward_points(first.forward_points(points))
        np.testing.assert_allclose(both.forward_points(points), one_after_other, atol=1e-8)
        assert both.is_mirrored == (first.is_mirrored != second.is_mirrored)
        np.testing.assert_allclose(both.back_points(one_after_other), points, atol=1e-8)
        np.testing.assert_allclose(both.inverse.forward_points(one_after_other), points, atol=1e-8)
        np.testing.assert_allclose(
            both.inverse.back_points(points), both.forward_points(points), atol=1e-8
        )
        for nothing in (both.then(both.inverse), both.inverse.then(both)):
            assert not nothing.is_transposed
            np.testing.assert_allclose(nothing.scale, (1, 1))
            np.testing.assert_allclose(nothing.offset, (0, 0), atol=1e-8)
    assert len(seen) == 8


@pytest.mark.parametrize("quarters", range(-4, 9))
def test_a_turn_is_that_of_pixels(quarters):
    image = np.arange(6).reshape(2, 3)
    turned = np.rot90(image, quarters)
    frame = Frame.turn(quarters, image.shape)
    for i, j in np.ndindex(image.shape):
        ((x, y),) = frame.forward_points([[j + 0.5, i + 0.5]]).tolist()
        assert turned[int(y), int(x)] == image[i, j]
    whole = [[0, 0, 3, 2]]
    assert frame.forward_boxes(whole).tolist() == [[0, 0, turned.shape[1], turned.shape[0]]]
    assert not frame.is_mirrored


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_turning_on_until_it_is_where_it_was(quarters):
    frame, size = Frame(), (30, 70)
    for _ in range(4):
        frame = frame.then(Frame.turn(quarters, size))
        size = size[::-1] if quarters % 2 else size
    assert frame == Frame()
    assert Frame.turn(quarters, size).inverse == Frame.turn(
        -quarters, size[::-1] if quarters % 2 else size
    )


def as_sets(corners):
    """Corners of each box in an order of their own, whatever they began with."""
    return [np.array(sorted(one.round(6).tolist())) for one in corners]


def test_oriented_boxes_move_as_their_corners_do_where_both_axes_are_scaled_alike():
    rng = np.random.default_rng(0)
    for _ in range(100):
        frame = any_frame(rng, is_uniform=True)
        sides = np.sort(rng.uniform(1, 60, (9, 2)))[:, ::-1]
        boxes = np.c_[rng.uniform(-100, 100, (9, 2)), sides, rng.uniform(-90, 90, 9)]
        moved = frame.forward_oriented(boxes)
        assert (moved[:, 2] >= moved[:, 3]).all()
        assert ((moved[:, 4] >= -90) & (moved[:, 4] < 90)).all()
        expected = frame.forward_points(corners_of_oriented(boxes).reshape(-1, 2)).reshape(-1, 4, 2)
        for own, other in zip(as_sets(corners_of_oriented(moved)), as_sets(expected), strict=True):
            np.testing.assert_allclose(own, other, atol=2e-6)
        np.testing.assert_allclose(frame.back_oriented(moved), boxes, atol=1e-8)


def test_of_a_parallelogram_the_centre_the_area_and_the_longer_side_stay():
    rng = np.random.default_rng(0)
    for _ in range(50):
        frame = any_frame(rng)
        boxes = np.c_[
            rng.uniform(-99, 99, (9, 2)),
            rng.uniform(90, 99, 9),
            np.ones(9),
            rng.uniform(-90, 90, 9),
        ]
        moved = frame.forward_oriented(boxes)
        np.testing.assert_allclose(moved[:, :2], frame.forward_points(boxes[:, :2]), atol=1e-8)
        areas = boxes[:, 2:4].prod(1) * abs(np.prod(frame.scale))
        np.testing.assert_allclose(moved[:, 2:4].prod(1), areas)
        corners = corners_of_oriented(boxes)
        ends = (corners[:, [0, 1]] + corners[:, [3, 2]]) / 2
        ends = frame.forward_points(ends.reshape(-1, 2)).reshape(-1, 2, 2)
        lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
        is_longer = lengths**2 >= areas
        np.testing.assert_allclose(moved[is_longer, 2], lengths[is_longer])


def test_the_whole_image_fills_what_the_border_leaves():
    frame = frame_of((100, 200), preprocess_of((64, 64), "border", 1.0))
    assert frame.forward_boxes([[0, 0, 200, 100]]).tolist() == [[0, 16, 64, 48]]


def test_nothing_gives_nothing():
    assert Frame().forward_points(np.empty((0, 2))).shape == (0, 2)
    assert Frame().back_boxes(np.empty((0, 4))).shape == (0, 4)
    assert Frame.turn(1, (9, 9)).forward_oriented(np.empty((0, 5))).shape == (0, 5)


@pytest.mark.parametrize(
    ("method", "values", "match"),
    [
        ("forward_points", [1, 2], r"shape \(2,\); give points x, y as \(n, 2\)"),
        ("back_points", [[1, 2, 3]], r"give points x, y as \(n, 2\)"),
        ("forward_boxes", [[1, 2]], r"give boxes left, top, right, bottom as \(n, 4\)"),
        ("back_boxes", [1, 2, 3, 4], r"give boxes"),
        ("forward_oriented", [[1, 2, 3, 4]], r"shape \(1, 4\); give oriented boxes .* \(n, 5\)"),
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
