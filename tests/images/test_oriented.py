"""Oriented boxes: their one set of numbers, their corners, and their parts within windows."""

import itertools

import numpy as np
import pytest
import shapely

from transferkit.images import (
    canonical_oriented,
    corners_of_oriented,
    oriented_of_corners,
    upright_of_oriented,
    upright_within,
)


def drawn(n=300):
    rng = np.random.default_rng(0)
    sides = np.sort(rng.uniform(1, 60, (n, 2)))[:, ::-1]
    return np.column_stack([rng.uniform(0, 100, (n, 2)), sides, rng.uniform(-90, 90, n)])


# ---- one set of numbers -------------------------------------------------------------


@pytest.mark.parametrize("half_turns", [-3, -1, 0, 1, 2])
@pytest.mark.parametrize("is_exchanged", [False, True])
def test_a_rectangle_has_one_set_of_numbers(half_turns, is_exchanged):
    boxes = drawn()
    other = boxes + np.array([0, 0, 0, 0, 180 * half_turns])
    if is_exchanged:
        other = other[:, [0, 1, 3, 2, 4]] + np.array([0, 0, 0, 0, 90])
    np.testing.assert_allclose(canonical_oriented(other), boxes, atol=1e-9)
    np.testing.assert_array_equal(canonical_oriented(boxes), boxes)


@pytest.mark.parametrize("angle", [-90, 90, 270, -1e-300, -90 - 1e-14, 90 - 1e-14, 89.999, 1e6])
def test_the_angle_stays_in_its_range(angle):
    for sides in ((8, 2), (2, 8), (5, 5)):
        ((_, _, length, width, found),) = canonical_oriented([[0, 0, *sides, angle]]).tolist()
        assert -90 <= found < 90
        assert length >= width
        turn = np.deg2rad(angle + 90 * (sides[1] > sides[0]) - found)
        assert np.sin(turn) == pytest.approx(0, abs=1e-9)


def test_squares_keep_their_angle():
    boxes = [[5, 5, 4, 4, angle] for angle in (-90, -45, 0, 30, 89)]
    assert canonical_oriented(boxes).tolist() == boxes


@pytest.mark.parametrize("wrong", [np.zeros(5), np.zeros((2, 4)), np.zeros((1, 2, 5))])
def test_other_shapes_are_refused(wrong):
    for function in (canonical_oriented, corners_of_oriented, upright_of_oriented):
        with pytest.raises(ValueError, match=r"give centre x and y, two sides and an angle"):
            function(wrong)
    with pytest.raises(ValueError, match=r"give x and y of four as \(m, 4, 2\)"):
        oriented_of_corners(wrong)


# ---- corners ------------------------------------------------------------------------


def test_boxes_come_back_from_their_corners_in_any_order():
    boxes = drawn()
    corners = corners_of_oriented(boxes)
    for start, step in itertools.product(range(4), (1, -1)):
        order = [(start + step * i) % 4 for i in range(4)]
        np.testing.assert_allclose(oriented_of_corners(corners[:, order]), boxes, atol=1e-9)


def test_corners_are_clockwise_on_the_screen_from_the_left_upper_one_on():
    corners = corners_of_oriented(drawn())
    x, y = np.moveaxis(corners, 2, 0)
    # Where y grows downwards, the sum is positive for a clockwise way.
    doubled = (x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)
    np.testing.assert_allclose(doubled / 2, drawn()[:, 2:4].prod(1))
    np.testing.assert_allclose(corners.mean(1), drawn()[:, :2])
    for angle, first in ((0, [1, 4]), (90, [4, 9]), (-90, [6, 1])):
        found = corners_of_oriented([[5, 5, 8, 2, angle]])[0, 0]
        np.testing.assert_allclose(found, first, atol=1e-9)


def test_an_angle_is_counter_clockwise_on_the_screen():
    # To the right and up: y becomes less.
    start, end = corners_of_oriented([[0, 0, 10, 1, 30]])[0, :2]
    assert (end - start)[0] > 0 > (end - start)[1]


def test_squares_come_back_as_squares():
    boxes = drawn()
    boxes[:, 3] = boxes[:, 2]
    found = oriented_of_corners(corners_of_oriented(boxes))
    np.testing.assert_allclose(found[:, :4], boxes[:, :4], atol=1e-9)
    apart = (found[:, 4] - boxes[:, 4]) % 90
    np.testing.assert_allclose(np.minimum(apart, 90 - apart), 0, atol=1e-9)


def test_of_a_quadrilateral_it_is_the_smallest_rectangle_around():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (300, 4, 2))
    found = oriented_of_corners(corners)
    expected = shapely.area(shapely.oriented_envelope(shapely.multipoints(corners)))
    np.testing.assert_allclose(found[:, 2:4].prod(1), expected, rtol=1e-9)
    around = shapely.buffer(shapely.polygons(corners_of_oriented(found)), 1e-6)
    assert shapely.covers(around, shapely.multipoints(corners)).all()


@pytest.mark.parametrize(
    "corners",
    [
        [[5, 5]] * 4,
        [[0, 0], [8, 6], [8, 6], [0, 0]],
        [[0, 0], [4, 3], [8, 6], [0, 0]],
        [[0, 0], [8, 6], [4, 3], [8, 6]],
    ],
)
def test_corners_without_area_are_a_line_or_a_point(corners):
    ((x, y, length, width, angle),) = oriented_of_corners([corners]).tolist()
    ends = np.array(corners)
    assert length == pytest.approx(np.hypot(*(ends.max(0) - ends.min(0))))
    assert width == pytest.approx(0, abs=1e-9)
    assert [x, y] == pytest.approx(((ends.min(0) + ends.max(0)) / 2).tolist())
    if length:
        assert angle == pytest.approx(-np.rad2deg(np.arctan2(6, 8)))


def test_upright_boxes_are_those_of_the_corners():
    boxes, corners = drawn(), corners_of_oriented(drawn())
    found = upright_of_oriented(boxes)
    np.testing.assert_allclose(found, np.c_[corners.min(1), corners.max(1)])
    np.testing.assert_allclose((found[:, :2] + found[:, 2:]) / 2, boxes[:, :2])


def test_no_boxes_are_no_boxes():
    assert canonical_oriented(np.zeros((0, 5))).shape == (0, 5)
    assert corners_of_oriented(np.zeros((0, 5))).shape == (0, 4, 2)
    assert oriented_of_corners(np.zeros((0, 4, 2))).shape == (0, 5)
    assert upright_of_oriented(np.zeros((0, 5))).shape == (0, 4)


# ---- parts within windows -----------------------------------------------------------


def test_the_part_within_is_that_of_points_spread_over_the_box():
    boxes, window = drawn(), np.array([20.0, 30, 70, 60])
    found = upright_within(boxes, window)
    step = np.linspace(0, 1, 120)
    n_seen = 0
    for box, (a, b, _, d), own in zip(boxes, corners_of_oriented(boxes), found, strict=True):
        points = a + step[:, None, None] * (b - a) + step[:, None] * (d - a)
        points = points.reshape(-1, 2)
        points = points[((points >= window[:2]) & (points <= window[2:])).all(1)]
        if len(points):
            n_seen += 1
            around = np.concatenate([points.min(0), points.max(0)])
            np.testing.assert_allclose(own, around, atol=box[2:4].max() / 100)
            assert (own[:2] <= around[:2] + 1e-9).all()
            assert (own[2:] >= around[2:] - 1e-9).all()
    assert n_seen > 100


def test_a_window_around_all_cuts_nothing_and_one_elsewhere_leaves_nothing():
    boxes = drawn()
    np.testing.assert_allclose(
        upright_within(boxes, [-99, -99, 199, 199]), upright_of_oriented(boxes), atol=1e-9
    )
    found = upright_within(boxes, [500, 500, 600, 600])
    assert (found == 500).all()
    assert upright_within(np.zeros((0, 5)), [0, 0, 9, 9]).shape == (0, 4)


def test_a_window_inside_of_a_box_is_seen_whole():
    windows = np.array([[40.0, 40, 60, 60], [45, 50, 46, 55]])
    box = [50, 50, 90, 80, 30]
    np.testing.assert_allclose(upright_within([box, box], windows), windows)
