"""The verbs of a place, the same in each kind of place."""

import errno
import pickle
import pkgutil
import threading

import pytest

from tests.store.conftest import PLACES
from transferkit.store import places
from transferkit.store.places import LocalPlace, MemoryPlace, ObjectPlace, is_url, open_place
from transferkit.store.places.place import StorePlace, _joined


@pytest.fixture
def stored_as() -> str:
    return "float32"


@pytest.fixture(params=(*PLACES, "process"))
def place(request: pytest.FixtureRequest) -> str:
    """A place in memory has no name, so what is about paths and URLs isn't tried on it."""
    return request.param


@pytest.fixture
def there(store) -> StorePlace:
    return store.place


def test_every_kind_of_place_is_a_subject(there, place):
    """A new file in the folder of places needs a place in the common suite."""
    kinds = {name for _, name, _ in pkgutil.iter_modules(places.__path__)} - {"place"}
    assert kinds == {"local", "fsspec", "memory"}
    assert PLACES == ("local", "memory", "file")
    assert {LocalPlace, MemoryPlace, ObjectPlace} == set(StorePlace.__subclasses__())
    expected = {"memory": ObjectPlace, "process": MemoryPlace}
    assert isinstance(there, expected.get(place, LocalPlace))
    assert len(StorePlace.__abstractmethods__) == 10  # six verbs, and four that follow the kind


def test_a_file_is_there_whole(there):
    there.write_whole("key/shards/a", [b"one", memoryview(b"two"), b""])
    for at, n, expected in [(0, 6, b"onetwo"), (2, 3, b"etw"), (4, 100, b"wo"), (6, 5, b"")]:
        assert there.read("key/shards/a", at, n) == expected
        with there.open("key/shards/a") as file:
            assert file.read(at, n) == expected
            assert file.fetched([(0, 2), (at, n)]).read(at, n) == expected
    assert there.size_and_stamp("key/shards/a")[0] == 6
    assert there.folder_bytes("key") == 6
    there.write_whole("key/empty", [])
    assert there.read("key/empty", 0, 10) == b""
    assert there.size_and_stamp("key/empty")[0] == 0


def test_names_are_those_of_one_folder(there):
    assert there.names("") == there.names("key") == []
    for name in ("key/b", "key/a", "key/shards/c", "other/d"):
        there.write_whole(name, [b"x"])
    assert there.names("") == ["key", "other"]
    assert there.names("key") == ["a", "b", "shards"]
    assert there.names("key/shards") == ["c"]
    assert there.names("ke") == []
    there.remove("key/a")
    there.remove("key/a")  # no matter
    assert there.names("key") == ["b", "shards"]
    there.remove_folder("key")
    assert there.names("") == ["other"]


def test_files_come_with_sizes_and_stamps(there):
    assert there.files("key") == {}
    for name, content in {"key/b": b"12", "key/a": b"", "other/c": b"x"}.items():
        there.write_whole(name, [content])
    before = there.files("key")
    assert {name: size for name, (size, _) in before.items()} == {"a": 0, "b": 2}
    assert list(before) == ["a", "b"]
    assert there.files("key") == before
    there.write_whole("key/b", [b"21"])
    assert there.files("key")["a"] == before["a"]
    assert there.files("key")["b"] != before["b"]


@pytest.mark.parametrize("place", ["memory"])
def test_work_within_work_is_done_one_after_the_other(there, monkeypatch):
    monkeypatch.setattr(type(there), "at_once", 4)

    def names(n):
        return [threading.current_thread().name, *there.each(lambda _: named(), range(n))]

    def named():
        return threading.current_thread().name

    found = list(there.each(names, [0, 3, 3, 3]))
    assert [len(one) for one in found] == [1, 4, 4, 4]
    assert all(set(one) == {one[0]} for one in found)
    assert threading.current_thread().name not in {one[0] for one in found}
    # Afterwards this thread may ask for many again, and one item is no reason for threads.
    assert set(there.each(lambda _: named(), range(9))) != {named()}
    assert list(there.each(lambda _: named(), [0])) == [named()]


def test_what_is_not_there_is_said_to_be_so(there, place):
    there.write_whole("key/a", [b"x"])
    for name in ("key/b", "nothing/at/all"):
        assert not there.has(name)
        for ask in (there.size_and_stamp, lambda n: there.read(n, 0, 1)):
            with pytest.raises(FileNotFoundError, match="No such file") as caught:
                ask(name)
            assert caught.value.errno == errno.ENOENT
            assert str(caught.value.filename) == str(there.where(name))
    assert there.has("key/a")
    assert not there.has("key/a/b")


def test_a_stamp_tells_files_apart(there):
    there.write_whole("a", [b"one"])
    stamp = there.size_and_stamp("a")
    assert there.size_and_stamp("a") == stamp
    there.write_whole("a", [b"two"])
    assert there.size_and_stamp("a") != stamp


def test_a_copy_is_the_same_place(there, place):
    there.write_whole("a", [b"one"])
    if place == "process":
        with pytest.raises(TypeError, match="can't be sent to another process"):
            pickle.dumps(there)
        return
    copy = pickle.loads(pickle.dumps(there))
    assert copy.where("a") == there.where("a")
    assert copy.read("a", 0, 3) == b"one"


def test_each_keeps_the_order(there):
    assert list(there.each(lambda n: n * n, range(50))) == [n * n for n in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(there.each(lambda n: 1 // n, [1, 0]))


def test_near_parts_are_one_request():
    spans = [(100, 10), (0, 4), (8, 4), (111, 1), (105, 2)]
    assert _joined(spans, 0) == [(0, 4), (8, 4), (100, 10), (111, 1)]
    assert _joined(spans, 4) == [(0, 12), (100, 12)]
    assert _joined(spans, 10**6) == [(0, 112)]
    assert _joined([], 5) == []


def test_a_file_url_is_a_folder(tmp_path):
    folder = tmp_path / "a b"
    for url in (folder.as_uri(), f"file://localhost{folder.as_posix()}"):
        assert is_url(url)
        assert open_place(url).where() == folder
    with pytest.raises(ValueError, match="give file:///PATH"):
        open_place("file://server/share")
