"""Points, anchors, coding of boxes and assignment, each against a plain loop."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from transferkit.dense.detection import Target
from transferkit.dense.detection._anchors import (
    anchors_of_level,
    level_shapes,
    points_of_level,
    shapes_of_anchors,
    suited_ratios,
    suited_reach,
    suited_sizes,
)
from transferkit.dense.detection._assignment import (
    BACKGROUND,
    LEFT_OUT,
    by_iou,
    by_statistics,
    covered,
)
from transferkit.dense.detection._coding import (
    boxes_of_deltas,
    boxes_of_distances,
    cut_off,
    deltas_of,
    distances_of,
)

# Patch 14's finest level, Inception's maps at 320 × 256 px, a map of one px, a usual one.
LEVELS = [
    ((148, 148), 3.5, (518, 518)),
    ((29, 37), 8, (256, 320)),
    ((6, 8), 32, (256, 320)),
    ((1, 1), 64, (40, 72)),
    ((20, 30), 16, (320, 480)),
]


def boxes_at_random(n, seed=0, side=100.0):
    draw = np.random.default_rng(seed)
    corners = draw.uniform(0, side, (n, 2, 2))
    boxes = np.concatenate((corners.min(1), corners.max(1) + 1), 1)
    return torch.from_numpy(boxes.astype(np.float32))


def target_of(boxes, labels):
    return Target(boxes=torch.as_tensor(boxes).float(), labels=torch.as_tensor(labels))


@pytest.mark.parametrize(("cells", "stride", "size"), LEVELS)
def test_points_are_those_of_a_plain_loop(cells, stride, size):
    expected = [
        (
            column * stride + (size[1] - (cells[1] - 1) * stride) / 2,
            row * stride + (size[0] - (cells[0] - 1) * stride) / 2,
        )
        for row in range(cells[0])
        for column in range(cells[1])
    ]
    assert torch.allclose(points_of_level(cells, stride, size), torch.tensor(expected))


@pytest.mark.parametrize(("cells", "stride", "size"), LEVELS)
def test_points_lie_in_the_middle_and_a_stride_apart(cells, stride, size):
    points = points_of_level(cells, stride, size)
    # A mirrored input has the mirrored points.
    mirrored = torch.tensor(size[::-1]) - points
    assert torch.allclose(mirrored.flip(0), points, atol=1e-4)
    assert (torch.diff(points[: cells[1], 0]) == stride).all()


def test_anchors_are_those_of_a_plain_loop():
    shapes = shapes_of_anchors([10, 20], [0.5, 2])
    anchors = anchors_of_level((2, 3), 7, (20, 30), shapes)
    points = points_of_level((2, 3), 7, (20, 30)).tolist()
    expected = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y in points for w, h in shapes]
    assert torch.allclose(anchors, torch.tensor(expected))


def test_shapes_have_the_size_and_the_ratio():
    for (width, height), (size, ratio) in zip(
        shapes_of_anchors([10, 32], [0.5, 1, 3]),
        [(s, r) for s in (10, 32) for r in (0.5, 1, 3)],
        strict=True,
    ):
        assert width * height == pytest.approx(size**2)
        assert height / width == pytest.approx(ratio)


def test_suited_anchors_follow_the_boxes():
    boxes = boxes_at_random(500).numpy()
    sizes = suited_sizes(boxes, [8, 16, 32], 2)
    assert [len(each) for each in sizes] == [2, 2, 2]
    flat = np.ravel(sizes)
    assert (np.diff(np.log(flat)) >= np.log(2) / 3 - 0.01).all()
    # What is twice as large has anchors twice as large, of the same ratios.
    assert np.ravel(suited_sizes(2 * boxes, [8, 16, 32], 2)) == pytest.approx(2 * flat, abs=0.2)
    assert suited_ratios(2 * boxes, 3) == suited_ratios(boxes, 3)
    assert suited_ratios(boxes[:, [1, 0, 3, 2]], 3) == pytest.approx(
        [1 / r for r in suited_ratios(boxes, 3)[::-1]], abs=0.05
    )
    assert suited_reach(2 * boxes, [8, 16]) == pytest.approx(
        [2 * px for px in suited_reach(boxes, [8, 16])], abs=0.2
    )


def test_boxes_without_area_suit_nothing():
    flat = np.array([[3.0, 3, 3, 9], [1, 1, 5, 1]])
    assert suited_sizes(flat, [8], 1) == [[32.0]]
    assert suited_ratios(flat, 1) == [1.0]
    assert suited_reach(flat, [8, 16]) == [32.0, 64.0]


@pytest.mark.parametrize(
    ("sizes", "ratios"),
    [([[8]], [1]), ([[8], [8, 9]], [1]), ([[], []], [1]), ([[8], [0]], [1]), ([[8], [9]], [])],
)
def test_sizes_that_make_no_anchors_are_refused(sizes, ratios):
    with pytest.raises(ValueError, match="give"):
        level_shapes(sizes, ratios, [8, 16])


def test_coding_is_undone():
    boxes, anchors = boxes_at_random(200), boxes_at_random(200, seed=1)
    for scale in ((1.0, 1.0), (10.0, 5.0)):
        again = boxes_of_deltas(deltas_of(boxes, anchors, scale), anchors, scale)
        # Growth beyond 62.5 is held; none of these grows so much.
        assert torch.allclose(again, boxes, atol=1e-3)
    points = boxes[:, :2] + 1
    assert torch.allclose(boxes_of_distances(distances_of(boxes, points), points), boxes)
    wild = boxes_of_deltas(torch.full((1, 4), 1e4), anchors[:1])
    assert torch.isfinite(wild).all()


def test_boxes_are_cut_off_at_the_edges():
    boxes = torch.tensor([[-5.0, -4, 50, 60], [3, 4, 5, 6]])
    assert cut_off(boxes, (40, 30)).tolist() == [[0, 0, 30, 40], [3, 4, 5, 6]]


def expected_by_iou(anchors, target, low, high, keeps_best):
    objects = [i for i, label in enumerate(target["labels"].tolist()) if label > 0]
    ious = box_iou(anchors, target["boxes"])
    result = []
    for a in range(len(anchors)):
        best = max(objects, key=lambda o: float(ious[a, o]), default=None)
        iou = 0.0 if best is None else float(ious[a, best])
        owned = [o for o in objects if 0 < ious[a, o] == ious[:, o].max()]
        if keeps_best and owned:
            result.append(max(owned, key=lambda o: float(ious[a, o])))
        elif best is not None and iou >= high:
            result.append(best)
        elif best is not None and iou >= low:
            result.append(LEFT_OUT)
        else:
            over = bool(covered(anchors[a : a + 1], target)[0])
            result.append(LEFT_OUT if over else BACKGROUND)
    return result


@pytest.mark.parametrize("labels", [[1, 2, 1, -1], [1, 1, 1, 1], [-1, -1, -1, -1]])
@pytest.mark.parametrize("keeps_best", [False, True])
def test_assignment_by_iou_is_that_of_a_plain_loop(labels, keeps_best):
    anchors = boxes_at_random(300)
    target = target_of(boxes_at_random(4, seed=2), labels)
    found = by_iou(anchors, target, low=0.3, high=0.5, keeps_best=keeps_best)
    assert found.tolist() == expected_by_iou(anchors, target, 0.3, 0.5, keeps_best)
    assert {int(labels[i]) for i in found[found >= 0]} <= {1, 2}


def test_of_an_ignored_object_nothing_is_learnt():
    anchors = torch.tensor([[0.0, 0, 10, 10], [4, 4, 6, 6], [8, 0, 18, 10], [30, 30, 40, 40]])
    target = target_of([[0.0, 0, 12, 12]], [-1])
    # The second is a small part of it, as one of a crowd is; of the third too little lies over it.
    assert covered(anchors, target).tolist() == [True, True, False, False]
    for found in (
        by_iou(anchors, target, low=0.4, high=0.5, keeps_best=True),
        by_statistics([anchors], target, n_nearest=4),
    ):
        assert found.tolist()[:2] == [LEFT_OUT, LEFT_OUT]
        assert found.tolist()[3] == BACKGROUND


def expected_by_statistics(levels, target, n_nearest):
    joined = torch.cat(levels)
    owners = [(-1.0, BACKGROUND)] * len(joined)
    for o, (box, label) in enumerate(
        zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True)
    ):
        if label < 0:
            continue
        centre = torch.tensor([box[0] + box[2], box[1] + box[3]]) / 2
        near, start = [], 0
        for level in levels:
            away = ((level[:, :2] + level[:, 2:]) / 2 - centre).norm(dim=1)
            near += [start + int(i) for i in away.argsort()[:n_nearest]]
            start += len(level)
        ious = box_iou(joined[near], torch.tensor([box]))[:, 0].numpy()
        for i, iou in zip(near, ious, strict=True):
            x, y = ((joined[i, :2] + joined[i, 2:]) / 2).tolist()
            inside = box[0] < x < box[2] and box[1] < y < box[3]
            if inside and iou >= (ious.mean() + ious.std()) * (1 - 1e-4) and iou > owners[i][0]:
                owners[i] = (float(iou), o)
    return [o for _, o in owners]


def test_assignment_by_statistics_is_that_of_a_plain_loop():
    levels = [
        anchors_of_level((100 // s, 100 // s), s, (100, 100), [(8.0 * s, 8.0 * s)])
        for s in (4, 8, 16)
    ]
    # Centres off the grid's symmetry, so that no two points are equally near.
    target = target_of(boxes_at_random(6, seed=5) + 0.137, [1, 2, 1, 3, 1, 2])
    found = by_statistics(levels, target, n_nearest=9)
    assert found.tolist() == expected_by_statistics(levels, target, 9)
    assert len(set(found.tolist())) > 4


@pytest.mark.parametrize("strides", [(8,), (8, 16), (8, 16, 32)])
def test_a_small_object_has_the_cells_inside_of_it(strides):
    levels = [
        anchors_of_level((96 // s, 96 // s), s, (96, 96), [(8.0 * s, 8.0 * s)]) for s in strides
    ]
    points = points_of_level((12, 12), 8, (96, 96))
    for corner in np.random.default_rng(0).uniform(20, 60, (50, 2)):
        box = [*corner, *(corner + 13.7)]
        found = by_statistics(levels, target_of([box], [1]), n_nearest=9)[:144]
        inside = (distances_of(torch.tensor(box).float(), points) > 0).all(1)
        assert 1 <= inside.sum() <= 4
        assert torch.equal(found == 0, inside)


def test_without_objects_all_is_background():
    anchors = boxes_at_random(5)
    target = target_of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    for found in (
        by_iou(anchors, target, low=0.4, high=0.5, keeps_best=True),
        by_statistics([anchors], target, n_nearest=9),
    ):
        assert found.tolist() == [BACKGROUND] * 5
