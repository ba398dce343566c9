"""Coverage on a grid, against plainer ways: sums of single pixels, and loops over points."""

import numpy as np
import pytest
import torch

from transferkit.annotations import Masks
from transferkit.dense.instances._coverage import CELLS, covered_cells, painted, read_at


def disc(height, width):
    y, x = np.mgrid[:height, :width] + 0.5
    return ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) <= 0.25


def placed(mask, size, top, left):
    whole = np.zeros((1, *size), dtype=bool)
    whole[0, top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return Masks.of_array(whole)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (28, 56), (100, 61), (1, 300)])
def test_cells_hold_the_share_of_pixels_that_they_cover(shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    mask[0, 0] = mask[-1, -1] = True
    cells = covered_cells(placed(mask, (120, 320), 3, 5))[0].numpy() / 255
    # Each pixel as CELLS x CELLS points, each cell as many of them.
    points = mask.repeat(CELLS, 0).repeat(CELLS, 1)
    height, width = shape
    expected = points.reshape(CELLS, height, CELLS, width).mean((1, 3))
    np.testing.assert_allclose(cells, expected, atol=0.5 / 255 + 1e-5)


def test_a_mask_without_pixels_covers_nothing():
    cells = covered_cells(Masks.of_array(np.zeros((2, 8, 8), dtype=bool)))
    assert cells.shape == (2, CELLS, CELLS)
    assert not cells.any()
    assert covered_cells(Masks((8, 8), [])).shape == (0, CELLS, CELLS)


def plainly(values, span, x, y):
    """Value at a point, interpolated between the middles of cells, 0 outside."""
    height, width = values.shape
    column = (x - span[0]) / (span[2] - span[0]) * width - 0.5
    row = (y - span[1]) / (span[3] - span[1]) * height - 0.5
    total = 0.0
    for i in range(height):
        for j in range(width):
            total += max(0, 1 - abs(row - i)) * max(0, 1 - abs(column - j)) * values[i, j]
    return total


@pytest.mark.parametrize("span", [(4, 2, 16, 20), (16, 2, 4, 20), (4, 20, 16, 2)])
def test_it_is_read_at_the_middles_of_parts(span):
    values = np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8)
    box = (2.0, 3.0, 15.0, 18.0)
    tensors = (torch.tensor(one, dtype=torch.float32)[None] for one in (span, box))
    found = read_at(torch.from_numpy(values)[None], *tensors, 6)[0]
    for i in range(6):
        for j in range(6):
            x = box[0] + (j + 0.5) / 6 * (box[2] - box[0])
            y = box[1] + (i + 0.5) / 6 * (box[3] - box[1])
            assert float(found[i, j]) == pytest.approx(plainly(values / 255, span, x, y), abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (13, 20), (56, 31)])
def test_what_is_held_is_painted_as_it_was(shape):
    mask = np.random.default_rng(1).random(shape) < 0.5
    mask[0, 0] = mask[-1, -1] = True
    masks = placed(mask, (70, 80), 6, 9)
    cells = covered_cells(masks)[0].numpy() / 255
    region = painted(cells, masks.boxes[0], masks.size)
    np.testing.assert_array_equal(Masks(masks.size, [region])[0], masks[0])


def test_a_large_object_keeps_its_form():
    masks = placed(disc(300, 500), (400, 600), 50, 40)
    region = painted(covered_cells(masks)[0].numpy() / 255, masks.boxes[0], masks.size)
    assert masks.overlaps(Masks(masks.size, [region]))[0, 0] > 0.985


def test_painting_is_cut_off_at_the_image():
    whole = painted(np.ones((3, 3)), np.array([-4.0, -2, 6, 5]), (8, 9))
    assert whole.box == (0, 0, 6, 5)
    for span in ((-9.0, 0, -1, 4), (9.0, 0, 12, 4), (2.6, 2, 3.4, 4), (3.0, 1, 3, 4)):
        assert painted(np.ones((3, 3)), np.array(span), (8, 9)).area == 0
