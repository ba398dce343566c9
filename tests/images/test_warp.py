"""Pixels come to lie where the frame puts them."""

import numpy as np
import pytest

from transferkit.images import Frame, warped


def picture(height=7, width=10):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_turns_and_flips_are_exact(quarters, is_mirrored):
    pixels = picture()
    expected = np.rot90(pixels, quarters)
    size = expected.shape[:2]
    frame = Frame.turn(quarters, pixels.shape[:2])
    if is_mirrored:
        expected, frame = expected[:, ::-1], frame.then(Frame.flip(size[1]))
    assert np.array_equal(warped(pixels, frame, size, (0, 0, 0)), expected)


def test_whole_px_move_and_the_colour_fills_what_is_bare():
    pixels = picture()
    moved = warped(pixels, Frame((1, 1), (2, -3)), (7, 10), (1, 2, 3))
    assert np.array_equal(moved[:4, 2:], pixels[3:, :8])
    assert (moved[4:] == (1, 2, 3)).all()
    assert (moved[:, :2] == (1, 2, 3)).all()


def test_an_enlarged_and_turned_square_is_where_its_box_is():
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[10:30, 20:50] = 255
    frame = Frame.turn(1, (40, 60)).then(Frame((1.5, 1.5), (-4, 6)))
    rows, columns = np.nonzero(warped(pixels, frame, (80, 70), (0, 0, 0))[..., 0] > 127)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    ((left, top, right, bottom),) = frame.forward_boxes([[20, 10, 50, 30]])
    np.testing.assert_allclose(seen, [left, top, right, bottom], atol=1)
