"""Every kind of source: one file of ``sources/``, found by being there.

Each file brings an example of its kind, made of some pictures; all else here follows from it.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import picture
from transferkit import images as package
from transferkit import registry
from transferkit.extract.identities import Identities
from transferkit.images import content_of, list_images, read_rgb, size_of
from transferkit.images.sources import source_of, sources

FOLDER = "transferkit.images.sources"
NAMES = registry.names(FOLDER)
PICTURES = [picture(i, (20 + i, 31)) for i in range(5)]


@pytest.fixture(params=NAMES)
def source(request):
    """One of the files."""
    return registry.load(FOLDER, request.param, "image source")


@pytest.fixture
def given(source, tmp_path):
    """What a user would give."""
    folder = tmp_path / "example"
    folder.mkdir()
    return source.example(folder, PICTURES)


def pixels_of(item):
    return np.asarray(read_rgb(content_of(item)))


def test_every_file_is_a_subject():
    files = (Path(package.__file__).parent / "sources").glob("[!_]*.py")
    assert sorted(path.stem.replace("_", "-") for path in files) == NAMES
    assert len(sources()) == len(NAMES) > 0


def test_no_other_kind_accepts_it(source, given):
    assert [kind for kind in sources() if kind.accepts(given)] == [source]
    assert source_of(given) is source


def test_the_pictures_come_back_in_some_order(given):
    images = list_images(given)
    expected = {pixels.tobytes() for pixels in PICTURES}
    found = [pixels_of(item) for item in images.items]
    assert 1 <= len(images) <= len(PICTURES)
    assert len({pixels.tobytes() for pixels in found} & expected) == len(images)
    assert [size_of(item) for item in images.items] == [pixels.shape[:2] for pixels in found]
    assert len(set(images.names)) == len(images)
    assert all(images.names)
    if images.labels is not None:  # as every example has them: by turns
        assert set(images.labels) <= {"class 0", "class 1", "0", "1"}
    # Listed again, it is the same.
    again = list_images(given)
    assert (again.names, again.labels) == (images.names, images.labels)


def test_its_images_are_read_by_several_threads(given):
    images = list_images(given)
    expected = [pixels_of(item) for item in images.items]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(pixels_of, images.items * 10))
    for pixels, other in zip(found, expected * 10, strict=True):
        np.testing.assert_array_equal(pixels, other)


def test_its_images_have_ids(given):
    images = list_images(given)
    identities = Identities(images, exif=False)
    assert identities.failures == {}
    assert len(set(identities.ids)) == len(images)
    assert Identities(list_images(given), exif=False).ids == identities.ids


def test_its_images_go_to_other_processes(given):
    images = list_images(given)
    copies = pickle.loads(pickle.dumps(images))
    assert copies.names == images.names
    for item, copy in zip(images.items, copies.items, strict=True):
        np.testing.assert_array_equal(pixels_of(copy), pixels_of(item))


def test_images_are_left_out_by_their_names(given):
    images = list_images(given)
    if len(images) == 1:
        with pytest.raises(ValueError, match="no images are left"):
            list_images(given, exclude=[images.names[0]])
    else:
        assert list_images(given, exclude=[images.names[0]]).names == images.names[1:]


def test_groups_need_a_column_of_a_table(source, given):
    if not getattr(source, "HAS_GROUPS", False):
        with pytest.raises(ValueError, match="group column 'patient' is a column of a table"):
            list_images(given, group_column="patient")


def test_every_kind_of_path_stands_in_the_messages(tmp_path):
    kinds = [kind for source in sources() if (kind := getattr(source, "PATHS", ""))]
    with pytest.raises(FileNotFoundError) as error:
        list_images(tmp_path / "nothing")
    assert all(kind in str(error.value) for kind in kinds)
    (tmp_path / "some.thing").touch()
    with pytest.raises(ValueError, match="neither a folder nor") as error:
        list_images(tmp_path / "some.thing")
    assert all(kind in str(error.value) for kind in kinds)
