import numpy as np
import pytest

from tests.pictures import picture, write_pictures
from transferkit import FeatureExtractor, FeatureStore


@pytest.fixture
def extractor(tmp_path):
    return FeatureExtractor(
        "test_resnet",
        features=["pre_logits", "stage1.map"],
        pretrained=False,
        image_size=64,
        store=tmp_path / "store",
        batch_size=4,
    )


def test_a_plan_stores_nothing_and_counts_what_is_missing(extractor, tmp_path):
    files = write_pictures(tmp_path / "images", range(20))
    plan = extractor.plan(files)
    assert (plan.n_images, plan.n_missing) == (20, 20)
    assert FeatureStore(tmp_path / "store").list_keys() == []
    rows = extractor.extract(files).rows
    # What it said of the disk is what the rows take.
    assert plan.n_bytes == sum(array.nbytes for array in rows.values())
    assert plan.images_per_second == pytest.approx(20 / plan.seconds)
    assert set(plan.seconds_per_image) == {"read", "decode", "forward", "write"}
    assert plan.slowest == max(plan.seconds_per_image, key=plan.seconds_per_image.get)
    again = extractor.plan(files)
    assert (again.n_missing, again.seconds, again.n_bytes) == (0, 0, 0)


def test_a_plan_of_images_in_memory_without_a_store(extractor):
    images = np.stack([picture(i) for i in range(3)])
    assert extractor.set_params(store=False).plan(images).n_missing == 3


def test_unreadable_images(extractor, tmp_path):
    (tmp_path / "a.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="none of 1 images that were tried could be read"):
        extractor.plan([tmp_path / "a.jpg"])
