"""Rows of tiles: those of the same pixels in files of their own, computed once."""

import time

import numpy as np
import pytest
from PIL import Image

from tests.pictures import picture
from transferkit import digests
from transferkit.backbones import resolve_backbone
from transferkit.extract import extract
from transferkit.images import ImagePart, ImageSet, Tiling, content_of, list_images, parts, tiled

FEATURES = ["pre_logits", "stage2.map"]


@pytest.fixture(autouse=True)
def _trust_young_files(monkeypatch):
    monkeypatch.setattr("transferkit.files.RACY_NS", 0)


@pytest.fixture(scope="module")
def spec():
    return resolve_backbone("test_resnet", pretrained=False, image_size=64)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "files").mkdir()
    for seed in range(3):
        Image.fromarray(picture(seed, (90, 140))).save(tmp_path / "files" / f"{seed}.png")
    time.sleep(0.02)
    return tmp_path / "files"


def tiles_of(images, tiling="2x2", **options):
    return tiled(list_images(images), Tiling.of(tiling), **options)


def test_rows_are_those_of_the_cut_files(folder, spec, store, tmp_path):
    found = tiles_of(folder)
    (tmp_path / "cut").mkdir()
    for i, item in enumerate(found.images.items):
        Image.fromarray(content_of(item)).save(tmp_path / "cut" / f"{i:02}.png")
    rows = extract(found.images, spec, FEATURES, store).rows
    expected = extract(list_images(tmp_path / "cut"), spec, FEATURES, None).rows
    for name in FEATURES:
        assert len(rows[name]) == 12
        np.testing.assert_array_equal(rows[name], expected[name])


def test_nothing_is_computed_or_decoded_again(folder, spec, store, monkeypatch):
    first = extract(tiles_of(folder).images, spec, FEATURES, store)
    assert first.n_computed == 12

    def forbidden(*args, **options):
        raise AssertionError("was called")

    monkeypatch.setattr(parts, "read_rgb", forbidden)
    monkeypatch.setattr("transferkit.extract.decoding.network_input", forbidden)
    for path in folder.iterdir():  # whatever they are called
        path.rename(path.with_name(f"new-{path.name}"))
    again = extract(tiles_of(folder).images, spec, FEATURES, store)
    assert again.n_computed == 0
    assert again.ids == first.ids
    np.testing.assert_array_equal(again.rows["pre_logits"], first.rows["pre_logits"])


def test_an_id_is_of_the_image_and_of_the_place(folder, spec, store):
    whole = extract(list_images(folder), spec, FEATURES, store).ids
    ids = [
        extract(tiles_of(folder, tiling).images, spec, FEATURES, store).ids
        for tiling in ("2x2", "2x2,overlap=0.1", "3x2")
    ]
    assert len({row for some in (whole, *ids) for row in some}) == 3 + 12 + 12 + 18
    # The whole image beside its tiles is the row that is there already.
    both = extract(tiles_of(folder, "2x2,whole").images, spec, FEATURES, store)
    assert both.n_computed == 0
    assert set(both.ids) == {*whole, *ids[0]}


def test_images_in_memory_are_digested_once_each(folder, spec, store, monkeypatch):
    pictures = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    seen = []
    digest = digests.pixel_digest
    monkeypatch.setattr(
        "transferkit.extract.decoding.pixel_digest", lambda a: seen.append(a) or digest(a)
    )
    rows = extract(tiles_of(pictures).images, spec, FEATURES, None).rows
    assert len(seen) == 3
    expected = extract(tiles_of(folder).images, spec, FEATURES, store).rows
    for name in FEATURES:
        np.testing.assert_array_equal(rows[name], expected[name])


def test_a_changed_file_gives_no_old_row(folder, spec, store):
    found = tiles_of(folder)
    extract(found.images, spec, FEATURES, store)
    Image.fromarray(picture(9, (90, 140))).save(folder / "1.png")
    again = extract(found.images, spec, FEATURES, store)  # the same tiles, of other bytes
    assert again.n_computed == 4
    fresh = extract(tiles_of(folder).images, spec, FEATURES, None)
    assert again.ids == fresh.ids
    np.testing.assert_array_equal(again.rows["pre_logits"], fresh.rows["pre_logits"])


def test_a_file_that_changes_after_it_was_digested(folder, spec, store, monkeypatch):
    found = tiles_of([folder / "0.png"])
    pixels = picture(9, (90, 140))
    cut = ImagePart.cut
    done = []

    def changing(part, content):
        if not done:  # between the first tile and the others
            done.append(Image.fromarray(pixels).save(folder / "0.png"))
        return cut(part, content)

    monkeypatch.setattr(ImagePart, "cut", changing)
    result = extract(found.images, spec, FEATURES, store, batch_size=1)
    now = extract(tiles_of([folder / "0.png"]).images, spec, FEATURES, None)
    assert result.ids[0] != now.ids[0]
    assert result.ids[1:] == now.ids[1:]
    for name in FEATURES:
        np.testing.assert_array_equal(result.rows[name][1:], now.rows[name][1:])


def test_what_cannot_be_read_is_named(folder, spec, store):
    data = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(data[: len(data) // 2])  # its header is whole
    (folder / "2.png").write_bytes(b"nothing")
    result = extract(tiles_of(folder).images, spec, FEATURES, store, on_error="skip")
    assert result.kept.tolist() == [0, 1, 2, 3]
    assert [failure.name for failure in result.failures] == [
        *(f"1.png [{box}]" for box in ("0, 0, 78, 50", "62, 0, 140, 50")),
        *(f"1.png [{box}]" for box in ("0, 40, 78, 90", "62, 40, 140, 90")),
        "2.png",
    ]
    assert "truncated" in result.failures[0].reason


def test_parts_outside_of_an_image_are_no_images(spec, store):
    outside = ImagePart(picture(0), (0, 0, 65, 64))
    with pytest.raises(ValueError, match="64 × 64 px now, and a part of it ends at 64 × 65"):
        extract(ImageSet((outside,), ("a",)), spec, FEATURES, store)
