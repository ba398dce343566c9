"""Parts of images are items. Their pixels are those of the whole image, sliced."""

import pickle
import threading

import numpy as np
import pytest
from PIL import Image

from transferkit.images import ImageError, ImagePart, content_of, size_of
from transferkit.images import parts as module
from transferkit.images.items import is_in_memory
from transferkit.images.parts import DecodedImages

BOX = (3, 5, 23, 30)


def picture(seed=0, size=(40, 60, 3)):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def as_file(folder, pixels, **options):
    path = folder / f"{len(list(folder.iterdir()))}.png"
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("kind", ["path", "bytes", "pil", "array"])
def test_pixels_are_the_slice_of_the_whole(tmp_path, kind):
    pixels = picture()
    path = as_file(tmp_path, pixels)
    whole = {
        "path": path,
        "bytes": path.read_bytes(),
        "pil": Image.fromarray(pixels),
        "array": pixels,
    }[kind]
    part = ImagePart(whole, BOX)
    assert np.array_equal(content_of(part), pixels[5:30, 3:23])
    assert size_of(part) == part.size == (25, 20)
    assert is_in_memory(part) == is_in_memory(whole) == (kind != "path")


def test_grey_becomes_rgb(tmp_path):
    grey = picture(size=(40, 60))
    for whole in (grey, Image.fromarray(grey), as_file(tmp_path, grey)):
        found = content_of(ImagePart(whole, BOX))
        assert np.array_equal(found, np.repeat(grey[5:30, 3:23, None], 3, axis=2))


def test_the_image_is_turned_before_it_is_cut(tmp_path):
    pixels = picture()
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row is the right-hand column
    path = as_file(tmp_path, pixels, exif=exif)
    turned = np.rot90(pixels, -1)
    box = (10, 40, 40, 60)
    assert np.array_equal(content_of(ImagePart(path, box, exif=True)), turned[40:60, 10:40])
    with pytest.raises(ImageError, match="40 × 60 px now, and a part of it ends at 60 × 40"):
        content_of(ImagePart(path, box))


def test_an_image_is_decoded_once_for_all_parts(tmp_path, monkeypatch):
    decoded = []
    read = module.read_rgb

    def counted(source, **options):
        if isinstance(source, bytes):
            decoded.append(source)
        return read(source, **options)

    monkeypatch.setattr(module, "read_rgb", counted)
    shared = DecodedImages()
    path = as_file(tmp_path, picture())
    parts = [ImagePart(path, (x, 0, x + 20, 40), decoded=shared) for x in range(0, 40, 5)]
    threads = [threading.Thread(target=content_of, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(decoded) == 1
    # Other bytes under the same name are another image.
    Image.fromarray(picture(1)).save(path)
    assert np.array_equal(content_of(parts[0]), picture(1)[:40, :20])
    assert len(decoded) == 2


def test_only_some_images_are_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_KEPT_BYTES", 2 * picture().nbytes)
    shared = DecodedImages()
    for seed in range(5):
        shared.pixels(as_file(tmp_path, picture(seed)).read_bytes(), exif=False)
    assert len(shared._pixels) == 2
    assert not shared._decoding


def test_a_copy_for_another_process_is_small(tmp_path):
    part = ImagePart(as_file(tmp_path, picture(size=(300, 300, 3))), BOX)
    pixels = content_of(part)
    data = pickle.dumps([part, part])
    assert len(data) < 1000
    first, second = pickle.loads(data)
    assert first.decoded is second.decoded
    assert np.array_equal(content_of(first), pixels)


def test_damage_is_named(tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(b"no image")
    part = ImagePart(path, BOX)
    for _ in range(2):  # nobody waits for what failed
        with pytest.raises(ImageError, match="not an image"):
            content_of(part)
    assert not part.decoded._decoding
