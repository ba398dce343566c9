"""A folder of images, with a folder per class, perhaps below folders of splits."""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transferkit.images.blobs import Blob, FileBlob
from transferkit.images.exclusions import tell_excluded, without_patterns
from transferkit.images.imageset import ImageSet
from transferkit.images.items import Item
from transferkit.images.labels import clean_label
from transferkit.images.layouts import MASK_SUFFIXES, is_image_folder, is_mask_folder, without
from transferkit.images.paths import is_excluded
from transferkit.images.sources._options import ListingOptions
from transferkit.images.splits import USUAL_NAMES, split_of

__all__ = [
    "ARRAYS",
    "EXTENSIONS",
    "Walk",
    "accepts",
    "example",
    "files_below",
    "labels_and_splits",
    "leave_arrays_out",
    "listed",
    "listed_walk",
    "without_masks",
]

EXTENSIONS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".png", ".apng", ".bmp", ".gif"),
    *(".tif", ".tiff", ".webp", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(".npy", ".dcm", ".dicom"),
)
"""Extensions of the files that a folder's listing takes, in any case."""

CONTAINER_SUFFIXES = (".tar", ".parquet")
"""Extensions of the files that hold many images each."""

# Arrays are images where there are no others; beside pictures they are features, masks, anything.
ARRAYS = (".npy",)

# Files and folders that file managers leave behind.
_NO_FILES = ("thumbs.db", "desktop.ini")
_SHOWN = 5

logger = logging.getLogger(__name__)


def accepts(given: Any) -> bool:
    """Whether a thing is the path of a folder."""
    return isinstance(given, str | os.PathLike) and Path(given).is_dir()


def listed(given: Any, options: ListingOptions) -> ImageSet:
    """List the images of a folder, sorted bytewise by their path below it."""
    root = Path(given)
    walked = _walk(root, options.exclude)
    return listed_walk(
        root, walked, options, lambda name: root / name, lambda name: FileBlob(root / name)
    )


def listed_walk(
    root: Path | str,
    walked: "Walk",
    options: ListingOptions,
    item: Callable[[str], Item],
    blob: Callable[[str], Blob],
) -> ImageSet:
    """List the images among the files of a folder, wherever it is.

    If there are none, they are in the tar or Parquet files that are there.

    Parameters
    ----------
    root : Path or str
        The folder, or its URL.
    walked : Walk
        What is in it.
    options : ListingOptions
        What is left out.
    item, blob : callable
        Make an item of an image's path below the folder, and a blob of any file's.
    """
    if not walked.images and (holding := walked.containers()):
        return _listed_containers(root, walked, holding, options, blob)
    if options.exclude:
        tell_excluded(walked.n_excluded, "file or folder", options.exclude)
    walked.warn(root)
    names = sorted(walked.images, key=os.fsencode)
    if options.annotated:
        kept = without_masks(names)
        if len(kept) < len(names):
            logger.info("left out %d masks beside the images", len(names) - len(kept))
        names = kept
    if not names:
        raise ValueError(
            f"no images in {str(root)!r} or below; files that end in "
            f"{', '.join(EXTENSIONS)} are looked for"
        )
    if options.annotated:
        labels, splits, _ = labels_and_splits(root, list(map(_without_image_folders, names)))
    else:
        labels, splits, depth = labels_and_splits(root, names)
        walked.warn_of_empty_classes(depth, labels)
    return ImageSet(tuple(map(item, names)), tuple(names), labels if any(labels) else None, splits)


def _listed_containers(
    root: Path | str,
    walked: "Walk",
    names: Sequence[str],
    options: ListingOptions,
    blob: Callable[[str], Blob],
) -> ImageSet:
    """List the images in the tar or Parquet files of a folder."""
    from transferkit.images.sources import parquet, shards

    walked.others = sorted(set(walked.others).difference(names))
    walked.warn(root)
    kind = shards.list_shards if _suffix(names[0]) == ".tar" else parquet.list_parquets
    images = kind([blob(name) for name in names], names, options)
    return without_patterns(images, options.exclude)


def without_masks(names: Sequence[str]) -> list[str]:
    """Leave out the files that are masks, by a folder above them or the image beside them.

    Parameters
    ----------
    names : sequence of str
        Paths below a folder, in POSIX form.

    Examples
    --------
    >>> without_masks(["images/a.jpg", "masks/a.png", "b.jpg", "b_mask.png", "c_mask.png"])
    ['images/a.jpg', 'b.jpg', 'c_mask.png']
    """
    kept = [name for name in names if not any(map(is_mask_folder, name.split("/")[:-1]))]
    stems = {_stem(name) for name in kept}
    return [name for name in kept if without(_stem(name), MASK_SUFFIXES) not in stems]


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]  # noqa: PTH122 (Path objects take longer)


def _without_image_folders(name: str) -> str:
    """Path without the folders that only say that images are in them: no classes, no splits."""
    *folders, file = name.split("/")
    return "/".join([*(f for f in folders if not is_image_folder(f)), file])


def files_below(root: Path) -> list[str]:
    """Paths of all files that end as images do, below a folder, sorted bytewise.

    Parameters
    ----------
    root : Path
        The paths are relative to it, in POSIX form.
    """
    return sorted(_walk(root).images, key=os.fsencode)


def labels_and_splits(
    root: Path | str, names: Sequence[str]
) -> tuple[tuple[str | None, ...], tuple[str | None, ...] | None, int]:
    """Read labels and splits from the folders above the images.

    Parameters
    ----------
    root : Path or str
        What messages call the uppermost folder.
    names : sequence of str
        The images' paths below it, in POSIX form.

    Returns
    -------
    labels : tuple of str or None
        One per image; None where it stands in no folder of a class.
    splits : tuple of str or None; or None
        None if no folders are splits.
    depth : int
        Number of folders above those of the classes.
    """
    splits, parts, depth = _parted(root, [name.split("/") for name in names])
    return tuple(clean_label(p[0]) if len(p) > 1 else None for p in parts), splits, depth


def example(folder: Path, pictures: Sequence[np.ndarray]) -> Path:
    """Write pictures as files, each into the folder of its class."""
    for i, pixels in enumerate(pictures):
        path = folder / f"class {i % 2}" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


# ---- splits -------------------------------------------------------------------------

Parts = list[list[str]]


def _parted(root: Path | str, parts: Parts) -> tuple[tuple[str | None, ...] | None, Parts, int]:
    """Split of every image if there are any, its path's parts without them, and the depth.

    The depth is the number of folders above those of the classes.
    """
    tops = sorted({p[0] for p in parts if len(p) > 1})
    split_by_top = {top: split_of(top) for top in tops}
    kinds = {split for split in split_by_top.values() if split is not None}
    odd = [top for top in tops if split_by_top[top] is None]
    if tops and not odd and ("train" in kinds or len(kinds) > 1):
        splits = tuple(split_by_top[p[0]] if len(p) > 1 else None for p in parts)
        inner = [p[1:] if len(p) > 1 else p for p in parts]
        left = _without_repeats(inner, splits)
        return splits, left, 1 + (max(map(len, left)) < max(map(len, inner)))
    if odd and len(kinds) > 1:
        raise ValueError(
            f"{str(root)!r} holds split folders and {odd[0]!r}, which is none; name it one of "
            f"{USUAL_NAMES}, move it away, or leave it out (--exclude {odd[0]!r}, "
            f"list_images(…, exclude=[…]))"
        )
    below = _below(parts)
    if _are_splits_below(below):
        if len(tops) == 1:
            raise ValueError(
                f"{str(root)!r} holds nothing but {tops[0]!r}, with split folders in it; give "
                f"{str(root).rstrip('/') + '/' + tops[0]!r}"
            )
        splits = tuple(split_of(p[1]) if len(p) > 2 else None for p in parts)
        return splits, [[p[0], *p[2:]] if len(p) > 2 else p for p in parts], 0
    _refuse_some_splits(root, below)
    _refuse_unknown_splits(root, below, split_by_top)
    return None, parts, 0


def _without_repeats(parts: Parts, splits: tuple[str | None, ...]) -> Parts:
    """Remove a split's folder that stands again in itself, as some archives unpack."""
    inner = {s: {p[0] for p, own in zip(parts, splits, strict=True) if own == s} for s in splits}
    again = {s for s, names in inner.items() if s and {split_of(name) for name in names} == {s}}
    return [p[1:] if s in again and len(p) > 2 else p for p, s in zip(parts, splits, strict=True)]


def _below(parts: Parts) -> dict[str, set[str]]:
    """Folders that hold images, by the top folder that they stand in."""
    below: dict[str, set[str]] = {}
    for p in parts:
        if len(p) > 1:
            below.setdefault(p[0], set()).update(p[1:2] if len(p) > 2 else ())
    return below


def _are_splits_below(below: dict[str, set[str]]) -> bool:
    """Whether every top folder is a class that holds split folders."""
    names = set().union(*below.values()) if below else set()
    kinds = {split_of(name) for name in names}
    return None not in kinds and "train" in kinds and len(kinds) > 1 and all(below.values())


def _refuse_some_splits(root: Path | str, below: dict[str, set[str]]) -> None:
    """Raise where some folders hold splits and others don't: test images would be trained on."""
    for top, names in below.items():
        kinds = {split_of(name) for name in names}
        if "train" in kinds and len(kinds - {None}) > 1:
            raise ValueError(
                f"{str(root)!r} holds the folder {top!r} with split folders in it "
                f"({', '.join(sorted(names)[:_SHOWN])}), but not every folder there holds such and "
                f"nothing else; give each class its splits, or put the classes below the splits"
            )


def _refuse_unknown_splits(
    root: Path | str, below: dict[str, set[str]], split_by_top: dict[str, str | None]
) -> None:
    """Raise where top folders mostly hold folders of the same names: they'd become classes."""
    filled = {top: names for top, names in below.items() if names}
    if len(filled) < 2:
        return
    same = set.intersection(*filled.values())
    every = set().union(*filled.values())
    is_named = any(split_by_top[top] for top in filled)  # one of them is a split by its name
    if len(same) * 2 >= len(every) and (len(same) > 1 or is_named):
        shown = ", ".join(sorted(filled)[:_SHOWN])
        raise ValueError(
            f"{str(root)!r} holds the folders {shown} with the same folders in each "
            f"({', '.join(sorted(same)[:_SHOWN])}), which look like splits but aren't named so; "
            f"name them {USUAL_NAMES}, leave some out with --exclude, or if they are the classes "
            f"give a table with the columns path and label"
        )


# ---- the walk -----------------------------------------------------------------------


@dataclass
class Walk:
    """Everything found below a folder. Paths are relative to it, in POSIX form."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    n_excluded: int = 0

    def take(self, path: str) -> None:
        """Add a file by what its name says that it is."""
        name = path.rpartition("/")[2]
        if _suffix(name) in EXTENSIONS:
            self.images.append(path)
        elif name.lower() not in _NO_FILES:
            self.others.append(path)

    def containers(self) -> list[str]:
        """Files that hold images, tars if there are any, else Parquet files; sorted bytewise."""
        for suffix in CONTAINER_SUFFIXES:
            if found := [name for name in self.others if _suffix(name) == suffix]:
                return sorted(found, key=os.fsencode)
        return []

    def warn(self, root: Path | str) -> None:
        """Warn of everything that was left out."""
        if self.others:
            n = len(self.others)
            logger.warning(
                "%s file%s below %s %s by %s and %s left out (%s)",
                f"{n:,}",
                "s" * (n > 1),
                root,
                "are no images" if n > 1 else "is no image",
                "their names" if n > 1 else "its name",
                "were" if n > 1 else "was",
                _kinds(self.others),
            )
        for paths, what in (
            (self.repeated, "linked folders were left out, for they are listed elsewhere"),
            (self.unreadable, "could not be listed, so images in them are missing"),
        ):
            if paths:
                more = f" … and {len(paths) - _SHOWN} more" * (len(paths) > _SHOWN)
                logger.warning("%s: %s%s", what, ", ".join(paths[:_SHOWN]), more)

    def warn_of_empty_classes(self, depth: int, labels: Iterable[str | None]) -> None:
        """Warn of class folders without an image, and name what they hold instead."""
        known = set(labels)
        if known == {None}:
            return
        empty: dict[str, list[str]] = {
            folder: []
            for folder in self.folders
            if folder.count("/") == depth and clean_label(folder.split("/")[-1]) not in known
        }
        for path in self.others:
            folder = "/".join(path.split("/")[: depth + 1])
            if folder in empty:
                empty[folder].append(path)
        if empty:
            shown = [
                f"{folder!r} ({_kinds(files) if files else 'empty'})"
                for folder, files in list(empty.items())[:_SHOWN]
            ]
            more = f" … and {len(empty) - _SHOWN} more" * (len(empty) > _SHOWN)
            logger.warning("folders without an image are no classes: %s%s", ", ".join(shown), more)


def _kinds(paths: list[str]) -> str:
    """The commonest suffixes with their numbers."""
    counts = Counter(_suffix(path) for path in paths)
    return ", ".join(f"{kind or 'no suffix'} {n:,}" for kind, n in counts.most_common(_SHOWN))


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 (60,000 Path objects take longer)


def _walk(root: Path, exclude: Sequence[str] = ()) -> Walk:
    """Walk a folder. No file is asked for its status: `os.scandir` knows what is a folder.

    Links to folders are followed, but not to a folder that they stand in. A folder that itself
    holds links to folders is listed once, where it stands or by the first link to it: folders
    that link to one another would otherwise be listed by every path that leads through them.
    """
    walk = Walk()
    holding_links: set[tuple[int, int]] = set()
    # What stands here comes before what is linked to.
    waiting: deque[tuple[str, str, frozenset[tuple[int, int]]]] = deque()
    waiting.append((str(root), "", frozenset()))
    while waiting:
        folder, prefix, above = waiting.popleft()
        name = prefix.removesuffix("/")
        try:
            status = os.stat(folder)  # noqa: PTH116
            here = (status.st_dev, status.st_ino)
            if here in above or here in holding_links:
                walk.repeated.append(name)
                continue
            with os.scandir(folder) as entries:
                found = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            if not prefix:
                raise
            walk.unreadable.append(f"{_shortened(name)} ({error.strerror or error})")
            continue
        if prefix:
            walk.folders.append(name)
        for entry in found:
            path = prefix + entry.name
            if exclude and is_excluded(path, exclude):
                walk.n_excluded += 1
            elif _is_folder(entry):
                inner = (entry.path, f"{path}/", above | {here})
                if entry.is_symlink():
                    holding_links.add(here)
                    waiting.append(inner)
                else:
                    waiting.appendleft(inner)
            else:
                walk.take(path)
    leave_arrays_out(walk)
    return walk


def leave_arrays_out(walk: Walk) -> None:
    """Take NumPy files for no images where they stand beside images of other formats."""
    arrays = [path for path in walk.images if _suffix(path) in ARRAYS]
    if 0 < len(arrays) < len(walk.images):
        walk.images = [path for path in walk.images if _suffix(path) not in ARRAYS]
        walk.others += arrays


def _shortened(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:100]} … {name[-80:]}"


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: as a file it is named when it can't be read
        return False
