"""Contours of masks: they fill the same pixels, and holes are none of theirs."""

import numpy as np
from scipy import ndimage

from transferkit.annotations._polygons import polygons_of_mask
from transferkit.annotations._regions import Region, region_of_mask, region_of_polygons


def drawn(n):
    """Random masks of any density, and their number of holes."""
    rng = np.random.default_rng(0)
    for _ in range(n):
        mask = rng.random(rng.integers(1, 13, 2)) < rng.random()
        outside = np.pad(~mask, 1, constant_values=True)
        yield mask, ndimage.label(outside, np.ones((3, 3)))[1] - 1


def test_polygons_fill_the_same_pixels_one_for_each_part():
    n_filled = n_holes = 0
    for mask, holes in drawn(1500):
        polygons = polygons_of_mask(mask)
        if holes:
            assert polygons is None
            n_holes += 1
            continue
        assert len(polygons) == ndimage.label(mask)[1]
        found, expected = region_of_polygons(polygons, mask.shape), region_of_mask(mask)
        assert found.box == expected.box
        np.testing.assert_array_equal(found.pixels, expected.pixels)
        n_filled += 1
    assert min(n_filled, n_holes) > 200


def test_corners_are_those_of_pixels_and_no_more_than_are_needed():
    for mask, holes in drawn(200):
        for ring in [] if holes else polygons_of_mask(Region(3, 5, mask)):
            np.testing.assert_array_equal(ring, np.round(ring))
            steps = np.roll(ring, -1, axis=0) - ring
            # By turns along a row and along a column, from the left upper corner to the right.
            assert (steps[::2, 1] == 0).all()
            assert (steps[1::2, 0] == 0).all()
            assert steps[0, 0] > 0
            # Clockwise on the screen, where y points down: the area is above 0.
            x, y = (ring - ring[0]).T
            area = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
            assert area > 0
            assert ring.min(0).tolist() >= [5, 3]


def test_a_mask_of_nothing_has_no_polygon():
    assert polygons_of_mask(np.zeros((3, 4), bool)) == []
    assert region_of_polygons([], (3, 4)).area == 0
