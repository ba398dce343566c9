"""Run lengths and filled polygons against slow and simple second implementations."""

import numpy as np
import pytest

from transferkit.annotations._regions import region_of_mask, region_of_polygons
from transferkit.annotations._rle import (
    mask_of_runs,
    pack_runs,
    region_of_runs,
    runs_of_mask,
    runs_of_region,
    unpack_runs,
)


def slow_runs(mask):
    """Run lengths, pixel by pixel."""
    runs, last = [0], False
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if bool(mask[y, x]) != last:
                runs.append(0)
                last = not last
            runs[-1] += 1
    return runs


def slow_text(runs):
    """Run lengths as text, as the format's authors describe it, number by number."""
    text = ""
    for i, run in enumerate(runs):
        rest = run - (runs[i - 2] if i > 2 else 0)
        more = True
        while more:
            bits = rest & 31
            rest >>= 5
            more = rest != (-1 if bits & 16 else 0)
            text += chr(bits + (32 if more else 0) + 48)
    return text


def masks():
    drawn = np.random.default_rng(0)
    for i in range(60):
        size = tuple(drawn.integers(1, 40, 2))
        yield drawn.random(size) < (i % 7) / 6
    blob = np.zeros((300, 500), bool)
    blob[37:251, 90:333] = True
    yield blob
    yield ~blob


def test_runs_and_their_text_equal_the_slow_ones_and_come_back():
    for mask in masks():
        runs = slow_runs(mask)
        assert runs_of_mask(mask).tolist() == runs
        np.testing.assert_array_equal(mask_of_runs(runs, mask.shape), mask)
        region, again = region_of_mask(mask), region_of_runs(runs, mask.shape)
        assert runs_of_region(region, mask.shape).tolist() == runs
        assert (again.box, again.area) == (region.box, region.area)
        np.testing.assert_array_equal(again.pixels, region.pixels)
        text = slow_text(runs)
        assert pack_runs(runs_of_mask(mask)) == text
        assert unpack_runs(text).tolist() == runs


def test_large_and_falling_numbers_come_back():
    drawn = np.random.default_rng(1)
    for n in (0, 1, 2, 3, 4, 5, 200):
        runs = (2.0 ** drawn.uniform(0, 29, n)).astype(np.int64)
        assert unpack_runs(pack_runs(runs)).tolist() == runs.tolist()
        assert pack_runs(runs) == slow_text(runs.tolist())


@pytest.mark.parametrize(
    "runs", [[3], [5], [-1, 5], [2**63 - 1, 2**63 - 1, 6], [[4]], [2.0, 2.0], [1e300, 4]]
)
def test_runs_of_another_size_are_refused(runs):
    with pytest.raises(ValueError, match=r"run lengths (make|aren't)"):
        mask_of_runs(runs, (2, 2))


@pytest.mark.parametrize("text", ["~", "o", "oooooooooooo1", " ", "é"])
def test_damaged_text_is_refused(text):
    with pytest.raises(ValueError, match="damaged"):
        unpack_runs(text)


def test_text_of_pycocotools():
    # From the data set of nuclei (CC0): 145 px in 256 × 256.
    mask = mask_of_runs(unpack_runs("hgf08g71O100O10000000000001O1O1O3LV`U1"), (256, 256))
    region = region_of_mask(mask)
    assert region.area == 145
    assert region.box == (90, 245, 105, 256)


# ---- polygons -------------------------------------------------------------------------


def is_inside(x, y, corners):
    """Whether a ray to the right crosses the polygon's edges an odd number of times."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y):
            crossings += x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return crossings % 2 == 1


def painted(region, size):
    canvas = np.zeros(size, bool)
    region.paint(canvas, True)
    return canvas


def test_polygons_are_filled_by_the_centres_of_pixels():
    drawn = np.random.default_rng(2)
    for i in range(40):
        size = (int(drawn.integers(1, 20)), int(drawn.integers(1, 20)))
        several = [drawn.uniform(-6, 24, (3 + i % 5, 2)) for _ in range(1 + i % 2)]
        slow = np.zeros(size, bool)
        for y in range(size[0]):
            for x in range(size[1]):
                slow[y, x] = any(is_inside(x + 0.5, y + 0.5, corners) for corners in several)
        region = region_of_polygons(several, size)
        np.testing.assert_array_equal(painted(region, size), slow)
        assert region.area == slow.sum()


def test_a_rectangle_fills_its_pixels_and_neighbours_share_none():
    box = np.array([[2, 1], [6, 1], [6, 4], [2, 4]], float)
    assert region_of_polygons([box], (5, 8)).box == (2, 1, 6, 4)
    assert region_of_polygons([box], (5, 8)).area == 12
    # A square in triangles around its centre, which is the centre of a pixel.
    corners = np.array([[0, 0], [9, 0], [9, 9], [0, 9]], float)
    total = np.zeros((9, 9), int)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        total += painted(region_of_polygons([np.array([a, b, [4.5, 4.5]])], (9, 9)), (9, 9))
    assert (total == 1).all()


def test_many_corners_and_far_away_ones_take_bounded_memory(monkeypatch):
    from transferkit.annotations import _regions

    angles = np.linspace(0, 2 * np.pi, 500, endpoint=False)
    circle = np.stack([30 + 25 * np.cos(angles), 30 + 25 * np.sin(angles)], axis=1)
    whole = region_of_polygons([circle], (60, 60))
    monkeypatch.setattr(_regions, "_AT_A_TIME", 200)
    np.testing.assert_array_equal(region_of_polygons([circle], (60, 60)).pixels, whole.pixels)
    assert abs(whole.area - np.pi * 25**2) < 2 * np.pi * 25 / 4
    far = np.array([[-1e12, -1e12], [1e12, -1e12], [1e12, 1e12], [-1e12, 1e12]])
    assert region_of_polygons([far], (6, 7)).area == 42
    assert region_of_polygons([far + 3e12], (6, 7)).area == 0
