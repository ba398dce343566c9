"""Odd files, each kind by an image of it."""

import numpy as np
import pytest
from PIL import Image

from tests.inspection.scenes import scene
from transferkit.images import Failure, ImageSet
from transferkit.inspection.appearance import appearances_of
from transferkit.inspection.files import odd_files, unreadable_files


def rotated(path):
    image = scene(100)
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)


ODD = {
    "grey": lambda path: scene(100).convert("L").save(path),
    "tiny": lambda path: scene(100).resize((25, 20)).save(path),
    "huge": lambda path: scene(100).resize((440, 360)).save(path),
    "of another aspect": lambda path: scene(100).resize((250, 90)).save(path),
    "almost uniform": lambda path: Image.new("RGB", (110, 90), (90, 20, 40)).save(path),
    "its EXIF orientation (6)": rotated,
}


def folder_of(folder, kind, n=25):
    paths = [folder / f"{i:02}.png" for i in range(n)]
    for i, path in enumerate(paths):
        scene(i).save(path)
    ODD[kind](paths[11])
    return ImageSet(tuple(paths), tuple(path.name for path in paths))


@pytest.mark.parametrize("kind", ODD)
def test_each_kind_is_named_and_stays(tmp_path, kind):
    found = odd_files(appearances_of(folder_of(tmp_path, kind)))
    assert [one.image for one in found] == [11]
    assert kind in found[0].reason
    assert not found[0].is_excluded


def test_applied_orientation_is_not_odd(tmp_path):
    images = folder_of(tmp_path, "its EXIF orientation (6)")
    seen = appearances_of(images, exif=True)
    assert odd_files(seen) == []  # upright and lying images are of one aspect
    assert seen.sizes[11].tolist() == [110, 90]


def test_what_many_have_is_not_odd(tmp_path):
    images = [scene(i) if i % 4 else scene(i).convert("L") for i in range(24)]
    seen = appearances_of(ImageSet(tuple(images), tuple(map(str, range(24)))))
    assert odd_files(seen) == []


def test_in_colour_among_grey():
    images = [scene(i) if i == 3 else scene(i).convert("L") for i in range(24)]
    seen = appearances_of(ImageSet(tuple(images), tuple(map(str, range(24)))), n_threads=2)
    assert [one.reason for one in odd_files(seen)] == ["in colour, where others are grey"]


def test_unreadable_images_are_excluded_and_not_seen(tmp_path):
    images = ImageSet((tmp_path / "gone.png", scene(0)), ("gone.png", "0"))
    seen = appearances_of(images)
    assert seen.sizes.tolist() == [[0, 0], [90, 110]]
    assert odd_files(seen) == []
    found = unreadable_files([Failure(0, "gone.png", "no such file")])
    assert [(one.image, one.reason, one.is_excluded) for one in found] == [
        (0, "can't be read: no such file", True)
    ]


def test_sketch_of_the_mirror_image():
    image = scene(0)
    mirror = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    seen = appearances_of(ImageSet((image, mirror), ("0", "1")))
    mirrored, plain = (
        float((sketches[0] * seen.sketches[1]).sum())
        for sketches in (seen.mirrored_sketches(), seen.sketches)
    )
    # Shrinking rounds to whole grey levels, and the mirror image's otherwise; the shape that all
    # scenes share is nearly its own mirror image.
    assert mirrored > 0.97
    assert 1 - plain > 2 * (1 - mirrored)
    np.testing.assert_allclose(np.linalg.norm(seen.sketches, axis=1), 1, rtol=1e-5)
