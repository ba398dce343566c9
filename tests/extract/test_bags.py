import dataclasses

import numpy as np
import pytest

from transferkit.extract import Extraction
from transferkit.extract.bags import check_reduction, failures_of_items, reduced
from transferkit.images import Failure, list_images

IMAGES = list_images([["a", "b"], "c", ["d", "e", "f"], ["g", "h"]])
ROWS = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
IDS = tuple(bytes([i]) * 16 for i in range(8))
WHOLE = Extraction({"x": ROWS}, np.arange(8), IDS, (), 8, 8, 1.0)
MEMBERS = [[0, 1], [2], [3, 4, 5], [6, 7]]


@pytest.mark.parametrize("how", ["mean", "max"])
def test_rows_of_items(how):
    result = reduced(WHOLE, IMAGES, how)
    expected = [getattr(ROWS[m].astype(np.float64), how)(axis=0) for m in MEMBERS]
    np.testing.assert_allclose(result.rows["x"], expected, rtol=1e-6)
    assert result.rows["x"].dtype == np.float32
    np.testing.assert_array_equal(result.rows["x"][1], ROWS[2])  # of one image the same bits
    assert result.kept.tolist() == [0, 1, 2, 3]
    assert result.paths == ("a + b", "c", "d + e + f", "g + h")
    assert "extracted 8 images" in result.summary()
    assert "0 from the store" in result.summary()


def test_items_of_several_images_have_no_size_of_their_own():
    result = reduced(WHOLE, IMAGES, "mean")
    assert result.stored == {}  # their rows stand in no store
    with pytest.raises(TypeError, match="an item of 2 images"):
        _ = result.sizes
    with pytest.raises(ValueError, match="doesn't know its images"):
        _ = WHOLE.sizes


def test_side_by_side():
    images = list_images([["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]])
    result = reduced(WHOLE, images, "concat")
    np.testing.assert_array_equal(result.rows["x"], np.concatenate([ROWS[::2], ROWS[1::2]], axis=1))
    maps = dataclasses.replace(WHOLE, rows={"x": ROWS.reshape(8, 5, 1, 1)})
    assert reduced(maps, images, "concat").rows["x"].shape == (4, 10, 1, 1)
    check_reduction(images, "concat")
    with pytest.raises(ValueError, match="item 0 has 2 images and item 1 has 1, so their"):
        check_reduction(IMAGES, "concat")
    with pytest.raises(ValueError, match="reduce is 'sum'; choose one of mean, max, concat"):
        check_reduction(IMAGES, "sum")


def test_an_item_with_an_unreadable_image_has_no_row():
    kept = np.array([0, 1, 2, 3, 7])
    failures = tuple(Failure(i, "abcdefgh"[i], f"bad {i % 2}") for i in (4, 5, 6))
    part = Extraction({"x": ROWS[kept]}, kept, tuple(IDS[i] for i in kept), failures, 5, 8, 1.0)
    result = reduced(part, IMAGES, "mean")
    assert result.kept.tolist() == [0, 1]
    expected = [ROWS[MEMBERS[0]].mean(axis=0), ROWS[2]]
    np.testing.assert_allclose(result.rows["x"], expected, rtol=1e-5, atol=1e-6)
    assert result.paths == ("a + b", "c")
    assert result.ids == reduced(WHOLE, IMAGES, "mean").ids[:2]
    assert result.failures == (
        Failure(2, "e, f", "bad 0; bad 1; 2 of the 3 images of item 2"),
        Failure(3, "g", "bad 0; one of the 2 images of item 3"),
    )


def test_a_single_image_that_fails_is_named_as_ever():
    assert failures_of_items([Failure(2, "c", "gone")], IMAGES) == (Failure(1, "c", "gone"),)


def test_ids_of_items():
    first = reduced(WHOLE, IMAGES, "mean").ids
    assert first[1] == IDS[2]  # of one image its own
    assert len(set(first)) == 4
    assert {len(row) for row in first} == {16}
    turned = dataclasses.replace(WHOLE, ids=(IDS[1], IDS[0], *IDS[2:]))
    assert reduced(turned, IMAGES, "mean").ids == first  # the same photos in another order
    other = dataclasses.replace(WHOLE, ids=(IDS[1], IDS[7], *IDS[2:]))
    assert reduced(other, IMAGES, "mean").ids[0] != first[0]


def test_rows_that_were_only_checked():
    checked = dataclasses.replace(WHOLE, rows={"x": ROWS[:0]})
    result = reduced(checked, IMAGES, "mean")
    assert result.rows["x"].shape == (0, 5)
    assert result.kept.tolist() == [0, 1, 2, 3]
