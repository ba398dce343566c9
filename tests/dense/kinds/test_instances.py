"""Instances as annotations, as targets and as detections: masks go where their pixels go."""

import numpy as np
import pytest
import torch

from transferkit.annotations import Annotations, Masks
from transferkit.dense.instances import InstanceDetections
from transferkit.dense.instances._coverage import CELLS
from transferkit.dense.kinds import object_kind
from transferkit.images import Frame

KIND = object_kind("instances")
SIZE = (48, 64)


def annotations(n=6, seed=0, **fields):
    """Triangles and other halves of rectangles, which look different mirrored and turned."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((n, *SIZE), dtype=bool)
    for mask in masks:
        height, width = rng.integers(6, 20, 2)
        top, left = (int(rng.integers(0, most)) for most in (SIZE[0] - height, SIZE[1] - width))
        y, x = np.mgrid[:height, :width]
        mask[top : top + height, left : left + width] = y * width >= x * height
    held = Masks.of_array(masks)
    labels = rng.integers(1, 3, n)
    return Annotations(SIZE, boxes=held.boxes, masks=held, labels=labels, **fields)


FRAMES = {
    "as it is": (Frame(), SIZE),
    "mirrored": (Frame.flip(SIZE[1]), SIZE),
    "turned": (Frame.turn(1, SIZE), SIZE[::-1]),
    "half around": (Frame.turn(2, SIZE), SIZE),
    "turned and mirrored": (Frame.turn(3, SIZE).then(Frame.flip(SIZE[0])), SIZE[::-1]),
    "enlarged": (Frame((3, 3), (0, 0)), (144, 192)),
    "a part": (Frame((2, 2), (-30, -20)), SIZE),
    "shrunk": (Frame((0.5, 0.5), (9, 5)), SIZE),
}


@pytest.mark.parametrize("name", FRAMES)
def test_masks_move_with_the_view(name):
    frame, size = FRAMES[name]
    one = annotations()
    truth = KIND.truth(KIND.target(KIND.held(one), frame, size), size)
    moved = one.moved(frame, size)
    # What leaves the view entirely has no target.
    seen = [i for i, box in enumerate(moved.boxes)
            if (box[2:] > 0).all() and (box[:2] < size[::-1]).all()]  # fmt: skip
    assert len(truth.masks) == len(seen) > 3
    for found, i in zip(truth.masks.regions, seen, strict=True):
        overlap = Masks(size, [found]).overlaps(moved.masks[[i]])[0, 0]
        if moved.masks.areas[i] > 20:
            assert overlap > 0.85
        if name != "shrunk" and truth.ignored is not None and size in (SIZE, SIZE[::-1]):
            assert name == "a part" or overlap == 1


def test_views_share_the_masks_of_an_image():
    held = KIND.held(annotations())
    plain, mirrored = (KIND.target(held, f, SIZE) for f in (Frame(), Frame.flip(SIZE[1])))
    assert plain["masks"].data_ptr() == mirrored["masks"].data_ptr()
    assert plain["masks"].shape[1:] == (CELLS, CELLS)


def test_memory_does_not_grow_with_the_image():
    held = KIND.held(annotations(50))
    assert held.masks.numel() == 50 * CELLS**2
    assert held.annotations.masks is None


def test_objects_without_pixels_and_ignored_ones_have_no_class():
    one = annotations(4, ignored=np.array([True, False, False, False]))
    masks = np.asarray(one.masks)
    masks[2] = False
    one = Annotations(SIZE, boxes=one.boxes, masks=masks, labels=one.labels, ignored=one.ignored)
    target = KIND.target(KIND.held(one), Frame(), SIZE)
    assert (target["labels"] == -1).tolist() == [True, False, True, False]
    truth = KIND.truth(target, SIZE)
    assert truth.ignored.tolist() == [True, False, True, False]
    assert (truth.masks.areas > 0).tolist() == [True, True, False, True]


def test_an_object_of_one_pixel():
    mask = np.zeros((1, *SIZE), dtype=bool)
    mask[0, 7, 9] = True
    one = Annotations(SIZE, masks=mask, labels=np.array([1]))
    target = KIND.target(KIND.held(one), Frame(), SIZE)
    assert target["boxes"].tolist() == [[9, 7, 10, 8]]
    assert KIND.truth(target, SIZE).masks.boxes.tolist() == [[9, 7, 10, 8]]


def test_no_objects():
    one = Annotations(SIZE, boxes=np.zeros((0, 4)), masks=Masks(SIZE, []), labels=np.zeros(0, int))
    target = KIND.target(KIND.held(one), Frame(), SIZE)
    assert [len(target[name]) for name in ("boxes", "labels", "masks", "spans")] == [0] * 4
    assert len(KIND.truth(target, SIZE).masks) == 0


def detections(boxes, masks):
    n = len(boxes)
    return InstanceDetections(
        torch.tensor(boxes, dtype=torch.float32)[None],
        torch.linspace(0.9, 0.5, n)[None],
        torch.ones(1, n, dtype=torch.int64),
        torch.stack(masks)[None],
    )


@pytest.mark.parametrize("name", ["as it is", "mirrored", "turned", "enlarged"])
def test_found_masks_are_in_the_images_px(name):
    frame, _ = FRAMES[name]
    whole = np.array([[10.0, 8, 38, 36]])
    half = torch.zeros(28, 28)
    half[:, :14] = 1  # the left half of the box, in the view
    found = KIND.found(detections(frame.forward_boxes(whole).tolist(), [half]), 0, frame, SIZE)
    np.testing.assert_allclose(found.boxes, whole, atol=1e-4)
    expected = {
        "as it is": [10, 8, 24, 36],
        "mirrored": [24, 8, 38, 36],
        "turned": [10, 8, 38, 22],
        "enlarged": [10, 8, 24, 36],
    }[name]
    # A quarter turn counter-clockwise brings the image's right to the top, its top to the left.
    assert found.masks.boxes.tolist() == [expected]


def test_what_has_no_pixel_in_the_image_is_not_found():
    full = torch.ones(28, 28)
    boxes = [[0.0, 0, 9, 9], [-9, -9, -1, -1], [5.1, 5.1, 5.3, 5.4], [3, 3, 8, 8], [-4, 2, 4, 70]]
    masks = [full, full, full, 0.4 * full, full]
    found = KIND.found(detections(boxes, masks), 0, Frame(), SIZE)
    assert found.boxes.tolist() == [[0, 0, 9, 9], [0, 2, 4, 48]]
    assert found.masks.areas.tolist() == [81, 4 * 46]


def test_a_crowd_is_painted_object_by_object():
    size = (400, 500)
    corners = np.array([(x, y) for x in range(0, 480, 20) for y in range(0, 380, 20)], dtype=float)
    boxes = np.concatenate((corners, corners + 15), 1)
    assert len(boxes) > 300
    found = KIND.found(
        detections(boxes.tolist(), [torch.ones(28, 28)] * len(boxes)), 0, Frame(), size
    )
    np.testing.assert_array_equal(found.masks.boxes, boxes)
    assert sum(region.pixels.size for region in found.masks.regions) == 225 * len(boxes)
