"""Faster R-CNN: its stages one by one, each against a slower and plainer way."""

import pytest
import torch
from torchvision.ops import box_iou, nms

from transferkit.dense.detection import create_detection_head, suited_options
from transferkit.dense.detection._anchors import level_shapes
from transferkit.dense.detection._assignment import BACKGROUND, LEFT_OUT
from transferkit.dense.detection._box_heads import BOX_HEADS, create_box_head
from transferkit.dense.detection._coding import boxes_of_deltas, cut_off
from transferkit.dense.detection._drawing import drawn
from transferkit.dense.detection._head import Target
from transferkit.dense.detection._proposals import ProposalNetwork
from transferkit.dense.detection._regions import RegionAlign, boxes_of_images
from transferkit.maps import FeatureMaps

SIZE = (96, 128)
STRIDES = (8.0, 16.0)


def levels_of(n_images=2, width=8, size=SIZE, strides=STRIDES):
    draw = torch.Generator().manual_seed(1)
    return [
        torch.randn(n_images, width, round(size[0] / s), round(size[1] / s), generator=draw)
        for s in strides
    ]


def maps_of(**options):
    levels = levels_of(**options)
    names = [f"level{i}" for i in range(len(levels))]
    return FeatureMaps(
        dict(zip(names, levels, strict=True)), dict(zip(names, STRIDES, strict=True))
    )


def random_boxes(n, size=SIZE, least=4.0):
    height, width = size
    start = torch.rand(n, 2) * torch.tensor([width - least, height - least])
    room = torch.tensor([width, height]) - start
    return torch.cat((start, start + least + torch.rand(n, 2) * (room - least)), 1)


def target_of(boxes, labels):
    return Target(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
    )


def make(n_classes=3, **options):
    torch.manual_seed(0)
    options = {
        "width": 8,
        "box_width": 16,
        "per_level": 32,
        "n_proposals": 24,
        "n_drawn": 16,
        **options,
    }
    return create_detection_head("faster-rcnn", (8, 8), STRIDES, n_classes, **options)


# ---- proposals ----


def make_proposals(**options):
    torch.manual_seed(0)
    options = {"per_level": 20, "limit": 12, **options}
    shapes = level_shapes([[24.0], [48.0]], (0.5, 1.0, 2.0), STRIDES)
    network = ProposalNetwork(8, STRIDES, shapes, **options)
    for layer in (network.conv, network.score, network.deltas):
        torch.nn.init.normal_(layer.weight, std=0.2)
    return network


def test_proposals_are_those_of_a_plain_loop():
    network = make_proposals()
    with torch.no_grad():
        proposed = network(levels_of(), SIZE)
    boxes, scores = network.boxes(proposed, SIZE)
    assert boxes.shape == (2, 12, 4)
    for image in range(2):
        found = []
        start = 0
        for count in proposed.counts:
            own = slice(start, start + count)
            score = proposed.scores[image, own].sigmoid()
            box = boxes_of_deltas(proposed.deltas[image, own], proposed.anchors[own])
            box = cut_off(box, SIZE)
            best = score.argsort(descending=True)[:20]
            # Boxes of less than a px, at the edges, are none.
            best = best[((box[best, 2:] - box[best, :2]) >= 1).all(1)]
            box, score = box[best], score[best]
            kept = nms(box, score, 0.7)
            found += [(float(score[i]), box[i]) for i in kept]
            start += count
        found = sorted(found, key=lambda each: -each[0])[:12]
        torch.testing.assert_close(scores[image], torch.tensor([score for score, _ in found]))
        torch.testing.assert_close(boxes[image], torch.stack([box for _, box in found]))


def test_proposals_lie_where_the_anchors_are():
    network = make_proposals(per_level=1000, limit=1000)
    for layer in (network.deltas,):
        torch.nn.init.zeros_(layer.weight)
    proposed = network(levels_of(), SIZE)
    # Of the middle shape, the square, the first anchor of a level is round its first cell.
    assert proposed.anchors[1].tolist() == [-8.0, -8.0, 16.0, 16.0]
    assert proposed.anchors[proposed.counts[0] + 1].tolist() == [-16.0, -16.0, 32.0, 32.0]
    boxes, scores = network.boxes(proposed, SIZE)
    kept = boxes[0][scores[0] > 0]
    inside = cut_off(proposed.anchors, SIZE)
    assert (box_iou(kept, inside).amax(1) > 1 - 1e-5).all()


def test_fewer_boxes_than_the_limit_leave_zeros():
    network = make_proposals(per_level=3, limit=50)
    boxes, scores = network.boxes(network(levels_of(), SIZE), SIZE)
    assert boxes.shape == (2, 50, 4)
    assert (scores > 0).sum(1).max() <= 6
    assert not boxes[scores == 0].any()


def test_loss_of_proposals_is_0_for_the_truth_and_leaves_ignored_objects_out():
    network = make_proposals()
    # One of the anchors; its neighbours overlap with it by an IoU of 0.5, and learn nothing.
    box = [40.0, 40.0, 64.0, 64.0]
    proposed = network(levels_of(1), SIZE)
    is_own = box_iou(torch.tensor([box]), proposed.anchors)[0] > 0.99
    assert is_own.sum() == 1
    nothing = proposed._replace(
        scores=torch.full_like(proposed.scores, -20.0), deltas=torch.zeros_like(proposed.deltas)
    )
    seen = nothing._replace(scores=torch.where(is_own, 20.0, -20.0)[None])
    empty, one, ignored = target_of([], []), target_of([box], [1]), target_of([box], [-1])

    def loss(of, target):
        return float(network.loss(of, [target]).detach())

    assert loss(nothing, empty) == pytest.approx(0, abs=1e-6)
    assert loss(seen, one) == pytest.approx(0, abs=1e-6)
    # All others being drawn together with it, the one mistake is divided by their number.
    assert loss(nothing, one) == pytest.approx(20 / 256, rel=0.02)
    assert loss(nothing, ignored) == pytest.approx(0, abs=1e-6)
    assert loss(seen, ignored) == pytest.approx(0, abs=1e-6)
    shifted = seen._replace(deltas=torch.full_like(seen.deltas, 0.5))
    # Smooth L1 of four times 0.5, linear from 1/9 on.
    assert loss(shifted, one) == pytest.approx(4 * (0.5 - 1 / 18) / 256, rel=0.02)


# ---- regions ----


def bilinear(level, y, x):
    """A map's value at a place counted in cells from the centre of the first one."""
    height, width = level.shape[1:]
    y, x = min(max(y, 0.0), height - 1), min(max(x, 0.0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = level[:, top, left] * (1 - dx) + level[:, top, right] * dx
    lower = level[:, bottom, left] * (1 - dx) + level[:, bottom, right] * dx
    return upper * (1 - dy) + lower * dy


@pytest.mark.parametrize("cells", [(12, 16), (11, 15)])  # those of stride 8, and Inception's
def test_regions_are_read_where_the_boxes_lie(cells):
    draw = torch.Generator().manual_seed(3)
    level = torch.randn(2, 3, *cells, generator=draw)
    align = RegionAlign((8.0,), cells=2, samples=2)
    box = (21.0, 10.0, 61.0, 50.0)
    (found,) = align([level], torch.tensor([[1.0, *box]]), SIZE)
    first = [(n - (m - 1) * 8.0) / 2 for n, m in zip(SIZE, cells, strict=True)]
    for row in range(2):
        for column in range(2):
            points = [
                ((box[1] + 20 * row + 10 * i + 5), (box[0] + 20 * column + 10 * j + 5))
                for i in range(2)
                for j in range(2)
            ]
            values = [bilinear(level[1], (y - first[0]) / 8, (x - first[1]) / 8) for y, x in points]
            torch.testing.assert_close(found[:, row, column], torch.stack(values).mean(0))


def test_a_box_is_read_from_the_level_of_its_size():
    align = RegionAlign((4.0, 8.0, 16.0, 32.0), cells=7)
    sides = torch.tensor([8.0, 111, 112, 223, 224, 447, 448, 9999, 0])
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), 1)
    assert align.levels_of(boxes).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0]


def test_regions_of_all_levels_come_in_the_order_of_the_boxes():
    torch.manual_seed(0)
    levels = levels_of()
    align = RegionAlign(STRIDES, cells=3)
    boxes = torch.stack((random_boxes(9), random_boxes(9)))
    boxes[:, 0] = torch.tensor([0.0, 0, 120, 90])
    boxes[:, 1] = torch.tensor([0.0, 0, 120, 120])
    assert set(align.levels_of(boxes).flatten().tolist()) == {0}
    align = RegionAlign((4.0, 8.0), cells=3)
    assert set(align.levels_of(boxes).flatten().tolist()) == {0, 1}
    whole = align(levels, boxes_of_images(boxes), SIZE)
    for image in range(2):
        for number in range(9):
            one = torch.cat((torch.tensor([float(image)]), boxes[image, number]))[None]
            torch.testing.assert_close(whole[9 * image + number], align(levels, one, SIZE)[0])


# ---- draw ----


def test_a_draw_holds_the_share_and_leaves_out_what_teaches_nothing():
    torch.manual_seed(0)
    assigned = torch.tensor([0] * 30 + [BACKGROUND] * 50 + [LEFT_OUT] * 20)
    found = assigned[drawn(assigned, 40, 0.25)]
    assert (found == 0).sum() == 10
    assert (found == BACKGROUND).sum() == 30
    few = torch.tensor([0] * 3 + [BACKGROUND] * 50 + [LEFT_OUT] * 20)
    found = few[drawn(few, 40, 0.25)]
    assert (found == 0).sum() == 3
    assert (found == BACKGROUND).sum() == 37


def test_a_draw_is_always_as_long():
    for assigned in ([0] * 30 + [-2] * 30, [-1] * 10 + [-2] * 50, [-2] * 60, [0] * 60):
        at = drawn(torch.tensor(assigned), 40, 0.25)
        assert len(at) == len(at.unique()) == 40
    at = drawn(torch.tensor([-1] * 10 + [-2] * 50), 40, 0.25)
    assert set(range(10)) <= set(at.tolist())
    assert len(drawn(torch.tensor([0, -1]), 40, 0.25)) == 2


def test_draws_differ():
    assigned = torch.full((1000,), BACKGROUND)
    assert set(drawn(assigned, 10, 0.5).tolist()) != set(drawn(assigned, 10, 0.5).tolist())


# ---- box heads and the whole ----


@pytest.mark.parametrize("name", BOX_HEADS)
def test_box_heads_make_a_vector_of_each_region(name):
    torch.manual_seed(0)
    module = create_box_head(name, 8, 7, 16)
    regions = torch.randn(5, 8, 7, 7)
    whole = module(regions)
    assert whole.shape == (5, 16)
    torch.testing.assert_close(module(regions[3:4]), whole[3:4])
    layers = {type(layer).__name__ for layer in module}
    assert ("Conv2d" in layers) == (name == "conv")


def test_box_heads_are_known_by_name():
    with pytest.raises(ValueError, match=r"box head 'dense'.*conv, fc"):
        make(box_head="dense")


@pytest.mark.parametrize("option", ["box_width", "per_level", "n_proposals", "n_drawn"])
def test_counts_are_above_0(option):
    with pytest.raises(ValueError, match=f"{option} is 0; give 1 or more"):
        make(**{option: 0})


def test_regions_that_are_learnt_from_belong_to_their_objects():
    head = make()
    target = target_of([[8, 8, 40, 40], [60, 20, 90, 80], [100, 60, 120, 90]], [2, 1, -1])
    near = torch.tensor([[10.0, 8, 40, 40], [60, 24, 90, 80], [101, 60, 119, 90], [50, 50, 51, 90]])
    far = torch.tensor([[0.0, 80, 20, 96]]).repeat(20, 1)
    boxes = torch.cat((near, far, torch.zeros(4, 4)))
    regions = head.drawn(boxes[None], [target])
    assert regions.boxes.shape == (1, 16, 4)
    found = dict(
        zip(map(tuple, regions.boxes[0].tolist()), regions.labels[0].tolist(), strict=True)
    )
    assert found[10, 8, 40, 40] == 2
    assert found[60, 24, 90, 80] == 1
    assert found[8, 8, 40, 40] == 2  # the true box itself
    assert found[0, 80, 20, 96] == 0
    assert (101, 60, 119, 90) not in found  # over an ignored object
    assert (100, 60, 120, 90) not in found
    assert (0, 0, 0, 0) not in found
    for box, object_, label, true in zip(*(each[0] for each in regions), strict=True):
        if object_ >= 0:
            assert true.tolist() == target["boxes"][object_].tolist()
            assert box_iou(box[None], true[None]) >= 0.5
            assert label == target["labels"][object_]


def test_where_all_is_ignored_nothing_is_learnt_in_the_second_stage():
    head = make()
    everything = target_of([[0, 0, SIZE[1], SIZE[0]]], [-1])
    levels = levels_of(1)
    boxes, _ = head.proposals.boxes(head.proposals(levels, SIZE), SIZE)
    loss = head.loss_of_regions(levels, SIZE, head.drawn(boxes, [everything]), [everything])
    assert float(loss.detach()) == 0
    loss.backward()
    assert all(
        p.grad is not None and not p.grad.any()
        for part in (head.box_head, head.classes, head.deltas)
        for p in part.parameters()
    )


@pytest.mark.parametrize("name", BOX_HEADS)
@pytest.mark.parametrize("objects", ["none", "ignored", "crowd", "one image"])
def test_every_weight_has_a_gradient_whatever_is_on_the_images(name, objects):
    head = make(box_head=name)
    torch.manual_seed(1)
    boxes = random_boxes(300)
    targets = {
        "none": [target_of([], [])] * 2,
        "ignored": [Target(boxes=boxes, labels=torch.full((300,), -1))] * 2,
        "crowd": [Target(boxes=boxes, labels=torch.ones(300, dtype=torch.int64))] * 2,
        "one image": [target_of([[8, 8, 40, 40]], [2]), target_of([], [])],
    }[objects]
    loss = head.loss(maps_of(), SIZE, targets)
    assert loss.isfinite()
    assert loss.dtype == torch.float32
    loss.backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_the_loss_is_that_of_the_images_own_parts():
    head = make(n_drawn=8)
    levels = levels_of(2)
    target = target_of([[8, 8, 40, 40], [60, 20, 90, 80]], [2, 1])
    boxes, _ = head.proposals.boxes(head.proposals(levels, SIZE), SIZE)
    regions = head.drawn(boxes, [target, target])
    loss = head.loss_of_regions(levels, SIZE, regions, [target, target])
    logits, deltas = head.seen(levels, SIZE, regions.boxes)
    total = 0.0
    for image in range(2):
        for i in range(8):
            label = int(regions.labels[image, i])
            total -= float(logits[image, i].log_softmax(0)[label].detach())
            if label:
                box, true = regions.boxes[image, i], regions.true[image, i]
                sides, own = true[2:] - true[:2], box[2:] - box[:2]
                shift = 10 * ((true[2:] + true[:2]) - (box[2:] + box[:2])) / 2 / own
                growth = 5 * (sides / own).log()
                gap = (torch.cat((shift, growth)) - deltas[image, i].detach()).abs()
                total += float(torch.where(gap < 1, gap**2 / 2, gap - 0.5).sum())
    assert float(loss.detach()) == pytest.approx(total / 16, rel=1e-4)


def test_candidates_are_the_proposals_moved_and_named():
    head = make(n_classes=4)
    torch.nn.init.normal_(head.classes.weight)
    torch.nn.init.normal_(head.deltas.weight)
    maps = maps_of()
    with torch.no_grad():
        found = head.candidates(maps, SIZE)
        levels = list(maps.maps.values())
        boxes, score = head.proposals.boxes(head.proposals(levels, SIZE), SIZE)
        logits, deltas = head.seen(levels, SIZE, boxes)
    assert found.boxes.shape == (2, 24 * 3, 4)
    assert found.labels[0, :6].tolist() == [1, 2, 3, 1, 2, 3]
    for proposal in (0, 7, 23):
        own = slice(3 * proposal, 3 * proposal + 3)
        if score[1, proposal] == 0:
            assert not found.scores[1, own].any()
            continue
        shares = logits[1, proposal].exp() / logits[1, proposal].exp().sum()
        torch.testing.assert_close(found.scores[1, own], shares[1:])
        left, top, right, bottom = boxes[1, proposal].tolist()
        dx, dy, dw, dh = deltas[1, proposal].tolist()
        width, height = right - left, bottom - top
        x, y = (left + right) / 2 + dx / 10 * width, (top + bottom) / 2 + dy / 10 * height
        width, height = width * 2.718281828 ** (dw / 5), height * 2.718281828 ** (dh / 5)
        expected = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        expected = [min(max(v, 0), SIZE[1 - i % 2]) for i, v in enumerate(expected)]
        for box in found.boxes[1, own]:
            assert box.tolist() == pytest.approx(expected, abs=1e-3)


def test_anchors_suit_the_boxes():
    torch.manual_seed(0)
    boxes = random_boxes(50).numpy()
    options = suited_options("faster-rcnn", boxes, STRIDES, SIZE)
    head = make(**options)
    assert len(head.proposals.shapes) == 2
    assert len(head.proposals.shapes[0]) == 3
