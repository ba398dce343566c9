"""Rows that follow from their ids, so that any row can be checked without a second store."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray

from transferkit.spec import STORAGE_DTYPES, FeatureSpec, Preprocess
from transferkit.store import FeatureStore, shards
from transferkit.store.encoding import BLOCK, VALUE_TYPES
from transferkit.store.places import MemoryPlace, ObjectPlace

from .remote import Remote

# Of these tests, those that are about files of a disk name "local" alone.
PLACES = ("local", "memory", "file")
PREPROCESS = Preprocess((224, 224), "bicubic", 0.875, "center", (0.5,) * 3, (0.5,) * 3)
SPEC = FeatureSpec("timm:resnet18", "{}", "random:0", PREPROCESS, "pre_logits")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out half of the storage classes in places that aren't a plain folder.

    A place sees bytes, whatever they mean.
    """

    def is_wanted(item: pytest.Item) -> bool:
        given = item.callspec.params if hasattr(item, "callspec") else {}
        is_odd = given.get("stored_as") in ("float16", "int8-maps")
        return not (is_odd and given.get("place") in ("memory", "file"))

    items[:] = filter(is_wanted, items)


@pytest.fixture(params=[*STORAGE_DTYPES, "int8-maps"])
def stored_as(request: pytest.FixtureRequest) -> str:
    """Storage class and kind of the rows, which int8 encodes otherwise if they are maps."""
    return request.param


@pytest.fixture
def storage(stored_as: str) -> str:
    return stored_as.partition("-")[0]


@pytest.fixture
def spec(storage: str) -> FeatureSpec:
    return dataclasses.replace(SPEC, storage=storage)


@pytest.fixture
def other_spec(spec: FeatureSpec) -> FeatureSpec:
    """Another key, of the same storage."""
    return dataclasses.replace(spec, weights="random:1")


@pytest.fixture
def map_shape(stored_as: str) -> Callable[..., tuple[int, ...]]:
    """The shape of a row, which is made that of a map where int8 holds maps, or takes no other."""

    def of(*shape: int) -> tuple[int, ...]:
        is_free = not stored_as.startswith("int8") or (stored_as == "int8" and len(shape) == 1)
        return shape if is_free or len(shape) == 3 else (1, 1, *shape)[-3:]

    return of


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    """Which kind of place the store is in; most tests run in each."""
    return request.param


@pytest.fixture
def root(
    request: pytest.FixtureRequest, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path | Remote]:
    """Where stores may be made; what they tell of their files can be used as paths are."""
    if place in ("local", "file", "process"):
        yield tmp_path
        return
    where = ObjectPlace.where
    monkeypatch.setattr(ObjectPlace, "where", lambda *args: Remote(where(*args)))
    if place == "s3":
        yield Remote(request.getfixturevalue("bucket"))
        return
    yield Remote("memory://tests")
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def store(place: str, root: Path | Remote) -> FeatureStore:
    path = root / "store"
    if place == "process":
        return FeatureStore(MemoryPlace())
    return FeatureStore(f"file://{path}" if place == "file" else path)


@pytest.fixture
def load(store: FeatureStore) -> Callable[..., shards.Shard]:
    """Load a shard of the store by its path."""

    def load(path: Path | Remote, spec: FeatureSpec, storage: str | None = None) -> shards.Shard:
        name = f"{spec.key}/shards/{path.name}"
        return shards.load(store.place, name, key=spec.key, storage=storage or spec.storage)

    return load


@pytest.fixture
def make_ids() -> Callable[..., list[bytes]]:
    def make(n: int, begin: int = 0) -> list[bytes]:
        # Some end in zero bytes, which NumPy's strings would lose.
        tails = (b"", b"\0", b"\0\0\0")
        whole = [hashlib.sha256(str(i).encode()).digest() for i in range(begin, begin + n)]
        return [d[: 16 - len(tails[d[0] % 3])] + tails[d[0] % 3] for d in whole]

    return make


@pytest.fixture
def rows_of(storage: str, map_shape) -> Callable[..., NDArray[Any]]:
    """Rows that every storage holds exactly, because they are whole numbers up to 127.

    That is so in int8 if 127 is the largest of each channel or block.
    """

    def rows(ids: Sequence[bytes], shape: tuple[int, ...] = (4,)) -> NDArray[Any]:
        shape = map_shape(*shape)
        size = int(np.prod(shape))
        values = [np.random.default_rng(list(i)).integers(-127, 128, size) for i in ids]
        array = np.array(values).reshape(len(ids), *shape)
        if storage == "int8":
            array[(..., 0, 0) if len(shape) == 3 else (..., slice(None, None, BLOCK))] = 127
        return array.astype(VALUE_TYPES[storage])

    return rows


@pytest.fixture
def write(store, rows_of) -> Callable[..., Path]:
    """Write a shard of a run."""

    def write(spec: FeatureSpec, ids: Sequence[bytes], run: str = "1", **more: str) -> Path:
        return store.write(spec, ids, rows_of(ids), provenance={"run": run, **more})

    return write


@pytest.fixture
def names(store) -> Callable[[FeatureSpec], set[str]]:
    """Names of the files in a key's folder of shards."""
    return lambda spec: {p.name for p in (store.path / spec.key / "shards").iterdir()}


@pytest.fixture
def shard(store, spec, make_ids, rows_of) -> Path:
    """A shard of three rows of two numbers."""
    ids = make_ids(3)
    return store.write(spec, ids, rows_of(ids, (2,)), provenance={"batch_size": "64"})


@pytest.fixture
def flip() -> Callable[[Path, int], None]:
    def flip(path: Path, at: int, bits: int = 0x40) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= bits
        if isinstance(path, Remote):
            path.write_bytes(content)
            return
        # In place: the same file, as a bad disk would have it.
        with path.open("r+b") as file:
            file.write(content)
            file.flush()

    return flip


@pytest.fixture
def damage(flip) -> Callable[[Path, int], None]:
    """Flip a bit in the last byte of a row's values."""

    def damage(path: Path, row: int) -> None:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        rows = json.loads(content[8 : 8 + length])["rows"]
        begin, end = rows["data_offsets"]
        size = (end - begin) // rows["shape"][0]
        flip(path, 8 + length + begin + (row + 1) * size - 1)

    return damage


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing takes most of these tests' time; the processes that they start do sync."""
    monkeypatch.setattr("os.fsync", lambda handle: None)
