"""Find the folders in which the annotation files of images stand, one file per image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from transferkit.annotations._matching import match, root_of
from transferkit.images import EXTENSIONS, ImageSet
from transferkit.images.items import file_of
from transferkit.images.layouts import is_instance_folder
from transferkit.images.sources.folder import files_below
from transferkit.images.splits import split_of

__all__ = [
    "OBJECT_LIST",
    "files_of",
    "has_files",
    "image_files",
    "is_instance_place",
    "near",
    "written_name",
]

OBJECT_LIST = "instances.json"
"""File beside instance masks that tells the class of each of their numbers."""

_LOOKED_AT = 200


def files_of(given: Sequence[Path], images: ImageSet, suffix: str) -> list[Path | None]:
    """File of each image below some folders, by folders and stems; None where there is none.

    Parameters
    ----------
    given : sequence of Path
        Folders.
    images : ImageSet
        The images.
    suffix : str
        Of the files, such as ``".xml"``.

    Raises
    ------
    ValueError
        If an image has several files, or several images have the same.
    """
    places: dict[str, Path] = {}
    for place in given:
        for path in sorted(place.rglob("*")):
            if path.suffix.lower() == suffix and path.is_file():
                name = path.relative_to(place).with_suffix("").as_posix()
                places[f"{place.name}/{name}" if len(given) > 1 else name] = path
    found = match(images, list(places), f"{suffix} file")
    return [None if name is None else places[name] for name in found]


def has_files(folder: Path, suffix: str) -> bool:
    """Whether files of this kind stand in a folder, or in one of its own folders."""
    if not folder.is_dir():
        return False
    below = itertools.chain(folder.iterdir(), folder.glob("*/*"))
    return any(path.suffix.lower() == suffix for path in itertools.islice(below, _LOOKED_AT))


def near(images: ImageSet, folders: Sequence[str], suffix: str) -> list[Path]:
    """Folders of these names in the images' folder or beside it; or the images' own folder.

    Parameters
    ----------
    images : ImageSet
        The images.
    folders : sequence of str
        Names, the most usual first.
    suffix : str
        Of the files that have to be in it.
    """
    root = root_of(images)
    if root is None:
        return []
    around = [root, root.parent, *((root.parent.parent,) if split_of(root.name) else ())]
    for place in around:
        inner = {path.name.casefold(): path for path in place.iterdir() if path.is_dir()}
        for name in folders:
            folder = inner.get(name.casefold())
            if folder is not None and has_files(folder, suffix):
                return [folder]
    path = file_of(images.items[0])
    beside = path is not None and path.with_suffix(suffix).is_file()
    return [root] if beside else []


def written_name(name: str, suffix: str) -> str:
    """Path of the file that is written for an image: its own, and never outside of a folder.

    Examples
    --------
    >>> written_name("../cats/1.jpg", ".xml"), written_name("2.5", ".txt")
    ('cats/1.xml', '2.5.txt')
    """
    parts = [
        part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..")
    ]
    file = PurePosixPath(*parts)
    return (
        file.with_suffix(suffix)
        if file.suffix.lower() in EXTENSIONS
        else file.with_name(f"{file.name}{suffix}")
    ).as_posix()


def image_files(given: Sequence[Path], images: ImageSet) -> tuple[Path, list[str]]:
    """Files with pixels below some folders, without the images themselves.

    Parameters
    ----------
    given : sequence of Path
        Folders, or single files.
    images : ImageSet
        The images.

    Returns
    -------
    base : Path
        The folder that all are in.
    files : list of str
        Paths below it, in POSIX form.
    """
    own = {str(path) for item in images.items if (path := file_of(item)) is not None}
    if len(given) == 1:
        base = given[0] if given[0].is_dir() else given[0].parent
        files = files_below(base) if given[0].is_dir() else [given[0].name]
    else:
        base = _above(given)
        files = []
        for path in given:
            below = path.relative_to(base).as_posix()
            files += [f"{below}/{f}" for f in files_below(path)] if path.is_dir() else [below]
    return base, [file for file in files if str(base / file) not in own]


def _above(paths: Sequence[Path]) -> Path:
    """Folder that all of some paths are in."""
    shared = set.intersection(*({path, *path.parents} for path in paths))
    return max(shared, key=lambda path: len(path.parts))


def is_instance_place(folder: Path) -> bool:
    """Whether a folder is one of instance masks, by its name or by the list of their objects."""
    return is_instance_folder(folder.name) or (folder / OBJECT_LIST).is_file()
