"""Planted mistakes of boxes, masks and maps are found, and nothing else is."""

import dataclasses

import numpy as np
import pytest

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.images import ImageSet
from transferkit.inspection.annotations import inspect_annotations
from transferkit.inspection.findings import KINDS

SIZE = (200, 300)
CLASSES = ("background", "cell", "plate")


def image_set(n: int, size: tuple[int, int] = SIZE) -> ImageSet:
    pixels = np.zeros((*size, 3), np.uint8)
    return ImageSet((pixels,) * n, tuple(f"{i}.png" for i in range(n)))


def boxes_of(seed: int) -> Annotations:
    """Six cells of about 30 px and four plates of about 12 px, which don't touch."""
    rng = np.random.default_rng(seed)
    columns, rows = np.meshgrid(np.arange(5) * 55 + 30, [50, 140])
    centres = np.stack([columns, rows], axis=-1).reshape(-1, 2) + rng.uniform(-3, 3, (10, 2))
    labels = np.array([1] * 6 + [2] * 4)
    sides = np.where(labels[:, None] == 1, 30.0, 12.0) * np.exp(rng.normal(0, 0.1, (10, 2)))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
    return Annotations(SIZE, boxes=boxes, labels=labels)


def with_box(one: Annotations, box: list[float], label: int) -> Annotations:
    assert one.boxes is not None
    assert one.labels is not None
    boxes = np.concatenate([one.boxes, np.array([box], dtype=float)])
    return dataclasses.replace(one, boxes=boxes, labels=np.append(one.labels, label))


def found(items: list, classes=CLASSES, images: ImageSet | None = None) -> list:
    return inspect_annotations(
        image_set(len(items)) if images is None else images, AnnotationSet(classes, items)
    )


def told(findings) -> list[tuple[str, int]]:
    return [(one.kind, one.image) for one in findings]


@pytest.fixture
def plain() -> list[Annotations]:
    return [boxes_of(seed) for seed in range(30)]


def test_where_nothing_is_wrong_nothing_is_found(plain):
    assert found(plain) == []


def test_doubled_boxes(plain):
    first, label = plain[3].boxes[0], plain[3].labels[0]
    plain[3] = with_box(plain[3], list(first), label)
    # A pixel to the right of 30 px: 29 / 31 of the union.
    plain[7] = with_box(plain[7], list(plain[7].boxes[1] + [1, 0, 1, 0]), 2)
    findings = found(plain)
    # The second is of the wrong size for a plate, too.
    assert told(findings) == [("doubled box", 3), ("doubled box", 7), ("odd box", 7)]
    assert findings[0].reason == "two boxes of cell are the same"
    assert findings[0].score == 1
    assert findings[0].box == pytest.approx(tuple(first))
    width = plain[7].boxes[1, 2] - plain[7].boxes[1, 0]
    assert findings[1].score == pytest.approx((width - 1) / (width + 1))
    assert findings[1].reason.startswith("cell and plate share 9")


def test_three_of_one_object_are_told_as_two_too_many(plain):
    for _ in range(2):
        plain[3] = with_box(plain[3], list(plain[3].boxes[0]), 1)
    assert told(found(plain)) == [("doubled box", 3)] * 2


def test_crowds_are_not_doubled(plain):
    doubled = with_box(plain[3], list(plain[3].boxes[0]), 1)
    plain[3] = dataclasses.replace(doubled, ignored=np.arange(11) == 10)
    assert found(plain) == []


def test_doubled_oriented_boxes_are_told_from_crossing_ones():
    cross = np.array([[50.0, 50, 40, 38, 0], [50, 50, 40, 38, 90], [150, 50, 60, 6, 10]])
    crossing = np.concatenate([cross[2:], [[150, 50, 60, 6, -10]]])
    items = [
        Annotations(SIZE, oriented=boxes, boxes=upright(boxes), labels=np.ones(len(boxes), int))
        for boxes in (cross, crossing)
    ]
    assert told(found(items)) == [("doubled box", 0)]


def upright(boxes: np.ndarray) -> np.ndarray:
    from transferkit.images import upright_of_oriented

    return upright_of_oriented(boxes)


def test_boxes_of_odd_size_and_aspect(plain):
    plain[2] = with_box(plain[2], [30, 80, 42, 92], 1)  # a plate that is called a cell
    plain[5] = with_box(plain[5], [10, 90, 290, 92.5], 1)
    plain[8] = with_box(plain[8], [150, 90, 151, 120], 2)
    findings = found(plain)
    assert sorted(told(findings)) == [("odd box", 2), ("odd box", 5), ("odd box", 8)]
    by_image = {one.image: one for one in findings}
    assert by_image[2].suggestion == "plate"
    assert by_image[2].reason.startswith("cell: 12 × 12 px, smaller than the others")
    assert by_image[5].reason.startswith("cell: 280 × 2.5 px, wider than the others")
    assert by_image[8].reason == "it is only 1 × 30 px"


def test_what_the_edge_cuts_off_is_not_odd(plain):
    plain[2] = with_box(plain[2], [0, 80, 3, 110], 1)
    plain[5] = with_box(plain[5], [80, 190, 110, 200], 1)
    assert found(plain) == []


def test_few_objects_say_nothing_of_what_is_usual():
    items = [with_box(boxes_of(0), [30, 80, 150, 81.9 + 2], 1)]
    assert found(items) == []


def test_images_that_lack_boxes_and_that_have_too_many(plain):
    plain[4] = plain[4].select([])
    plain[6] = plain[6].select([0])
    grid = np.stack(np.meshgrid(np.arange(12) * 20, np.arange(9) * 20), -1).reshape(-1, 2)
    many = np.concatenate([grid + 3.0, grid + 15.0], axis=1)
    plain[9] = Annotations(SIZE, boxes=many, labels=np.full(len(many), 2))
    findings = found([*plain, None])
    assert told(findings) == [
        ("missing box", 30),
        ("missing box", 4),
        ("missing box", 6),
        ("odd number", 9),
    ]
    assert findings[1].reason == "no object, and 97% of the images have some"
    assert findings[2].reason == "1 object, and images have about 10"
    assert findings[3].reason == "108 objects, and images have about 10"


def test_where_many_images_are_empty_none_is_odd(plain):
    assert found([one.select([]) if i % 4 == 0 else one for i, one in enumerate(plain)]) == []


def test_a_class_of_two_objects_among_hundreds(plain):
    plain[3] = with_box(plain[3], [30, 80, 60, 110], 3)
    findings = found(plain, (*CLASSES, "Cell"))
    assert told(findings) == [("rare class", 3)]
    assert findings[0].reason == "Cell has 1 object, others up to 180"
    assert findings[0].box == (30, 80, 60, 110)


def test_what_was_mended_and_what_can_not_be_read(plain):
    plain[1] = dataclasses.replace(plain[1], remarks=("a box has no area", "another too"))
    images = image_set(30)
    other = np.zeros((100, 100, 3), np.uint8)
    images = dataclasses.replace(images, items=(*images.items[:2], other, *images.items[3:]))

    def read(item):
        if item is plain[5]:
            raise ValueError("line 3 has four numbers")
        return item

    findings = inspect_annotations(images, AnnotationSet(CLASSES, plain, read))
    assert told(findings) == [("faulty annotation", i) for i in (2, 5, 1)]
    assert [one.reason for one in findings] == [
        "annotated at 300 × 200 px, and it is 100 × 100",
        "line 3 has four numbers",
        "a box has no area; and 1 more like this",
    ]


def test_as_many_annotations_as_images(plain):
    with pytest.raises(ValueError, match="30 annotations for 2 images; give one for each"):
        inspect_annotations(image_set(2), AnnotationSet(CLASSES, plain))


# ---- masks ------------------------------------------------------------------------------


def disc(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def masked(*masks: np.ndarray, boxes: np.ndarray | None = None) -> Annotations:
    one = Annotations(SIZE, masks=np.stack(masks), labels=np.ones(len(masks), int))
    assert one.masks is not None
    return dataclasses.replace(one, boxes=one.masks.boxes if boxes is None else boxes)


@pytest.fixture
def discs() -> list[Annotations]:
    return [masked(disc(50, 50 + i, 20), disc(140, 200, 20 + i % 3)) for i in range(25)]


def test_masks_without_mistakes(discs):
    # Something in front of it makes two parts of an object.
    hidden = disc(50, 50, 20)
    hidden[48:53] = False
    assert found([*discs, masked(hidden, disc(140, 200, 20))]) == []


def test_masks_that_leak(discs):
    stray = disc(50, 50, 20)
    stray[100:102, 200:202] = True
    far = disc(50, 50, 20) | disc(150, 200, 15)
    holed = disc(50, 50, 20) & ~disc(50, 50, 6)
    outside = disc(50, 50, 20)
    narrow = np.array([[30, 30, 50, 71], [180, 120, 221, 161.0]])
    second = disc(140, 200, 20)
    items = [
        *(masked(mask, second) for mask in (stray, far, holed)),
        masked(outside, second, boxes=narrow),
        *discs,
    ]
    findings = found(items)
    # The boxes around what is far apart are odd too.
    assert {one.image for one in findings if one.kind == "odd box"} == {0, 1}
    findings = [one for one in findings if one.kind != "odd box"]
    assert {one.kind for one in findings} == {"leaking mask"}
    assert sorted(one.image for one in findings) == [0, 1, 2, 3]
    by_image = {one.image: one for one in findings}
    assert by_image[0].reason.startswith("1 stray part of 4 px, up to ")
    assert by_image[1].reason.startswith(f"1 stray part of {disc(150, 200, 15).sum()} px")
    n_hole, area = disc(50, 50, 6).sum(), holed.sum()
    assert by_image[2].reason == f"holes of {n_hole} px in an object of {area:,} px"
    share = outside[:, 51:].sum() / outside.sum()
    assert by_image[3].score == pytest.approx(share)


def test_where_many_masks_have_holes_none_is_odd(discs):
    ring = disc(50, 50, 20) & ~disc(50, 50, 6)
    assert found([masked(ring, disc(140, 200, 20))] * 30) == []


def test_masks_that_overlap_are_compared_and_not_their_boxes():
    frame, inside = np.ones(SIZE, bool), np.ones(SIZE, bool)
    frame[5:-5, 5:-5] = False
    inside[frame] = False
    assert found([masked(frame, inside)]) == [
        one for one in found([masked(frame, inside)]) if one.kind == "leaking mask"
    ]
    assert told(found([masked(inside, inside)])) == [("doubled box", 0)]


# ---- maps -------------------------------------------------------------------------------


def test_maps_that_are_void_or_of_one_class():
    half = np.zeros(SIZE, int)
    half[:100] = 1
    items = [Annotations(SIZE, map=half) for _ in range(30)]
    assert found(items) == []
    items[4] = Annotations(SIZE, map=np.full(SIZE, -1))
    items[7] = Annotations(SIZE, map=np.zeros(SIZE, int))
    third = half.copy()
    third[0, :5] = 2
    items[9] = Annotations(SIZE, map=third)
    findings = found(items)
    assert told(findings) == [("odd map", 4), ("odd map", 7), ("rare class", 9)]
    assert (
        findings[1].reason == "all of it is background, and 97% of the images have several classes"
    )
    assert findings[2].reason == "plate stands in 1 of 30 images"
    assert {one.kind for one in findings} <= set(KINDS[5:])


def test_where_most_maps_are_of_one_class_none_is_odd():
    items = [Annotations(SIZE, map=np.full(SIZE, int(i % 3 == 0))) for i in range(30)]
    assert found(items) == []
