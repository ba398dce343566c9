"""Parts of oriented boxes within windows."""

import numpy as np

from transferkit.images import corners_of_oriented, upright_of_oriented, upright_within


def drawn(n=300):
    rng = np.random.default_rng(0)
    sides = np.sort(rng.uniform(1, 60, (n, 2)))[:, ::-1]
    return np.column_stack([rng.uniform(0, 100, (n, 2)), sides, rng.uniform(-90, 90, n)])


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
