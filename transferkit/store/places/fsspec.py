"""A store on object storage, through fsspec and the library of the URL's kind.

An object is there whole or not at all, so a shard is one put. What a place can't tell is never
guessed: a request that fails is made again a few times, and then the run fails.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from transferkit.remote import LIBRARIES, RemoteError, RemoteFiles, check_url, tag_and_date
from transferkit.store.places.place import PlaceError, Stamp, StorePlace

__all__ = ["LIBRARIES", "ObjectPlace"]

T = TypeVar("T")


class ObjectPlace(StorePlace):
    """A prefix of an object store.

    Parameters
    ----------
    url : str
        Such as ``s3://bucket/prefix``. Credentials and endpoints are found by the library, in
        the environment or in its own files, and are no part of it.

    Raises
    ------
    ValueError
        If the URL holds more than a place, or its library isn't installed.
    """

    gap_bytes = 1 << 20
    at_once = 8

    def __init__(self, url: str) -> None:
        check_url(url, "store")
        scheme, _, rest = url.partition("://")
        self.url = f"{scheme.lower()}://{rest.strip('/')}"
        self.is_shared = scheme.lower() != "memory"
        self._files = RemoteFiles(scheme.lower(), "a store")

    def __reduce__(self) -> tuple[type["ObjectPlace"], tuple[str]]:
        # Connections, and whatever they were opened with, stay here.
        return type(self), (self.url,)

    def where(self, name: str = "") -> str:
        """Return the URL of a file here."""
        return f"{self.url}/{name}" if name else self.url

    def names(self, folder: str) -> list[str]:
        """List the names in a folder, sorted; none if there is no such folder."""
        path = self._path(folder)
        try:
            found = self._ask("list", folder, lambda: self._system().ls(path, detail=False))
        except FileNotFoundError:
            return []
        # Asked for a file, or for a folder that has an object of its own, they list that too.
        others = (name.rstrip("/") for name in found if name.strip("/") != path.strip("/"))
        return sorted({name.rpartition("/")[2] for name in others})

    def files(self, folder: str) -> dict[str, tuple[int, Stamp]]:
        """List the files in a folder by name, each with its bytes and its stamp."""
        path = self._path(folder)
        try:
            found = self._ask("list", folder, lambda: self._system().ls(path, detail=True))
        except FileNotFoundError:
            return {}
        told = {
            info["name"].rpartition("/")[2]: _size_and_stamp(info)
            for info in found
            if info["type"] == "file" and info["name"].strip("/") != path.strip("/")
        }
        return dict(sorted(told.items()))

    def size_and_stamp(self, name: str) -> tuple[int, Stamp]:
        """Return a file's bytes, and its ETag, or what this kind of place has instead."""
        return _size_and_stamp(_or_fail(lambda: self._files.info(self.where(name))))

    def read(self, name: str, at: int, n: int) -> bytes:
        """Return `n` bytes at `at`; fewer if the file ends before."""
        return _or_fail(lambda: self._files.read(self.where(name), at, n))

    def write_whole(self, name: str, parts: Iterable[bytes | memoryview]) -> None:
        """Write a file by one put; the library sends a large one in parts, which no list shows."""
        content = b"".join(parts)
        try:
            self._ask("write", name, lambda: self._system().pipe_file(self._path(name), content))
        except FileNotFoundError as error:
            raise PlaceError(
                f"could not write {self.where(name)}: there is no such bucket; make it first, and "
                "run it again: what was stored before is kept"
            ) from error

    def remove(self, name: str) -> None:
        """Remove a file; no matter if it isn't there."""

        def remove() -> None:
            self._system().rm_file(self._path(name))

        try:
            self._ask("remove", name, remove)
        except FileNotFoundError:
            return

    def folder_bytes(self, folder: str) -> int:
        """Size of all files in a folder and below."""

        def find() -> dict[str, Any]:
            return dict(self._system().find(self._path(folder), detail=True))

        return sum(info["size"] for info in self._ask("list", folder, find).values())

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it."""

        def remove() -> None:
            self._system().rm(self._path(folder), recursive=True)

        try:
            self._ask("remove", folder, remove)
        except FileNotFoundError:
            return

    def check_writable(self, what: str) -> None:
        """Raise if there is no such bucket, or if nobody answers."""
        if not self.is_shared:
            return
        bucket = self._path().partition("/")[0]
        try:
            self._ask("look at", "", lambda: self._system().info(bucket))
        except FileNotFoundError as error:
            raise ValueError(
                f"{what}: there is no bucket {bucket!r}; make it first, or give another store "
                f"than {self.url!r}"
            ) from error

    def _path(self, name: str = "") -> str:
        """Return what the library calls a file."""
        return self._files.path(self.where(name))

    def _system(self) -> Any:
        return self._files.system()

    def _ask(self, verb: str, name: str, request: Callable[[], T]) -> T:
        """Make a request, again if need be; `FileNotFoundError` is an answer."""
        return _or_fail(lambda: self._files.ask(verb, self.where(name), request))


def _size_and_stamp(info: Mapping[str, Any]) -> tuple[int, Stamp]:
    return info["size"], (*tag_and_date(info), info["size"])


def _or_fail(ask: Callable[[], T]) -> T:
    """Ask, and say what is sure whatever the place doesn't answer."""
    try:
        return ask()
    except RemoteError as error:
        raise PlaceError(f"{error}, and run it again: what was stored before is kept") from error
