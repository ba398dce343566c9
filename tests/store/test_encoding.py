"""int8 against a loop over scales in double precision, and what moves it must not change."""

import itertools
import zlib

import numpy as np
import pytest
import safetensors.numpy

from tests.store.test_header import join, split
from transferkit.store import CorruptRows, FeatureStore, export
from transferkit.store.encoding import are_finite, cosines, encode, row_type, stored_values
from transferkit.store.header import BadShard, check_header

pytestmark = pytest.mark.parametrize("stored_as", ["int8-maps"])
VECTORS = pytest.mark.parametrize("width", [1, 63, 64, 65, 200])


def maps(n, shape=(6, 5, 3), seed=0):
    """Channels of very different sizes, as those of a network are."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-6, 6, (n, shape[0], 1, 1))
    return (sizes * rng.normal(size=(n, *shape))).astype(np.float32)


def by_hand(rows):
    """Quantised and back, one channel at a time."""
    found = np.empty(rows.shape, np.float64)
    for i, c in itertools.product(range(rows.shape[0]), range(rows.shape[1])):
        channel = rows[i, c].astype(np.float64)
        scale = np.abs(channel).max() / 127 or 1
        found[i, c] = [[round(v / scale) * scale for v in line] for line in channel.tolist()]
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_rows_are_those_of_a_loop(store, spec, make_ids, dtype):
    ids, rows = make_ids(5), maps(5).clip(-6e4, 6e4).astype(dtype)
    store.write(spec, ids, rows)
    found = store.read(spec, ids)
    assert found.dtype == np.float32
    # Some quotient may lie at a half, where single and double precision part.
    is_off = ~np.isclose(found, by_hand(rows), rtol=1e-6, atol=0)
    assert is_off.mean() < 0.01
    highest = np.abs(rows.astype(np.float64)).max(axis=(2, 3), keepdims=True)
    assert (np.abs(found - rows) <= highest / 254 * (1 + 2e-5)).all()
    assert np.abs(found).max(axis=(2, 3), keepdims=True) == pytest.approx(highest, rel=1e-6)
    # The measured loss, a second way.
    np.testing.assert_array_equal(stored_values(rows, "int8"), found)
    flat, given = found.reshape(5, -1).astype(float), rows.reshape(5, -1).astype(float)
    flat, given = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (flat, given))
    np.testing.assert_allclose(cosines(rows, found), (flat * given).sum(axis=1), rtol=1e-12)
    assert (cosines(0 * rows, found) == 1).all()


def vectors(n, width):
    """Blocks of very different sizes, and a few values that are much larger than their block."""
    rng = np.random.default_rng(width)
    sizes = np.repeat(10.0 ** rng.uniform(-6, 6, (n, -(-width // 64))), 64, axis=1)[:, :width]
    rows = sizes * rng.normal(size=(n, width))
    rows[:, ::50] *= 100
    return rows.astype(np.float32)


@VECTORS
def test_vectors_have_a_scale_for_64_values(store, spec, make_ids, width):
    ids, rows = make_ids(7), vectors(7, width)
    rows[3, :64] = 0
    path = store.write(spec, ids, rows)
    n_scales = -(-width // 64)
    tensors = safetensors.numpy.load(path.read_bytes())
    assert tensors["scales"].shape == (7, n_scales)
    assert tensors["rows"].shape == (7, width)
    # By hand: each block as a channel of a map.
    expected = np.empty(rows.shape)
    for start in range(0, width, 64):
        block = rows[:, start : start + 64]
        expected[:, start : start + 64] = by_hand(block[:, None, None])[:, 0, 0]
    found = store.read(spec, ids)
    assert found.dtype == np.float32
    assert (~np.isclose(found, expected, rtol=1e-6, atol=0)).mean() < 0.01
    highest = np.repeat(np.maximum.reduceat(np.abs(rows), range(0, width, 64), axis=1), 64, axis=1)
    assert (np.abs(found - rows) <= highest[:, :width] / 254 * (1 + 2e-5)).all()
    stored = store.open(spec, ids)
    np.testing.assert_array_equal(stored[[5, 0, 5]], found[[5, 0, 5]])
    np.testing.assert_array_equal(np.asarray(stored, np.float64), found.astype(np.float64))
    for i, row in enumerate(ids):
        content = row + tensors["scales"][i].tobytes() + tensors["rows"][i].tobytes()
        assert tensors["crc"][i] == zlib.crc32(content)


@VECTORS
def test_vectors_are_moved_as_they_are(store, spec, make_ids, tmp_path, width):
    ids, rows = make_ids(9), vectors(9, width)
    for i in range(0, 9, 3):
        store.write(spec, ids[i : i + 3], rows[i : i + 3])
    before = FeatureStore(store.path).read(spec, ids)
    other = FeatureStore(store.path.with_name("other"))
    assert [merged.n_rows for merged in other.merge(FeatureStore(store.path))] == [9]
    for one in (store, other):
        assert FeatureStore(one.path).compact()
        fresh = FeatureStore(one.path)
        np.testing.assert_array_equal(fresh.read(spec, ids), before)
        assert fresh.verify() == []
    exported = np.load(export(store, spec, tmp_path / "rows.npy", ids=ids))
    np.testing.assert_array_equal(exported, before)


@pytest.mark.parametrize("value", [0, -0.0, 1e-44, 1e-36, 1e-30, -1, 7e4, -3e38])
def test_channels_of_one_value(store, spec, make_ids, value):
    rows = np.full((1, 2, 3, 3), value, np.float32)
    rows[:, 1] = 5  # another channel isn't touched by it
    store.write(spec, make_ids(1), rows)
    found = store.read(spec, make_ids(1))
    assert (found[:, 1] == 5).all()
    assert found[:, 0] == pytest.approx(rows[:, 0], rel=1e-6, abs=1e-35)


def test_as_many_bytes_as_said(store, spec, make_ids):
    path = store.write(spec, make_ids(10), maps(10, (8, 6, 7)))
    _, data = split(path)
    assert len(data) == 10 * (16 + 4 + 4 * 8 + 8 * 6 * 7)
    assert row_type("int8", (8, 6, 7)).itemsize == 4 * 8 + 8 * 6 * 7


def test_the_checksum_covers_scales_and_values(store, spec, make_ids):
    ids, rows = make_ids(4), maps(4)
    tensors = safetensors.numpy.load(store.write(spec, ids, rows).read_bytes())
    for i in range(4):
        content = ids[i] + tensors["scales"][i].tobytes() + tensors["rows"][i].tobytes()
        assert tensors["crc"][i] == zlib.crc32(content)
    assert tensors["rows"].dtype == np.int8
    scaled = tensors["rows"] * tensors["scales"][..., None, None]
    np.testing.assert_array_equal(store.read(spec, ids), scaled)


def test_a_damaged_scale_costs_its_row(store, spec, make_ids, flip):
    ids = make_ids(4)
    path = store.write(spec, ids, maps(4))
    header, data = split(path)
    begin, end = header["scales"]["data_offsets"]
    flip(path, path.stat().st_size - len(data) + begin + 2 * (end - begin) // 4)
    with pytest.raises(CorruptRows) as error:
        store.read(spec, ids)
    assert error.value.ids == (ids[2],)
    assert [fault.ids for fault in FeatureStore(store.path).verify()] == [(ids[2],)]


def test_rows_of_other_shapes_are_refused(store, spec, make_ids):
    ids = make_ids(2)
    for shape in [(2, 5, 4), (2, 5, 4, 3, 2)]:
        with pytest.raises(ValueError, match=r"int8 is for vectors .* storage is float16") as error:
            store.write(spec, ids, np.ones(shape))
        assert "\n" not in str(error.value)
    assert not store.path.exists()


def test_encoded_rows_are_taken_as_they_are(store, spec, make_ids):
    ids, rows = make_ids(3), maps(3)
    encoded = encode(rows, "int8")
    path = store.write(spec, ids, encoded)
    assert FeatureStore(store.path.with_name("b")).write(spec, ids, rows).name == path.name
    encoded["scales"][1, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 3 rows hold values that aren't finite"):
        store.write(spec, ids, encoded)
    for wrong in (rows.astype([("scales", "f4")]), np.zeros(3, [("rows", "i1", (6, 5, 3))])):
        with pytest.raises(ValueError, match="give real numbers"):
            store.write(spec, ids, wrong)


def rewritten(path, ids, **tensors):
    """Change tensors of a shard, and make its checksums right again."""
    key = split(path)[0]["__metadata__"]["key"]
    tensors = safetensors.numpy.load(path.read_bytes()) | tensors
    parts = zip(ids, tensors["scales"], tensors["rows"], strict=True)
    checks = [zlib.crc32(one + scales.tobytes() + rows.tobytes()) for one, scales, rows in parts]
    tensors |= {"crc": np.array(checks, np.uint32)}
    path.write_bytes(safetensors.numpy.save(tensors, {"key": key}))


def test_nothing_is_rounded_twice(store, spec, make_ids):
    """Merging and compacting keep every scale and value, whatever a stranger's shard holds."""
    ids, rows = make_ids(9), maps(9)
    for i in range(0, 9, 3):
        path = store.write(spec, ids[i : i + 3], rows[i : i + 3])
    # Values that our own encoding wouldn't write: no 127 in a channel, and -128.
    odd = np.clip(safetensors.numpy.load(path.read_bytes())["rows"], -90, 90)
    odd[0, 0, 0, 0] = -128
    rewritten(path, ids[6:], rows=odd)
    before = FeatureStore(store.path).read(spec, ids)
    other = FeatureStore(store.path.with_name("other"))
    assert [merged.n_rows for merged in other.merge(FeatureStore(store.path))] == [9]
    np.testing.assert_array_equal(other.read(spec, ids), before)
    for one in (store, other):
        assert FeatureStore(one.path).compact()
        np.testing.assert_array_equal(FeatureStore(one.path).read(spec, ids), before)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, 3e38])
def test_a_strangers_scales_that_are_no_numbers(store, spec, make_ids, scale):
    ids = make_ids(3)
    path = store.write(spec, ids, maps(3))
    scales = safetensors.numpy.load(path.read_bytes())["scales"]
    scales[1, 2] = scale
    rewritten(path, ids, scales=scales)
    here = FeatureStore(store.path.with_name("here"))
    [merged] = here.merge(FeatureStore(store.path))
    assert merged.n_rows == 2
    [fault] = merged.faults
    assert fault.ids == (ids[1],)
    assert fault.reason == "1 of 3 rows hold values that aren't finite"


def test_every_float16_is_known_to_be_finite_or_not(stored_as):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    np.testing.assert_array_equal(are_finite(every[:, None]), np.isfinite(every))
    assert are_finite(np.zeros((0, 3), np.float16)).shape == (0,)


def test_other_types_and_parts(store, spec, make_ids):
    ids, rows = make_ids(20), maps(20).clip(-6e4, 6e4)
    for i in range(0, 20, 5):
        store.write(spec, ids[i : i + 5], rows[i : i + 5])
    stored = store.open(spec, ids)
    whole = store.read(spec, ids)
    order = np.random.default_rng(0).permutation(20)
    np.testing.assert_array_equal(stored[order], whole[order])
    np.testing.assert_array_equal(np.concatenate(list(stored.batches(7))), whole)
    for dtype in (np.float16, np.float64):
        np.testing.assert_array_equal(np.asarray(stored, dtype), whole.astype(dtype))
    assert stored.nbytes == whole.nbytes


def test_export_is_float32(store, spec, make_ids, tmp_path):
    store.write(spec, make_ids(3), maps(3))
    found = np.load(export(store, spec, tmp_path / "maps.npy", ids=make_ids(3)))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, store.read(spec, make_ids(3)))


def lies():
    """Headers of three maps of 1 × 1 × 2: ids at 0, crc at 48, scales at 60, rows at 72 to 78."""

    def entry(name, **values):
        return lambda h: h | {name: h[name] | values}

    return {
        "no scales": lambda h: {k: v for k, v in h.items() if k != "scales"},
        "scales of another type": entry("scales", dtype="F16"),
        "scales of integers": entry("scales", dtype="I32"),
        "one scale for all": entry("scales", shape=[3]),
        "a scale for each pixel": entry("scales", shape=[1, 3]),
        "scales that are rows'": entry("scales", data_offsets=[66, 78]),
        "scales beyond the file": entry("scales", data_offsets=[60, 10**12], shape=[3, 10**11]),
        "rows of unsigned numbers": entry("rows", dtype="U8"),
        "rows with another axis": entry("rows", shape=[3, 1, 1, 2, 1]),
        "rows are vectors of more blocks": entry("rows", shape=[3, 65]),
        "rows have two axes": entry("rows", shape=[3, 1, 2]),
        "more channels than scales": entry("rows", shape=[3, 2, 1, 1]),
    }


@pytest.mark.parametrize("name", lies())
def test_hostile_headers_are_refused(shard, store, spec, load, make_ids, name):
    header, data = split(shard)
    assert header["rows"]["data_offsets"] == [72, 78]
    join(shard, lies()[name](header), data)
    with pytest.raises(BadShard):
        load(shard, spec)
    assert FeatureStore(store.path).missing(spec, make_ids(3)) == make_ids(3)


def test_a_row_that_would_be_too_large_when_it_is_read(store, spec, load, make_ids, monkeypatch):
    """The limit is that of the float32 row, of which the file holds a quarter."""
    ids = make_ids(1)
    path = store.write(spec, ids, np.ones((1, 2, 4, 4)))
    monkeypatch.setattr("transferkit.store.header.MAX_ROW_BYTES", 4 * 32)
    assert load(path, spec).n_rows == 1
    monkeypatch.setattr("transferkit.store.header.MAX_ROW_BYTES", 4 * 32 - 1)
    check_header.cache_clear()
    with pytest.raises(BadShard, match="a row can't have 128 bytes"):
        load(path, spec)
    monkeypatch.setattr("transferkit.store.inputs.MAX_ROW_BYTES", 4 * 32 - 1)
    with pytest.raises(ValueError, match="a row has 128 bytes"):
        store.write(spec, ids, np.ones((1, 2, 4, 4)))
