"""Images that were being decoded when a process crashed are tried again in a separate process.

Decoders are foreign code. On damaged bytes one may end the whole process, or have it ended by
taking all memory; and then nobody is left to say which image it was. So each thread writes down
the row id of what it decodes, in a small file mapped into memory, which outlives the process.
Whoever comes next finds the file without its owner, and decodes those few images in a process
beside: what ends that one too is named as unreadable, and the others go on as ever.
"""

from __future__ import annotations

import collections
import contextlib
import json
import mmap
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from PIL import Image

from transferkit.digests import ID_BYTES
from transferkit.extract.pixels import network_input
from transferkit.folders import cache_folder
from transferkit.images import ImageError, ImagePart, ImageSet, content_of
from transferkit.spec import Preprocess

if sys.platform != "win32":
    import fcntl

__all__ = ["InFlight", "ending", "serve"]

_SLOTS = 64  # more than threads decode
_FREE = bytes(ID_BYTES)
# Entries that weren't asked for again in this time are forgotten.
_LASTING_SECONDS = 30 * 24 * 3600


def _folder() -> Path:
    return cache_folder() / "in-flight"


class InFlight:
    """The images that this process is decoding, recorded for later processes.

    Without locks of files, or where the cache can't be written, it does nothing.
    """

    def __init__(self) -> None:
        self._free = collections.deque(range(_SLOTS))  # its methods are safe among threads
        self._file: BinaryIO | None = None
        self._map: mmap.mmap | None = None
        self._path = _folder() / f"{uuid.uuid4().hex}.ids"

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            hidden = self._path.with_suffix(".new")  # until it is locked
            self._file = hidden.open("w+b")
            _lock(self._file)
            self._file.truncate(_SLOTS * ID_BYTES)
            hidden.rename(self._path)
            self._map = mmap.mmap(self._file.fileno(), _SLOTS * ID_BYTES)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._map is not None:
            self._map.close()
        if self._file is not None:
            self._file.close()
            for path in (self._path, self._path.with_suffix(".new")):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def holding(self, row: bytes | None) -> Iterator[None]:
        """Record an image while it is decoded."""
        slot = None
        if self._map is not None and row is not None:
            with contextlib.suppress(IndexError):  # more at a time than there are places
                slot = self._free.popleft()
        if self._map is None or row is None or slot is None:
            yield
            return
        place = slice(slot * ID_BYTES, (slot + 1) * ID_BYTES)
        self._map[place] = row
        try:
            yield
        finally:
            self._map[place] = _FREE
            self._free.append(slot)


def ending(
    images: ImageSet, first: Mapping[bytes, int], preprocess: Preprocess
) -> dict[bytes, str]:
    """Find images that crash the process that decodes them, with the reason, by row id.

    Only those are tried that were in flight when a process ended.

    Parameters
    ----------
    images : ImageSet
        Images, in memory or not; only files are tried.
    first : mapping of bytes to int
        Position of an image by its row id.
    preprocess : Preprocess
        How they are decoded.
    """
    left = _left_behind()
    tried: dict[bytes, bytes] = {}
    for row in sorted(set().union(*left.values())):
        if row in first:
            with contextlib.suppress(OSError, ImageError):
                item = images.items[first[row]]
                content = content_of(item.whole if isinstance(item, ImagePart) else item)
                if isinstance(content, bytes):
                    tried[row] = content
    codes = dict(zip(tried, _exit_codes(list(tried.values()), preprocess), strict=True))
    guilty = {row for row, code in codes.items() if code < 0}
    for path, rows in left.items():
        _remember(path, rows, rows - (tried.keys() - guilty))
    return {row: _reason(codes[row]) for row in guilty}


def _left_behind() -> dict[Path, set[bytes]]:
    """Row ids in the files of processes that have ended."""
    left: dict[Path, set[bytes]] = {}
    for path in sorted(_folder().glob("*.ids")):
        with contextlib.suppress(OSError), path.open("rb") as file:
            _lock(file, shared=True)  # fails while its owner lives
            data = file.read()
            slots = {data[at : at + ID_BYTES] for at in range(0, len(data), ID_BYTES)}
            left[path] = slots - {_FREE}
    return left


def _lock(file: BinaryIO, *, shared: bool = False) -> None:
    """Lock a file until it is closed, or its process is no more; raise an OSError if it is."""
    if sys.platform == "win32":  # there, nothing is written down
        raise OSError("no such locks here")
    fcntl.flock(file, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))


def _remember(path: Path, was: set[bytes], rows: set[bytes]) -> None:
    """Leave in a file what is still to be tried, or is to be tried again each time."""
    with contextlib.suppress(OSError):
        if not rows or path.stat().st_mtime < time.time() - _LASTING_SECONDS:
            path.unlink()
        elif rows != was:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(b"".join(sorted(rows)))
            fresh.replace(path)


def _reason(code: int) -> str:
    name = signal.Signals(-code).name
    hint = ", as when memory runs out" if name == "SIGKILL" else ""
    return f"decoding it ends the process ({name}{hint}); save it anew with another program"


def _exit_codes(contents: Sequence[bytes], preprocess: Preprocess) -> Iterator[int]:
    """Exit code of a process that decoded each image; 0 if it survived."""
    process: subprocess.Popen[bytes] | None = None
    try:
        for data in contents:
            try:
                process = process or _process(preprocess)
            except OSError:  # there is no Python to be started
                yield 0
                continue
            assert process.stdin is not None
            assert process.stdout is not None
            answer = b""
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(len(data).to_bytes(8, "big") + data)
                process.stdin.flush()
                answer = process.stdout.read(1)
            if answer:
                yield 0
            else:
                process.communicate()
                yield process.returncode
                process = None
    finally:
        if process is not None:
            process.communicate()


def _process(preprocess: Preprocess) -> subprocess.Popen[bytes]:
    # The package and the decoders that are used here.
    path = [os.environ.get("PYTHONPATH", ""), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
    )
    settings = {"preprocess": preprocess.to_dict(), "limit": Image.MAX_IMAGE_PIXELS}
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        process.stdin.flush()
    return process


def serve() -> None:
    """Decode the images that come through stdin, and answer a byte for each. Runs separately."""
    source, answers = sys.stdin.buffer, sys.stdout.buffer
    settings = json.loads(source.readline())
    preprocess = Preprocess.from_dict(settings["preprocess"])
    Image.MAX_IMAGE_PIXELS = settings["limit"]
    while length := source.read(8):
        data = source.read(int.from_bytes(length, "big"))
        with contextlib.suppress(ImageError, OSError, MemoryError):
            network_input(data, preprocess)
        answers.write(b".")
        answers.flush()
