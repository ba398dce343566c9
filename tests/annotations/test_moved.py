"""Annotations that are turned, mirrored and resized with their image."""

import numpy as np
import pytest

from transferkit.annotations import VOID, Annotations
from transferkit.images import Frame, upright_of_oriented

SIZE = (30, 44)


def drawn():
    """A map, masks, and boxes of two kinds, all of the same image."""
    rng = np.random.default_rng(0)
    masks = np.zeros((5, *SIZE), dtype=bool)
    for mask in masks[:-1]:  # the last one is empty
        top, left = rng.integers(0, 20), rng.integers(0, 30)
        mask[top : top + rng.integers(2, 9), left : left + rng.integers(2, 13)] = True
        mask &= rng.random(SIZE) < 0.8
    oriented = np.c_[rng.uniform(5, 25, (5, 2)), [9.0] * 5, [4.0] * 5, rng.uniform(-90, 90, 5)]
    return Annotations(
        SIZE,
        map=rng.integers(0, 4, SIZE),
        score_map=rng.random(SIZE),
        boxes=upright_of_oriented(oriented),
        masks=masks,
        labels=np.arange(5),
        oriented=oriented,
    )


def changed(quarters, is_mirrored):
    """The frame, and what it does to an array of pixels."""
    turned = SIZE[::-1] if quarters % 2 else SIZE
    frame = Frame.turn(quarters, SIZE)
    if not is_mirrored:
        return frame, turned, lambda pixels: np.rot90(pixels, quarters, (-2, -1))
    flip = Frame.flip(turned[1])
    return frame.then(flip), turned, lambda pixels: np.rot90(pixels, quarters, (-2, -1))[..., ::-1]


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_maps_and_masks_are_those_of_turned_pixels(quarters, is_mirrored):
    one = drawn()
    frame, size, change = changed(quarters, is_mirrored)
    moved = one.moved(frame, size)
    assert moved.size == size
    np.testing.assert_array_equal(moved.map, change(one.map))
    np.testing.assert_array_equal(moved.score_map, change(one.score_map))
    np.testing.assert_array_equal(np.asarray(moved.masks), change(np.asarray(one.masks)))
    np.testing.assert_array_equal(moved.masks.areas, one.masks.areas)


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_boxes_stay_around_their_objects(quarters, is_mirrored):
    one = drawn()
    frame, size, _ = changed(quarters, is_mirrored)
    moved = one.moved(frame, size)
    np.testing.assert_allclose(upright_of_oriented(moved.oriented), moved.boxes, atol=1e-9)
    masked = one.masks.areas > 0
    np.testing.assert_allclose(
        frame.forward_boxes(one.masks.boxes)[masked], moved.masks.boxes[masked]
    )
    back = moved.moved(frame.inverse, SIZE)
    np.testing.assert_allclose(back.boxes, one.boxes, atol=1e-9)
    np.testing.assert_allclose(back.oriented, one.oriented, atol=1e-9)
    np.testing.assert_array_equal(back.map, one.map)
    np.testing.assert_array_equal(np.asarray(back.masks), np.asarray(one.masks))


@pytest.mark.parametrize("quarters", [1, 3])
def test_a_turned_map_beside_the_input_is_void(quarters):
    one = drawn()
    frame = Frame.turn(quarters, SIZE).then(Frame((1, 1), (5, -4)))
    moved = one.moved(frame, (44, 40))
    inner = np.rot90(one.map, quarters)[4:]
    assert (moved.map[:, :5] == VOID).all()
    np.testing.assert_array_equal(moved.map[:40, 5:35], inner)
    assert (moved.map[40:] == VOID).all()
    inner = np.rot90(np.asarray(one.masks), quarters, (-2, -1))[:, 4:]
    np.testing.assert_array_equal(np.asarray(moved.masks)[:, :40, 5:35], inner)
    assert np.asarray(moved.masks).sum() == inner.sum()
