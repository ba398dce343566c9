import dataclasses

import numpy as np
import pytest
import safetensors.numpy

from tests.pictures import picture, write_pictures
from transferkit import FeatureExtractor, FeatureStore
from transferkit.cli._output import print_plan
from transferkit.extract import Estimate, mirrored, planning


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


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_bytes_of_maps_and_their_mirror_images(extractor, tmp_path, storage):
    files = write_pictures(tmp_path / "images", range(10))
    extractor.set_params(features="stage1.map,stage3.map", storage=storage)
    both = None, mirrored(extractor.resolve().preprocess)
    planned = extractor.plan(files, views=both)
    assert (planned.n_images, planned.n_missing) == (10, 20)
    assert extractor.open_store().list_keys() == []
    for view in both:
        rows = extractor.extract(files, view=view).rows
    assert planned.row_shapes == {name: array.shape[1:] for name, array in rows.items()}
    # What it said is what the files hold, beside ids and checksums.
    n_bytes = 0
    for path in (tmp_path / "store").rglob("*.safetensors"):
        tensors = safetensors.numpy.load_file(path)
        n_bytes += sum(t.nbytes for name, t in tensors.items() if name not in ("ids", "crc"))
    assert planned.n_bytes == planned.bytes_as[storage] == n_bytes
    wide = sum(np.prod(shape) for shape in planned.row_shapes.values()) * 20
    channels = sum(shape[0] for shape in planned.row_shapes.values()) * 20
    assert planned.bytes_as == {
        "float32": 4 * wide,
        "float16": 2 * wide,
        "int8": wide + 4 * channels,
    }
    assert extractor.plan(files, views=both).n_missing == 0


def test_only_what_a_view_lacks_is_counted(extractor, tmp_path):
    files = write_pictures(tmp_path / "images", range(10))
    extractor.set_params(features=["stage1.map"])
    view = mirrored(extractor.resolve().preprocess)
    extractor.extract(files)
    extractor.extract(files[:7], view=view)
    planned = extractor.plan(files, views=(None, view))
    assert planned.n_missing == 3
    assert planned.n_bytes == 3 * 4 * np.prod(planned.row_shapes["stage1.map"])
    assert extractor.plan(files).n_missing == 0


def test_no_more_is_written_for_the_timing_than_a_shard(extractor, monkeypatch):
    written = []
    original = FeatureStore.write
    monkeypatch.setattr(
        FeatureStore,
        "write",
        lambda self, spec, ids, rows: (
            written.append(rows.nbytes) or original(self, spec, ids, rows)
        ),
    )
    extractor.set_params(features=["stage1.map"], store=False)
    images = np.stack([picture(i) for i in range(5)])
    n_bytes = extractor.plan(images).n_bytes // 5
    monkeypatch.setattr(planning, "SHARD_BYTES", 3 * n_bytes)
    extractor.plan(images)
    assert written == [256 * n_bytes, 3 * n_bytes]


LARGE = Estimate(
    n_images=1000,
    n_missing=1000,
    seconds_per_image={"forward": 0.1},
    images_per_second=10.0,
    seconds=100.0,
    n_bytes=4_000_000_000,
    slowest="forward",
    row_shapes={"stage1.map": (256, 64, 64), "stage3.map": (1024, 16, 16)},
    bytes_as={"float32": 4_000_000_000, "float16": 2_000_000_000, "int8": 1_005_000_000},
    n_bytes_free=3_000_000_000,
)


def test_narrower_storage_is_mentioned_if_maps_are_large(capsys):
    print_plan(LARGE, as_json=False)
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["disk"] == "4.0 GB, but only 3.0 GB are free"
    assert lines["maps"] == "stage1.map 256 × 64 × 64, stage3.map 1024 × 16 × 16"
    assert lines["hint"] == "maps are large; --storage float16 2.0 GB, --storage int8 1.0 GB"
    half = dataclasses.replace(LARGE, n_bytes=2_000_000_000, n_bytes_free=None)
    assert half.narrower == {"int8": 1_005_000_000}
    small = dataclasses.replace(LARGE, n_bytes=4_000_000)
    vectors = dataclasses.replace(LARGE, row_shapes={"pre_logits": (512,)})
    for plan in (small, vectors):
        assert plan.narrower == {}
        print_plan(plan, as_json=False)
        assert "hint" not in capsys.readouterr().out
    assert "maps" not in capsys.readouterr().out
