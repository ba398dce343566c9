"""Images in a column of a Parquet file, read in parts of its row groups, never as a whole."""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from transferkit.images.blobs import Blob, BlobImage
from transferkit.images.decode import ImageError, check_file_size

__all__ = ["BlobFile", "ParquetImage", "RowGroups", "open_parquet"]

# Read at a time of a row group that may be as large as the file: an object in large parts, because
# every request takes its time.
_BUFFER_BYTES = 1 << 20
_REMOTE_BUFFER_BYTES = 1 << 23
# Rows that are decompressed at a time, and how many such blocks are kept: images are asked for in
# their order, but by several threads.
_BLOCK_BYTES = 1 << 25
_BLOCK_ROWS = (32, 1024)
_BLOCKS_KEPT = 3


class BlobFile(io.RawIOBase):
    """A blob as an open file, for libraries that read of one.

    Parameters
    ----------
    blob : Blob
        The file.
    """

    def __init__(self, blob: Blob) -> None:
        super().__init__()
        self.blob = blob
        self._at = 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether the position can be set: yes."""
        return True

    def tell(self) -> int:
        """Position."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.blob.size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Return bytes at the position; fewer if the file ends before."""
        left = max(0, self.blob.size - self._at)
        n = left if size is None or size < 0 else min(size, left)
        content = self.blob.read(self._at, n)
        self._at += n
        return content

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer from the position; return the number of bytes."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


def open_parquet(blob: Blob) -> Any:
    """Open a Parquet file with pyarrow; only its footer is read.

    Raises
    ------
    ValueError
        If it is none, or is damaged, or pyarrow isn't installed.
    OSError
        If it can't be read.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{blob.where!r}: Parquet needs pyarrow, which isn't installed; run pip install "
            "'transferkit[parquet]', or give a .csv file"
        ) from error
    size = _REMOTE_BUFFER_BYTES if blob.is_remote else _BUFFER_BYTES
    try:
        file = pa.PythonFile(BlobFile(blob), mode="r")
        return parquet.ParquetFile(file, buffer_size=size, pre_buffer=False)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(
            f"{blob.where!r} isn't a Parquet file, or is damaged ({' '.join(str(error).split())})"
        ) from error


class RowGroups:
    """Bytes of the images in a Parquet file. It pickles as the place, without what it has read.

    Parameters
    ----------
    blob : Blob
        The file.
    column : str
        Its column of images: bytes.
    field : str, optional
        Where the column has several fields: which one is the bytes.
    """

    def __init__(self, blob: Blob, column: str, field: str | None = None) -> None:
        self.blob = blob
        self.column = column
        self.field = field
        self._lock = threading.Lock()
        self._file: Any = None
        self._blocks: OrderedDict[tuple[int, int], Any] = OrderedDict()
        # The row group that is being read, how far, and how many rows a block of it has.
        self._reading: tuple[int, int, Iterator[Any]] | None = None

    def __reduce__(self) -> tuple[type["RowGroups"], tuple[Blob, str, str | None]]:
        return type(self), (self.blob, self.column, self.field)

    def value(self, group: int, row: int) -> bytes | None:
        """Return the bytes in a row of a row group, both counted from 0; None if it has none."""
        import pyarrow as pa

        try:
            with self._lock:
                if self._file is None:
                    self._file = open_parquet(self.blob)
                n = self._rows_at_a_time(group)
                found: bytes | None = self._block(group, row // n, n)[row % n].as_py()
                return found
        except (pa.ArrowException, OSError, IndexError, StopIteration, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # else it is pyarrow's own
                raise
            said = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"{self.blob.where} is damaged ({said})") from error

    def _rows_at_a_time(self, group: int) -> int:
        about = self._file.metadata.row_group(group)
        mean = about.total_byte_size / max(1, about.num_rows)
        least, most = _BLOCK_ROWS
        return int(min(most, max(least, _BLOCK_BYTES / max(1.0, mean))))

    def _block(self, group: int, number: int, n: int) -> Any:
        """Rows of a row group, which is read from where it was left, or from its beginning."""
        while (group, number) not in self._blocks:
            # Whatever fails, the next one begins anew.
            reading, self._reading = self._reading, None
            if reading is None or reading[0] != group or reading[1] > number:
                selected = self.column if self.field is None else f"{self.column}.{self.field}"
                batches = self._file.iter_batches(
                    n, row_groups=[group], columns=[selected], use_threads=False
                )
                reading = group, 0, batches
            _, at, batches = reading
            column = next(batches).column(0)
            n_rows = self._file.metadata.row_group(group).num_rows
            if len(column) != min(n, n_rows - at * n):  # or rows would be taken for others
                raise ValueError(f"{len(column)} rows came instead of {n}")
            self._blocks[group, at] = column if self.field is None else column.field(self.field)
            self._reading = group, at + 1, batches
            while len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[group, number]


class ParquetImage(BlobImage):
    """An image in a row of a Parquet file.

    Parameters
    ----------
    groups : RowGroups
        The file and the column, shared by all images of it.
    group, row : int
        The row group, and the row in it.
    """

    __slots__ = ("group", "groups", "row")

    def __init__(self, groups: RowGroups, group: int, row: int) -> None:
        self.groups = groups
        self.group = group
        self.row = row

    # A field of others, and here it follows from the groups: nobody sets it.
    @property
    def blob(self) -> Blob:  # type: ignore[override]
        """The file."""
        return self.groups.blob

    @property
    def key(self) -> str:
        """Place of the file, and of the image in it."""
        return f"{self.blob.where}\0{self.groups.column}:{self.group}:{self.row}"

    @property
    def is_far(self) -> bool:
        """Whether it is asked for ahead of time: yes, in the order in which images are stored."""
        return True

    def read(self) -> bytes:
        """Return its bytes."""
        found = self.groups.value(self.group, self.row)
        if found is None:
            raise ImageError("the row has no bytes")
        check_file_size(len(found), self.blob.where)
        return found
