"""Objects found on tiles, merged: each object once, however the tiles see it."""

import numpy as np
import pytest

from transferkit.annotations import Annotations, Masks
from transferkit.dense.detection._suppression import Suppression
from transferkit.dense.kinds import object_kind
from transferkit.dense.tiles import merged
from transferkit.images import Tiling, upright_of_oriented

SIZE = (400, 600)
KIND = object_kind("detection")


def found(tile, objects, labels, scores, least=0.3, noise=None):
    """What a perfect head finds on a tile: the parts that it sees of objects."""
    left, top, right, bottom = tile
    seen = objects.clip([left, top, left, top], [right, bottom, right, bottom])
    areas, whole = ((b[:, 2:] - b[:, :2]).clip(0).prod(1) for b in (seen, objects))
    kept = areas >= np.maximum(least * whole, 1e-9)
    boxes = seen[kept] if noise is None else seen[kept] + noise.normal(0, 0.5, (kept.sum(), 4))
    boxes = boxes.clip([left, top, left, top], [right, bottom, right, bottom])
    return Annotations(SIZE, boxes=boxes, labels=labels[kept], scores=scores[kept])


def scene(seed, n=25, sides=(5, 40)):
    """Objects that don't touch, one in each of some cells of a grid."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation([(x, y) for x in range(20, 550, 50) for y in range(20, 350, 50)])[:n]
    sizes = rng.uniform(*sides, (n, 2))
    corner = cells + rng.uniform(0, 1, (n, 2)) * (50 - sizes)
    boxes = np.concatenate((corner, corner + sizes), axis=1)
    return boxes, rng.integers(1, 4, n), rng.permutation(n) / n * 0.9 + 0.1


@pytest.mark.parametrize("tiling", ["2x2", "3x4", "150px", "3x3,whole", "1x1"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_object_is_found_once(tiling, seed):
    objects, labels, scores = scene(seed)
    tiles = Tiling.of(tiling).boxes(SIZE)
    parts = [found(tile, objects, labels, scores) for tile in tiles]
    result = merged(parts, tiles, Suppression(), KIND)
    order = np.argsort(-scores)
    if len(tiles) > 1:
        assert sum(len(part.boxes) for part in parts) > 1.2 * len(objects)
    np.testing.assert_allclose(result.boxes, objects[order])
    assert np.array_equal(result.labels, labels[order])
    np.testing.assert_allclose(result.scores, scores[order])
    assert result.size == SIZE


@pytest.mark.parametrize("seed", range(3))
def test_a_head_that_errs_a_little_changes_nothing(seed):
    objects, labels, scores = scene(seed, sides=(15, 40))
    tiles = Tiling.of("3x4").boxes(SIZE)
    noise = np.random.default_rng(seed)
    parts = [found(tile, objects, labels, scores, noise=noise) for tile in tiles]
    assert sum(len(part.boxes) for part in parts) > 1.3 * len(objects)
    result = merged(parts, tiles, Suppression(), KIND)
    order = np.argsort(-scores)
    np.testing.assert_allclose(result.boxes, objects[order], atol=3)


def test_pieces_of_an_object_larger_than_the_overlap_are_put_together():
    tiles = Tiling.of("2x3").boxes(SIZE)
    large = np.array([[30.0, 100, 560, 330]])  # over all six tiles
    parts = [found(tile, large, np.array([2]), np.array([0.7]), least=0.02) for tile in tiles]
    assert all(len(part.boxes) == 1 for part in parts)
    result = merged(parts, tiles, Suppression(), KIND)
    assert result.boxes.tolist() == large.tolist()
    assert (result.labels.tolist(), result.scores.tolist()) == ([2], [0.7])


def test_the_whole_image_beats_pieces():
    tiles = Tiling.of("2x2,whole").boxes(SIZE)
    large = np.array([[100.0, 100, 500, 300]])
    parts = [found(t, large, np.array([1]), np.array([0.9]), least=0.0) for t in tiles[:-1]]
    seen = np.add(large, [[4, -3, 2, 5]])  # of the image made small
    parts.append(found(tiles[-1], seen, np.array([1]), np.array([0.6])))
    result = merged(parts, tiles, Suppression(), KIND)
    assert result.boxes.tolist() == seen.tolist()
    assert result.scores.tolist() == [0.9]


def test_neighbours_at_a_seam_stay_two():
    tiles = [(0, 0, 320, 400), (280, 0, 600, 400)]
    objects = np.array([[275.0, 100, 299, 120], [301, 100, 325, 120], [275, 121, 325, 150]])
    labels, scores = np.array([1, 1, 1]), np.array([0.9, 0.8, 0.7])
    parts = [found(tile, objects, labels, scores) for tile in tiles]
    result = merged(parts, tiles, Suppression(), KIND)
    assert result.boxes.tolist() == objects.tolist()


def test_classes_are_merged_apart_unless_the_rule_says_so():
    tiles = [(0, 0, 320, 400), (280, 0, 600, 400)]
    box = np.array([[285.0, 100, 315, 120]])
    parts = [
        Annotations(SIZE, boxes=box, labels=np.array([label]), scores=np.array([score]))
        for label, score in ((1, 0.6), (2, 0.8))
    ]
    apart = merged(parts, tiles, Suppression(), KIND)
    assert apart.labels.tolist() == [2, 1]
    together = merged(parts, tiles, Suppression(is_class_agnostic=True), KIND)
    assert (together.labels.tolist(), together.scores.tolist()) == ([2], [0.8])


def test_the_limit_is_that_of_the_image():
    objects, labels, scores = scene(0)
    tiles = Tiling.of("2x2").boxes(SIZE)
    parts = [found(tile, objects, labels, scores) for tile in tiles]
    result = merged(parts, tiles, Suppression(limit=5), KIND)
    assert result.scores.tolist() == sorted(scores.tolist(), reverse=True)[:5]


@pytest.mark.parametrize("method", ["classic", "soft"])
def test_nothing_found_is_nothing(method):
    tiles = Tiling.of("2x2").boxes(SIZE)
    nothing = np.zeros((0, 4)), np.zeros(0, int), np.zeros(0)
    parts = [found(tile, *nothing) for tile in tiles]
    result = merged(parts, tiles, Suppression(method), KIND)
    assert (result.boxes.shape, len(result.labels), len(result.scores)) == ((0, 4), 0, 0)


def test_a_piece_within_a_whole_object_of_another_tile_is_dropped():
    tiles = [(0, 0, 320, 400), (280, 0, 600, 400)]
    whole, piece = np.array([[290.0, 100, 330, 160]]), np.array([[280.0, 120, 305, 140]])
    # The first tile sees a part of the object and calls it otherwise placed than the second does.
    parts = [
        Annotations(SIZE, boxes=np.zeros((0, 4)), labels=np.zeros(0, int), scores=np.zeros(0)),
        Annotations(
            SIZE,
            boxes=np.concatenate((whole, piece - [0, 0, 2, 0])),
            labels=np.array([1, 1]),
            scores=np.array([0.6, 0.9]),
        ),
    ]
    assert len(merged(parts, tiles, Suppression(), KIND).boxes) == 2  # half of it only is covered
    parts[1].boxes[1] = [280.0, 120, 330, 140]
    assert merged(parts, tiles, Suppression(), KIND).boxes.tolist() == whole.tolist()


def test_thousands_of_boxes_are_merged_in_a_moment():
    size = (4000, 4000)
    tiles = Tiling.of("12x12").boxes(size)
    rng = np.random.default_rng(0)
    parts = []
    for left, top, _, _ in tiles:
        corner = np.array([left, top]) + rng.uniform(0, 300, (50, 2))
        boxes = np.concatenate((corner, corner + 40), axis=1)
        labels, scores = rng.integers(1, 4, 50), rng.uniform(0.05, 1, 50)
        parts.append(Annotations(size, boxes=boxes, labels=labels, scores=scores))
    result = merged(parts, tiles, Suppression(limit=1000), KIND)
    assert len(result.boxes) == 1000
    assert (np.diff(result.scores) <= 0).all()


def test_masks_of_pieces_are_united_and_a_whole_one_stays_as_it_is():
    kind = object_kind("instances")
    tiles = Tiling.of("2x3").boxes(SIZE)
    rows, columns = np.indices(SIZE)
    large = (rows - 210) ** 2 / 120**2 + (columns - 300) ** 2 / 260**2 < 1
    small = (rows - 60) ** 2 + (columns - 205) ** 2 < 12**2
    parts = []
    for left, top, right, bottom in tiles:
        seen = np.zeros(SIZE, dtype=bool)
        seen[top:bottom, left:right] = True
        masks = Masks.of_array([each & seen for each in (large, small)])
        one = Annotations(
            SIZE,
            boxes=masks.boxes,
            masks=masks,
            labels=np.array([1, 2]),
            scores=np.array([0.9, 0.8]),
        )
        parts.append(one.select(masks.areas > 0))
    assert sum(len(part.labels) for part in parts) > 7
    result = merged(parts, tiles, Suppression(), kind)
    assert result.labels.tolist() == [1, 2]
    assert np.array_equal(result.masks, np.stack((large, small)))
    assert np.array_equal(result.boxes, Masks.of_array(np.stack((large, small))).boxes)


def oriented(*boxes, labels=None, scores=None):
    boxes = np.array(boxes, dtype=float).reshape(-1, 5)
    n = len(boxes)
    labels = np.ones(n, dtype=int) if labels is None else np.array(labels)
    scores = 0.9 - 0.1 * np.arange(n) if scores is None else np.array(scores)
    upright = upright_of_oriented(boxes)
    return Annotations(SIZE, oriented=boxes, boxes=upright, labels=labels, scores=scores)


def test_oriented_boxes_are_taken_whole_and_pieces_put_together_along_their_way():
    kind = object_kind("oriented")
    tiles = [(0, 0, 320, 400), (280, 0, 600, 400)]
    ship, long = (325, 100, 60, 14, 30), (300, 300, 400, 20, 10)
    # Of the long one each tile sees an end, which goes to 20 px beyond the middle of the overlap.
    turn = np.deg2rad(10)
    along = np.array([np.cos(turn), -np.sin(turn)])
    ends = [(*(np.array([300, 300]) + side * 90 * along), 220, 20, 10) for side in (-1, 1)]
    parts = [oriented((308, 110, 30, 14, 30), ends[0]), oriented(ship, ends[1])]
    result = merged(parts, tiles, Suppression(), kind)
    np.testing.assert_allclose(result.oriented, [ship, long], atol=1e-6)


def test_what_is_cut_off_but_told_of_in_full_is_taken_as_the_better_one_tells_it():
    tiles = [(0, 0, 320, 400), (280, 0, 600, 400)]
    one, other = (300, 100, 80, 10, 45), (301, 99, 82, 11, 44)
    parts = [oriented(one, scores=[0.6]), oriented(other, scores=[0.8])]
    result = merged(parts, tiles, Suppression(), object_kind("oriented"))
    np.testing.assert_allclose(result.oriented, [other])


def test_neighbours_side_by_side_stay_two_though_their_upright_boxes_overlap():
    kind = object_kind("oriented")
    tiles = [(0, 0, 320, 400), (280, 0, 600, 400)]
    ships = [(290, 100, 80, 10, 45), (305, 115, 80, 10, 45)]
    other = [(290, 100, 80, 10, 45), (305, 115, 80, 10, -45)]
    result = merged([oriented(*ships), oriented()], tiles, Suppression(iou=0.3), kind)
    np.testing.assert_allclose(result.oriented, ships)
    near = (290.2, 100.1, 80, 10, 45.5)
    result = merged([oriented(*other), oriented(near)], tiles, Suppression(iou=0.3), kind)
    np.testing.assert_allclose(result.oriented, other)
