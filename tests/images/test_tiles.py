"""Tiles cover every pixel, overlap as asked, and are listed image by image."""

import numpy as np
import pytest
from PIL import Image

from transferkit.images import ImagePart, ImageSet, Tiling, content_of, list_images, tiled

SIZES = [(480, 640), (33, 2000), (641, 641), (512, 512), (1, 5), (4001, 3001)]


@pytest.mark.parametrize("given", ["2x2", "1x3", "3x2,overlap=0", "4x4,overlap=0.5", "7x1"])
@pytest.mark.parametrize("size", SIZES)
def test_rows_and_columns_cover_the_image(given, size):
    tiling = Tiling.of(given)
    boxes = np.array(tiling.boxes(size))
    n_rows, n_columns = min(tiling.height, size[0]), min(tiling.width, size[1])
    assert len(boxes) == n_rows * n_columns or min(size) < 10
    check_cover(boxes, size)
    for axis, n in ((0, n_columns), (1, n_rows)):
        spans = np.unique(boxes[:, [axis, axis + 2]], axis=0)
        sides = spans[:, 1] - spans[:, 0]
        assert len(set(sides.tolist())) == 1
        if n > 1 and min(size) > 30:
            shared = (spans[:-1, 1] - spans[1:, 0]) / sides[0]
            # To the px: a tile's side and where it begins are rounded.
            assert np.all(np.abs(shared - tiling.overlap) <= 2 / sides[0])


@pytest.mark.parametrize("given", ["256px", "200x300px", "512px,overlap=0", "100px,overlap=0.7"])
@pytest.mark.parametrize("size", SIZES)
def test_tiles_of_a_size_cover_the_image(given, size):
    tiling = Tiling.of(given)
    boxes = np.array(tiling.boxes(size))
    check_cover(boxes, size)
    for axis, side in ((0, tiling.width), (1, tiling.height)):
        length = size[1 - axis]
        spans = np.unique(boxes[:, [axis, axis + 2]], axis=0)
        assert set((spans[:, 1] - spans[:, 0]).tolist()) == {min(side, length)}
        shared = (spans[:-1, 1] - spans[1:, 0]) / min(side, length)
        assert np.all(shared >= tiling.overlap - 2 / side)
        # With a tile less they wouldn't reach.
        step = side * (1 - tiling.overlap)
        assert len(spans) == 1 or side + (len(spans) - 2) * step < length


def check_cover(boxes, size):
    assert boxes.min() >= 0
    assert boxes[:, 2].max() == size[1]
    assert boxes[:, 3].max() == size[0]
    for axis in (0, 1):
        spans = np.unique(boxes[:, [axis, axis + 2]], axis=0)
        assert np.all(spans[:-1, 1] >= spans[1:, 0])


def test_the_whole_image_is_one_more_tile():
    assert Tiling.of("1x2,whole").boxes((50, 90))[-1] == (0, 0, 90, 50)
    assert Tiling.of("100px,whole").boxes((50, 90)) == [(0, 0, 90, 50)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2x3", Tiling(2, 3, "tiles")),
        ("512px", Tiling(512, 512, "px")),
        ("512x640px", Tiling(512, 640, "px")),
        ((512, 640), Tiling(512, 640, "px")),
        ([64, 64], Tiling(64, 64, "px")),
        (" 2x2, overlap=0.35, whole", Tiling(2, 2, "tiles", 0.35, whole=True)),
    ],
)
def test_what_a_user_gives(given, expected):
    tiling = Tiling.of(given)
    assert tiling == expected
    assert Tiling.of(tiling) is tiling
    assert Tiling.of(str(tiling)) == tiling


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("2", r"such as '2x3' \(rows and columns\)"),
        ("", "such as"),
        ("axb", "such as"),
        ((1, 2, 3), "such as"),
        ("0x2", "0 × 2 tiles"),
        ("8px", "8 × 8 px; give .* of 32 px or more"),
        ("2x2,overlap=2", "overlap of tiles is 2.0; give a share from 0 to 0.9"),
        ("2x2,all", "give overlap=0.3 or whole"),
        ("500x500", "500 × 500 tiles are too many"),
    ],
)
def test_what_is_no_tiling_is_refused(given, match):
    with pytest.raises(ValueError, match=match):
        Tiling.of(given)


def test_tiles_are_listed_image_by_image(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(64, 96), (40, 200)]]
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    found = tiled(list_images(tmp_path), Tiling.of("64px"))
    assert found.image_of.tolist() == [0, 0, 1, 1, 1, 1]
    for item, i, (left, top, right, bottom) in zip(
        found.images.items, found.image_of, found.boxes, strict=True
    ):
        assert np.array_equal(content_of(item), pictures[i][top:bottom, left:right])
    assert found.images.names[1] == "0.png [32, 0, 96, 64]"


def test_an_image_of_one_tile_is_itself(tmp_path):
    images = ImageSet((np.zeros((50, 60, 3), np.uint8), tmp_path / "missing.png"), ("a", "b"))
    found = tiled(images, Tiling.of("64px"))
    assert found.images.items == images.items
    assert found.images.names == images.names
    assert found.boxes == [(0, 0, 60, 50), (0, 0, 0, 0)]
    with_whole = tiled(images, Tiling.of("2x1,whole")).images.items
    assert [isinstance(item, ImagePart) for item in with_whole] == [True, True, False, False]
