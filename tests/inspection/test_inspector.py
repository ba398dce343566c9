"""The whole inspection of a folder in which something of each kind was planted."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.inspection.scenes import scene
from transferkit import FeatureExtractor
from transferkit.images import ImageBag, ImageSet
from transferkit.inspection import inspect_dataset, with_excluded
from transferkit.inspection.findings import KINDS


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Dark and light scenes in two splits."""
    root = tmp_path_factory.mktemp("planted")
    for split, n in (("train", 16), ("test", 8)):
        for label, factor in (("dark", 0.3), ("light", 1.0)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                seed = 1000 * len(split) + 100 * len(label) + i
                pixels = np.asarray(scene(seed), dtype=np.float32) * factor
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02}.png")
    (root / "train/light/90.png").write_bytes((root / "test/light/01.png").read_bytes())
    with Image.open(root / "test/light/03.png") as image:
        ImageOps.mirror(image).save(root / "train/light/91.png")
    (root / "train/light/92.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def extractor(tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    return FeatureExtractor("test_resnet", pretrained=False, image_size=48, store=store)


@pytest.fixture(scope="module")
def found(planted, extractor):
    return inspect_dataset(planted, extractor)


def test_copies_and_unreadable_images_are_to_be_left_out(found):
    assert set(found.excluded()) == {f"train/light/{i}.png" for i in (90, 91, 92)}
    lines = {line["path"]: line for line in found.lines() if line["excluded"]}
    assert lines["train/light/90.png"]["kind"] == "exact duplicate"
    assert lines["train/light/90.png"]["other"] == "test/light/01.png"
    assert lines["train/light/91.png"]["kind"] == "near duplicate"
    assert lines["train/light/91.png"]["other"] == "test/light/03.png"
    assert lines["train/light/92.png"]["kind"] == "odd file"


def test_kinds_stand_one_after_another_the_surest_first(found):
    kinds = [one.kind for one in found.findings]
    assert sorted(kinds, key=KINDS.index) == kinds
    assert all(0 <= one.score <= 1 for one in found.findings)


def test_balance_counts_unreadable_images_too(found):
    assert found.balance["train"] == {"dark": 16, "light": 19}
    assert found.balance["test"] == {"dark": 8, "light": 8}
    assert "missing classes" not in found.facts


def test_all_of_a_kind_can_be_excluded_too(found):
    more = with_excluded(found, ["odd file", "outlier"])
    added = {
        found.images.names[one.image] for kind in ("odd file", "outlier") for one in found.of(kind)
    }
    assert set(more.excluded()) == set(found.excluded()) | added
    with pytest.raises(
        ValueError, match="unknown kind of finding 'outliers'; did you mean 'outlier'"
    ):
        with_excluded(found, ["outliers"])


def test_a_full_store_is_not_filled_again(found, planted, extractor):
    again = inspect_dataset(planted, extractor, n_threads=1)
    assert again.lines() == found.lines()
    assert "no weights loaded" in again.facts["features"]


def test_mirrored_rows_are_looked_at_too(found, planted, extractor):
    again = inspect_dataset(planted, extractor, uses_mirrored=True)
    assert set(again.excluded()) == set(found.excluded())


def test_what_cannot_be_inspected(extractor):
    bag = ImageBag((scene(0), scene(1)), ("0", "1"))
    with pytest.raises(ValueError, match="items of several images can't be inspected"):
        inspect_dataset(ImageSet((bag,), ("bag",)), extractor)
    with pytest.raises(ValueError, match="task"):
        inspect_dataset([scene(0)], extractor, task="detection")
    maps = FeatureExtractor("test_resnet", "stage2.map", pretrained=False, store=False)
    with pytest.raises(ValueError, match="map"):
        inspect_dataset([scene(0)], maps)


def test_labels_that_cannot_be_judged_are_told_before_the_work(extractor):
    scenes = tuple(scene(i) for i in range(3))
    names = ("0.png", "1.png", "2.png")
    with pytest.raises(ValueError, match=r"the label of '1\.png' is 'many'; give a number"):
        inspect_dataset(ImageSet(scenes, names, ("1", "many", None)), extractor, task="regression")
    counts = (("0", "1"), ("3", "0"), ("0", "0"))
    with pytest.raises(ValueError, match=r"columns of 0 and 1, but column 0 of '1\.png' is 3"):
        inspect_dataset(ImageSet(scenes, names, counts, label_names=("cat", "dog")), extractor)


@pytest.mark.parametrize("labels", [None, ("a",) * 2, (None, "a")])
def test_a_handful_of_images(extractor, labels):
    images = ImageSet((scene(0), scene(1)), ("0", "1"), labels)
    found = inspect_dataset(images, extractor)
    assert found.findings == []
    assert found.excluded() == []
    [one] = inspect_dataset([scene(5)], extractor).facts["images"]
    assert one == "1"
