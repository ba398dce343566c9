"""Members of tar files: where the bytes of each lie. Headers are read, and nothing is unpacked."""

import tarfile
from collections.abc import Iterator

from transferkit.images.blobs import Blob

__all__ = ["TarReader"]

# What is read at a time: of a file the headers alone, of an object all in large parts, because
# every request takes its time.
_BLOCK_BYTES = 1 << 14
_REMOTE_BLOCK_BYTES = 1 << 22
# A header with all that belongs to it: long names and extended ones. Sizes are the file's own
# claims, and no memory is taken for larger ones.
_MOST_HEADER_BYTES = 1 << 20


class TarReader:
    """A tar file as its library reads it, by headers.

    Parameters
    ----------
    blob : Blob
        The file.
    """

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self._at = 0
        self._block = (0, b"")
        self._left = _MOST_HEADER_BYTES

    def members(self) -> Iterator[tarfile.TarInfo]:
        """Give the header of each member, in the file's order.

        The last one may claim more bytes than the file has.

        Raises
        ------
        ValueError
            If it is no tar, or damaged; the message says where.
        OSError
            If it can't be read.
        """
        n, end = 0, 0
        try:
            # It asks for no more than `read`, `seek` and `tell`; its stubs ask for all of a file.
            archive = tarfile.TarFile(fileobj=self, mode="r", errors="surrogateescape")  # type: ignore[arg-type]
            while (member := archive.next()) is not None:
                if member.size < 0 or archive.offset <= end:
                    raise ValueError("a member has a size below 0")
                n, end = n + 1, archive.offset
                yield member
                if end > self.blob.size:
                    return
                # A million of them would take a gigabyte. The stubs don't know the attribute.
                archive.members.clear()  # type: ignore[attr-defined]
                self._left = _MOST_HEADER_BYTES
            rest = self.content(archive.offset, min(512, max(0, self.blob.size - archive.offset)))
            if any(rest):
                raise ValueError("what follows is no header")
        except OSError:
            raise
        except Exception as error:  # nearly anything, on damaged bytes
            raise ValueError(self._reason(n, end, error)) from error

    def content(self, at: int, n: int) -> bytes:
        """Return `n` bytes at `at`, out of what was read already if they are there."""
        begin, block = self._block
        if not begin <= at <= at + n <= begin + len(block):
            size = _REMOTE_BLOCK_BYTES if self.blob.is_remote else _BLOCK_BYTES
            block = self.blob.read(at, max(0, min(max(n, size), self.blob.size - at)))
            self._block = begin, block = at, block
        return block[at - begin : at - begin + n]

    def _reason(self, n: int, end: int, error: Exception) -> str:
        said = " ".join(str(error).split()) or type(error).__name__
        if n:
            return (
                f"{self.blob.where!r} is damaged at byte {end:,}, behind {n:,} members ({said}); "
                "make it anew, or leave it out"
            )
        hint = ""
        if self.blob.size > 2 and self.content(0, 2) == b"\x1f\x8b":
            hint = ", but compressed: decompress it with gunzip, so that its parts can be read"
        return f"{self.blob.where!r} is no plain tar file{hint} ({said})"

    # What the library asks of a file.

    def tell(self) -> int:
        """Position, as a file's."""
        return self._at

    def seek(self, at: int) -> int:
        """Go to a position, as in a file."""
        self._at = at
        return at

    def read(self, n: int) -> bytes:
        """Read at the position, as from a file, within what a header may take."""
        if not 0 <= n <= self._left:
            raise ValueError(f"a header claims more than {_MOST_HEADER_BYTES:,} bytes")
        self._left -= n
        content = self.content(self._at, n) if self._at < self.blob.size else b""
        self._at += len(content)
        return content
