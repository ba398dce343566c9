"""TIFFs of any number of channels and bits, through tifffile."""

from __future__ import annotations

import io
import itertools
import lzma
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.images.decode import ImageError, reason_of
from transferkit.images.values import ImageValues, arranged, check_size

__all__ = ["IS_PIL_FIRST", "SUFFIXES", "accepts", "read", "shape"]

SUFFIXES = (".tif", ".tiff")
IS_PIL_FIRST = True

# Byte order, then the version: 42 is classic, 43 has addresses of 64 bits.
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# An image of more pages is no image; a chain of a million would take minutes.
_MOST_PAGES = 10_000
# Photometric interpretations: white is 0, black is 0, RGB.
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_REDUCED = 1
_DEFLATE, _LZMA = (8, 32946), (34925,)


def accepts(data: bytes) -> bool:
    """Whether a file's bytes are of this format."""
    return data.startswith(_MAGIC)


def shape(data: bytes, layout: str) -> tuple[int, int, int]:
    """Height, width and number of channels, those of all pages together."""
    with _opened(data) as file:
        pages = _pages(file)
        n_channels = pages[0].samplesperpixel * len(pages)
        return pages[0].imagelength, pages[0].imagewidth, n_channels


def read(data: bytes, layout: str) -> ImageValues:
    """Decode a file's bytes; with ``layout="CHW"`` its pages are channels."""
    with _opened(data) as file:
        try:
            pages = _pages(file)
            if len(pages) > 1 and layout != "CHW":
                raise ImageError(
                    f"{len(pages):,} pages; if they are channels, say so with layout='CHW' "
                    "(--layout CHW), or save one page"
                )
            for page in pages:
                _check(page, pages[0], len(pages), data)
            values = np.concatenate([_channels(page) for page in pages], axis=2)
        except ImageError:
            raise
        except Exception as error:  # of any kind, on damaged or hostile bytes
            raise ImageError(reason_of(error)) from error
    return ImageValues(values, is_inverted=int(pages[0].photometric) == _WHITE_IS_ZERO)


def _opened(data: bytes) -> Any:
    """Open a file's bytes with tifffile; its other files are never looked for."""
    try:
        import tifffile
    except ImportError as error:
        raise ImageError(
            "TIFFs of other values than 8-bit RGB need tifffile, which isn't installed; run pip "
            "install 'transferkit[tiff]'"
        ) from error
    _check_chain(data)
    try:
        return tifffile.TiffFile(io.BytesIO(data), _multifile=False)
    except Exception as error:
        raise ImageError(reason_of(error)) from error


def _check_chain(data: bytes) -> None:
    """Raise an ImageError if pages are too many, or their chain bites its tail."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    # Where a page's address is, the number of its entries, and the bytes of each.
    address, count, entry = ("Q", "Q", 20) if is_big else ("I", "H", 12)
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(order + address, data, 8 if is_big else 4)
        while at:
            if at in seen or len(seen) == _MOST_PAGES:
                raise ImageError(f"damaged: more than {len(seen):,} pages, or pages in a circle")
            seen.add(at)
            (n,) = struct.unpack_from(order + count, data, at)
            (at,) = struct.unpack_from(
                order + address, data, at + struct.calcsize(order + count) + n * entry
            )
    except struct.error as error:
        raise ImageError("truncated: the end of the file is missing") from error


def _pages(file: Any) -> list[Any]:
    """Pages of the file, without smaller copies of them; the first has a size that is read."""
    try:
        pages = [page.aspage() for page in itertools.islice(file.pages, _MOST_PAGES)]
        whole = [page for page in pages if not int(page.subfiletype or 0) & _REDUCED]
        if not whole:
            raise ImageError("damaged: a TIFF without a page")
        first = whole[0]
        # A damaged tag holds several numbers, or none.
        sides = [int(n) for n in (first.imagelength, first.imagewidth, first.samplesperpixel)]
        if min(sides) < 1:
            raise ImageError(f"no pixels (size {sides[1]} × {sides[0]}, {sides[2]} channels)")
        check_size((*sides, len(whole)))
    except ImageError:
        raise
    except Exception as error:  # of any kind, on damaged or hostile bytes
        raise ImageError(reason_of(error)) from error
    return whole


def _check(page: Any, first: Any, n_pages: int, data: bytes) -> None:
    """Raise an ImageError unless a page is of a kind that is read, and whole."""
    same = ("shape", "dtype", "photometric")
    if any(getattr(page, name) != getattr(first, name) for name in same):
        raise ImageError(
            "pages of different sizes or kinds; save one page, or pages that are alike"
        )
    if int(page.photometric) not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise ImageError(
            f"pixels of kind {page.photometric.name}; save grey, RGB or plain channels"
        )
    if page.dtype is None or page.dtype.kind not in "iuf" or page.imagedepth != 1:
        raise ImageError(f"values of type {page.dtype}; save integers or floats of one layer")
    if page.bitspersample != 8 * page.dtype.itemsize:
        raise ImageError(f"{page.bitspersample} bits per value; save 8, 16, 32 or 64")
    if n_pages > 1 and page.samplesperpixel != 1:
        raise ImageError(f"{n_pages:,} pages of {page.samplesperpixel} channels; save one page")
    if int(page.tags.valueof(274, 1)) != 1:
        raise ImageError("its orientation tag turns it; save it upright, without the tag")
    if 0 in page.shape:
        raise ImageError(f"no pixels (shape {page.shape})")
    _check_parts(page, data)


def _check_parts(page: Any, data: bytes) -> None:
    """Raise an ImageError unless every strip or tile is there. tifffile puts zeros for them."""
    n_bytes = page.size * page.dtype.itemsize
    places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    n_parts, is_plain = int(np.prod(page.chunked)), int(page.compression) == 1
    # tifffile tells of parts that follow one another, uncompressed, as of one.
    if len(places) < n_parts and not (len(places) == 1 and is_plain):
        raise ImageError(f"damaged: {len(places):,} of {n_parts:,} parts of its pixels")
    for at, n in places:
        if at <= 0 or n <= 0:
            raise ImageError("damaged, or sparse: a part of its pixels isn't in the file")
        if at + n > len(data):
            raise ImageError("truncated: the end of the file is missing")
    if is_plain and sum(n for _, n in places) < n_bytes:
        raise ImageError("damaged: fewer bytes than its pixels take")
    if (kind := int(page.compression)) in (*_DEFLATE, *_LZMA):
        most = int(np.prod(page.chunks)) * page.dtype.itemsize
        for at, n in places:
            _check_inflated(kind, data[at : at + n], most)


def _check_inflated(compression: int, part: bytes, most: int) -> None:
    """Raise an ImageError if a compressed part holds more than its pixels: a bomb."""
    if compression in _LZMA:
        found = lzma.LZMADecompressor().decompress(part, most + 1)
    else:
        found = zlib.decompressobj().decompress(part, most + 1)
    if len(found) > most:
        raise ImageError("damaged: a part holds more bytes than its pixels take")


def _channels(page: Any) -> NDArray[Any]:
    """Values of a page ``(H, W, C)``."""
    try:
        # One thread: those of the extraction are as many as the cores.
        values = page.asarray(maxworkers=1)
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        raise ImageError(
            f"compressed by {page.compression.name}, which tifffile reads with another package "
            "only: run pip install imagecodecs, or save it uncompressed or by deflate"
        ) from error
    axes = page.axes
    if axes not in ("YX", "YXS", "SYX"):
        raise ImageError(f"axes {axes}; save rows, columns and channels")
    return arranged(values, "CHW" if axes == "SYX" else "HWC")
