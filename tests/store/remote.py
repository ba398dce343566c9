"""What tests do to files behind the store's back, for files of an object store."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import fsspec


class Remote(str):
    """A URL with so much of `pathlib.Path` that a test need not know where the store is."""

    __slots__ = ()

    @property
    def system(self) -> Any:
        system = fsspec.filesystem(self.partition("://")[0])
        system.invalidate_cache()
        return system

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self}/{name}")

    @property
    def name(self) -> str:
        return self.rpartition("/")[2]

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def suffix(self) -> str:
        return f".{self.name.rpartition('.')[2]}"

    @property
    def parent(self) -> "Remote":
        return Remote(self.rpartition("/")[0])

    def with_name(self, name: str) -> "Remote":
        return self.parent / name

    def mkdir(self, **options: bool) -> None:
        """Do nothing: there are no folders."""

    def exists(self) -> bool:
        return bool(self.system.exists(self))

    def iterdir(self) -> Iterator["Remote"]:
        return (self / name.rpartition("/")[2] for name in self.system.ls(self, detail=False))

    def stat(self) -> SimpleNamespace:
        return SimpleNamespace(st_size=self.system.info(self)["size"])

    def read_bytes(self) -> bytes:
        return bytes(self.system.cat_file(self))

    def read_text(self) -> str:
        return self.read_bytes().decode()

    def write_bytes(self, content: bytes) -> None:
        self.system.pipe_file(self, bytes(content))

    def write_text(self, text: str) -> None:
        self.write_bytes(text.encode())

    def rename(self, other: "Remote") -> "Remote":
        other.write_bytes(self.read_bytes())
        self.unlink()
        return other

    def unlink(self) -> None:
        self.system.rm_file(self)
