"""The labelled, extracted data set: rows stay with their images, whatever is chosen of them."""

import numpy as np
import pytest

from transferkit.datasets import Dataset, blocks_of
from transferkit.images import ImageSet

N = 12
RANDOM = np.random.default_rng(0)


def whole():
    arrays = tuple(np.full((4, 4, 3), i, np.uint8) for i in range(N))
    images = ImageSet(
        arrays,
        tuple(f"image {i}" for i in range(N)),
        labels=tuple(str(i % 3) for i in range(N)),
        splits=("train",) * 8 + ("test",) * 4,
        groups=tuple(f"g{i // 2}" for i in range(N)),
    )
    ids = tuple(bytes([i]) * 16 for i in range(N))
    return Dataset(images, ids, np.arange(N)[:, None] + np.zeros(5), np.arange(N))


@pytest.mark.parametrize(
    "at", [[], [3], [5, 5, 0], list(range(N)), list(range(N))[::-1], np.array([2, 7])]
)
def test_every_row_stays_with_its_image(at):
    part = whole().select(at)
    assert len(part) == len(part.images) == len(at)
    for row, i in enumerate(at):
        assert part.images.names[row] == f"image {i}"
        assert part.ids[row] == bytes([i]) * 16
        assert part.X[row].tolist() == [i] * 5
        assert part.y[row] == i
        assert (part.groups[row], part.splits[row]) == (f"g{i // 2}", "train" if i < 8 else "test")


def test_choosing_all_copies_nothing():
    data = whole()
    assert data.select(range(N)) is data
    assert data.select(range(N - 1)) is not data


def test_groups_and_splits_are_the_images_own_unless_given():
    images = whole().images
    assert Dataset(images).groups == images.groups
    assert Dataset(images).splits == images.splits
    assert Dataset(images, groups=("x",) * N).groups == ("x",) * N


@pytest.mark.parametrize("which", ["ids", "X", "y", "groups"])
def test_joined_rows_lack_what_one_side_lacks(which):
    data = whole()
    first, second = data.select(range(5)), data.select(range(5, N))
    both = first.joined(second)
    np.testing.assert_array_equal(both.X, data.X)
    assert both.ids == data.ids
    assert both.groups == data.groups
    assert both.images is None
    bare = Dataset(**{name: getattr(second, name) for name in ("ids", "X", "y", "groups")
                      if name != which})  # fmt: skip
    assert getattr(first.joined(bare), which) is None


def test_blocks_are_of_bytes_and_groups():
    data = whole()
    np.testing.assert_array_equal(data.blocks, blocks_of(data.ids, data.groups))
    assert Dataset(X=np.zeros((3, 2))).blocks is None


def test_what_does_not_fit_together():
    with pytest.raises(ValueError, match=r"one of each per image, and these are 3 X, 2 y"):
        Dataset(X=np.zeros((3, 2)), y=np.zeros(2))
    with pytest.raises(ValueError, match="has no targets; give it some"):
        _ = Dataset(X=np.zeros((3, 2))).targets
    assert Dataset(X=np.zeros((2, 2))).with_targets(np.ones(2)).targets.tolist() == [1, 1]
    assert len(Dataset()) == 0
