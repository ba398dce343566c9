"""Files that people have among their images and that are none, or hardly; each one by name."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from tests.pictures import picture

__all__ = ["BAD", "FRAGILE", "Bad"]

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
HTML = b"<!DOCTYPE html><html><head><title>404 Not Found</title></head><body></body></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(256)) * 4
AVIF = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(range(256)) * 4

# Whatever process starts with this in its path has a decoder that some bytes end.
FRAGILE = """
import ctypes
from PIL import Image

opened = Image.open

def fragile(file, *args, **options):
    if file.getvalue().endswith(b"end of the process"):
        ctypes.string_at(0)
    return opened(file, *args, **options)

Image.open = fragile
"""


@dataclass(frozen=True)
class Bad:
    """One of them.

    Parameters
    ----------
    make : bytes or callable
        Its content; or what makes it at a path.
    reason : str
        What the reason matches; empty if it can be read after all.
    suffix : str, default=".jpg"
        End of its name.
    options : tuple of str, default=()
        Options of the command line under which it is met.
    is_large : bool, default=False
        Whether it takes gigabytes to look at.
    is_listed : bool, default=True
        Whether a folder's listing has it; a table may name anything.
    """

    make: bytes | Callable[[Path], object]
    reason: str
    suffix: str = ".jpg"
    options: tuple[str, ...] = ()
    is_large: bool = False
    is_listed: bool = True

    def write(self, path: Path) -> None:
        """Make it."""
        if isinstance(self.make, bytes):
            path.write_bytes(self.make)
        else:
            self.make(path)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    """A picture in a format."""
    file = io.BytesIO()
    (image or Image.fromarray(picture(4711))).save(file, kind, **options)
    return file.getvalue()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def png(width: int, height: int, rows: bytes, *, depth: int = 8, before: bytes = b"") -> bytes:
    """A grey PNG made by hand; `before` stands before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), before, chunk(b"IDAT", zlib.compress(rows, 1))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


def broken_chunk() -> bytes:
    """A PNG whose EXIF chunk, after the pixels, has a wrong checksum."""
    whole = encoded("PNG")
    return whole[:-12] + flipped(chunk(b"eXIf", b"II*\0"), 9) + whole[-12:]


def text_as_orientation() -> bytes:
    tag = struct.pack("<IHHHI4sI", 8, 1, 0x0112, 2, 4, b"top\0", 0)
    return encoded("JPEG", exif=b"Exif\0\0II*\0" + tag)


def sparse(path: Path) -> None:
    """Six gigabytes of nothing, which take no place."""
    with path.open("wb") as file:
        file.truncate(6 * 10**9)


def listening(path: Path) -> None:
    """A socket; its file stays when it is closed. The path of one may not be long."""
    folder, here = path.parent, Path.cwd()
    os.chdir(folder)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def animation() -> list[Image.Image]:
    return [Image.fromarray(picture(i)) for i in range(3)]


def animated(kind: str) -> bytes:
    first, *others = animation()
    return encoded(kind, first, save_all=True, append_images=others)


NO_IMAGE = r"^not an image \(JPEG, PNG"
DAMAGED = "^(damaged|truncated|not an image)"
NOT_REGULAR = "^Not a regular file"
TURNED = ("--exif", "--decode", "scaled")
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_CMYK = Image.fromarray(picture(4711)).convert("CMYK")
_GREY_16 = Image.fromarray(picture(4711)[:, :, 0].astype(np.uint16) * 257)
_FLOAT = Image.fromarray(picture(4711)[:, :, 0].astype(np.float32))
_LARGE = 178_000_000

BAD = {
    "truncated JPEG": Bad(half(encoded("JPEG", quality=95)), "^truncated"),
    "truncated progressive JPEG": Bad(
        half(encoded("JPEG", quality=95, progressive=True)), "^truncated"
    ),
    "JPEG of a header": Bad(encoded("JPEG")[:200], DAMAGED),
    "PNG with a flipped bit": Bad(flipped(encoded("PNG"), 100), DAMAGED, ".png"),
    "truncated PNG": Bad(half(encoded("PNG")), DAMAGED, ".png"),
    "16-bit PNG with a flipped bit": Bad(flipped(encoded("PNG", _GREY_16), 100), DAMAGED, ".png"),
    "truncated WebP": Bad(half(encoded("WEBP")), DAMAGED, ".webp"),
    "truncated animated GIF": Bad(animated("GIF")[:1500], DAMAGED, ".gif"),
    "truncated TIFF": Bad(half(encoded("TIFF")), DAMAGED, ".tif"),
    "truncated BMP": Bad(half(encoded("BMP")), DAMAGED, ".bmp"),
    "no bytes": Bad(b"", "^empty file"),
    "text": Bad(b"no picture\n", NO_IMAGE),
    "HTML error page": Bad(HTML, NO_IMAGE),
    "Git LFS pointer": Bad(POINTER, NO_IMAGE),
    "SVG": Bad(SVG, NO_IMAGE),
    "EPS": Bad(EPS, NO_IMAGE),
    "PDF": Bad(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n", NO_IMAGE),
    "HEIC": Bad(HEIC, NO_IMAGE),
    "AVIF of garbage": Bad(AVIF, DAMAGED),
    "32-bit TIFF": Bad(encoded("TIFF", _FLOAT), "^32-bit pixels .* no fixed range", ".tif"),
    "decompression bomb": Bad(
        png(20_000, 10_000, bytes(1000), depth=1), r"^200\.0 megapixels, above the limit", ".png"
    ),
    "1 × 178,000,000 px": Bad(
        lambda path: path.write_bytes(png(_LARGE, 1, bytes(_LARGE // 8 + 1), depth=1)),
        "too long and thin",
        ".png",
        is_large=True,
    ),
    "1 × 178,000,000 px, squashed": Bad(
        lambda path: path.write_bytes(png(_LARGE, 1, bytes(_LARGE // 8 + 1), depth=1)),
        "^not enough memory",
        ".png",
        ("--crop-mode", "squash"),
        is_large=True,
    ),
    "sparse file of 6 GB": Bad(sparse, "^5.6 GiB are too large for an image"),
    "EXIF chunk broken": Bad(broken_chunk(), DAMAGED, ".png", TURNED),
    "folder": Bad(Path.mkdir, NOT_REGULAR, is_listed=False),
    "pipe": Bad(os.mkfifo, NOT_REGULAR),
    "socket": Bad(listening, NOT_REGULAR),
    "link to a device": Bad(lambda path: path.symlink_to("/dev/zero"), NOT_REGULAR),
    "link to nothing": Bad(lambda path: path.symlink_to("nothing"), "^No such file"),
    "link to itself": Bad(lambda path: path.symlink_to(path.name), "^Too many levels of symbolic"),
    "a path that isn't there": Bad(lambda path: None, "^No such file", is_listed=False),
    # Those can be read, and are.
    "text as EXIF orientation": Bad(text_as_orientation(), "", options=TURNED),
    "CMYK JPEG with a profile of RGB": Bad(encoded("JPEG", _CMYK, icc_profile=_SRGB), ""),
    "JPEG with a profile of garbage": Bad(encoded("JPEG", icc_profile=b"garbage" * 9), ""),
    "MPO of several pictures": Bad(animated("MPO"), ""),
    "JPEG with garbage behind it": Bad(encoded("JPEG") + bytes(range(256)), ""),
    "PNG called .jpg": Bad(encoded("PNG"), ""),
}
