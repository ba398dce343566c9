"""List images, decode them, and turn them into the network's input.

`list_images` makes an `ImageSet` of a folder, a table, a list, an array or a data set;
`content_of` reads one of its items and `read_rgb` decodes it; `prepare` resizes and crops it to
the pixels that a backbone takes. `frame_of` tells where a point of the image comes to lie there.
"""

from transferkit.images.decode import (
    FORMATS,
    MAX_FILE_BYTES,
    ImageError,
    check_file_size,
    read_file,
    read_rgb,
)
from transferkit.images.frames import Frame, frame_of
from transferkit.images.geometry import (
    crop_fraction,
    cut,
    prepare,
    prepare_channels,
    resized_size,
    upscale_factor,
)
from transferkit.images.imageset import Failure, ImageSet, UnreadableImages, joined
from transferkit.images.items import Content, ImageBag, Item, LazyImage, content_of
from transferkit.images.listing import list_images
from transferkit.images.oriented import (
    canonical_oriented,
    corners_of_oriented,
    oriented_of_corners,
    upright_of_oriented,
    upright_within,
)
from transferkit.images.parts import ImagePart
from transferkit.images.reading import read_values, rendered
from transferkit.images.sizes import orientation_of, size_of, typical_size
from transferkit.images.sources.folder import EXTENSIONS
from transferkit.images.sources.table import TABLE_SUFFIXES, column_names
from transferkit.images.splits import SPLITS
from transferkit.images.tiles import TiledImages, Tiling, tiled
from transferkit.images.values import ImageValues, scaled_channels
from transferkit.images.warp import warped

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_FILE_BYTES",
    "SPLITS",
    "TABLE_SUFFIXES",
    "Content",
    "Failure",
    "Frame",
    "ImageBag",
    "ImageError",
    "ImagePart",
    "ImageSet",
    "ImageValues",
    "Item",
    "LazyImage",
    "TiledImages",
    "Tiling",
    "UnreadableImages",
    "canonical_oriented",
    "check_file_size",
    "column_names",
    "content_of",
    "corners_of_oriented",
    "crop_fraction",
    "cut",
    "frame_of",
    "joined",
    "list_images",
    "orientation_of",
    "oriented_of_corners",
    "prepare",
    "prepare_channels",
    "read_file",
    "read_rgb",
    "read_values",
    "rendered",
    "resized_size",
    "scaled_channels",
    "size_of",
    "tiled",
    "typical_size",
    "upright_of_oriented",
    "upright_within",
    "upscale_factor",
    "warped",
]
