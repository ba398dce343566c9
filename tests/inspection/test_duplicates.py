"""Exact and near duplicates: what is found, what stays, and what is excluded."""

import numpy as np
import pytest

from tests.inspection.scenes import CHANGES, scene
from transferkit.images import ImageSet
from transferkit.inspection.appearance import appearances_of
from transferkit.inspection.duplicates import candidates_of, exact_duplicates, near_duplicates
from transferkit.inspection.neighbors import Neighbourhoods


def listed(images, splits=None, labels=None, names=None):
    names = names or tuple(f"{i:02}" for i in range(len(images)))
    return ImageSet(tuple(images), names, labels, splits)


def near(images, **options):
    seen = appearances_of(images)
    spaces = [(Neighbourhoods.of(seen.sketches), seen.mirrored_sketches())]
    return near_duplicates(images, spaces, **options)


def test_exact_second_copies_leave():
    images = listed([b"a", b"b", b"a", b"a"])
    found = exact_duplicates(images, [b"a", b"b", b"a", b"a"])
    assert [(one.image, one.other, one.is_excluded) for one in found] == [
        (2, 0, True),
        (3, 0, True),
    ]


def test_exact_the_training_sides_copy_leaves():
    images = listed([b"a"] * 4, ("train", "val", "test", "test"), ("x", "x", "y", "y"))
    found = exact_duplicates(images, [b"a"] * 4)
    assert {(one.image, one.other) for one in found} == {(0, 2), (1, 2), (3, 2)}
    assert [one.image for one in found] == [0, 1, 3]  # those across splits first
    assert "split 'train', of the other 'test'" in found[0].reason
    assert "label 'x', of the other 'y'" in found[0].reason


def test_a_file_that_a_table_names_twice_is_not_excluded():
    """A list of names would take both."""
    images = listed([b"a", b"a"], names=("same", "same"))
    assert [one.is_excluded for one in exact_duplicates(images, [b"a"] * 2)] == [False]


@pytest.mark.parametrize("change", ["mirrored", "cropped", "smaller"])
def test_near_duplicates_are_found_among_like_images(change):
    images = [scene(seed) for seed in range(20)]
    images[13] = CHANGES[change](images[4])
    found, counts = near(listed(images, ("test",) * 10 + ("train",) * 10))
    assert [(one.image, one.other, one.is_excluded) for one in found] == [(13, 4, True)]
    assert counts["compared"] == counts["candidates"] >= 1


def test_only_the_likeliest_are_compared():
    images = [scene(seed) for seed in range(12)]
    images[7] = CHANGES["mirrored"](images[2])
    found, counts = near(listed(images), most_compared=1)
    assert [one.image for one in found] == [7]
    assert counts["compared"] == 1 < counts["candidates"]


def test_of_a_row_of_images_every_other_one_stays():
    """Each is like the next alone: the second leaves, and the third has nothing to leave for."""
    from transferkit.inspection.duplicates import LikelyCopy, _leaving
    from transferkit.inspection.likeness import Likeness

    pairs = {pair: (LikelyCopy(*pair, 0.1), Likeness(0.95)) for pair in [(0, 1), (1, 2), (2, 3)]}
    leaving = _leaving(listed([b""] * 4), pairs)
    assert [(i, j) for i, j, _, _ in leaving] == [(1, 0), (3, 2)]


def test_exact_copies_and_lost_files_are_not_compared(tmp_path):
    images = [scene(seed) for seed in range(12)]
    images[7] = CHANGES["mirrored"](images[2])
    seen = appearances_of(listed(images))
    spaces = [(Neighbourhoods.of(seen.sketches), seen.mirrored_sketches())]
    is_copy = np.arange(12) == 7
    assert near_duplicates(listed(images), spaces, is_copy=is_copy)[0] == []
    images[7] = tmp_path / "gone.png"  # since it was looked at
    assert near_duplicates(listed(images), spaces)[0] == []


def test_candidates_by_all_pairs():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 8))
    rows[50:] = rows[:10] + 0.02 * rng.normal(size=(10, 8))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distance = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    ordered = np.sort(distance, axis=1)
    scale = np.maximum(ordered[:, 10], np.median(ordered[:, 10]) / 2)
    expected = {}
    for i in range(60):
        for j in np.argsort(distance[i])[1:6]:
            ratio = distance[i, j] / np.sqrt(scale[i] * scale[j])
            if ratio <= 0.95:
                expected[min(i, j), max(i, j)] = ratio
    found = {
        (one.first, one.second): one.ratio
        for one in candidates_of([(Neighbourhoods.of(rows), None)])
    }
    assert found.keys() == expected.keys()
    for pair, ratio in expected.items():
        assert found[pair] == pytest.approx(ratio, abs=2e-3)
    assert list(found)[:10] == sorted(list(found)[:10], key=found.get)
    assert set(list(found)[:10]) == {(i, 50 + i) for i in range(10)}


def test_of_one_image_there_are_none():
    assert near(listed([scene(0)])) == ([], {"candidates": 0, "compared": 0})
