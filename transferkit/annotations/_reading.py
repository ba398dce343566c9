"""Read annotations in whatever form they are, and write them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from transferkit import registry
from transferkit.annotations._annotations import Annotations, AnnotationSet
from transferkit.annotations._classes import ClassTable, class_table
from transferkit.annotations._form import AnnotationForm
from transferkit.annotations._matching import NothingFits
from transferkit.images import ImageSet

__all__ = ["NoAnnotations", "annotation_forms", "read_annotations", "write_annotations"]

_PACKAGE = "transferkit.annotations"
# The more a form's files say by where they stand and what is in them, the earlier it is asked.
_ORDER = ("mvtec", "cvat", "voc", "dota", "yolo", "instances", "masks", "coco", "csv")
# Near images they are looked for last: others' upright boxes are narrower than those around
# oriented ones, and tell more classes than instance masks do.
_LATE = ("dota", "instances")
# The form that is made for something is looked for first.
_FIRST = {"oriented": ("dota",)}
# Files of some forms hold masks, or oriented boxes, or neither: so many images are looked at.
_LOOKED_AT = 20

logger = logging.getLogger(__name__)


class NoAnnotations(ValueError):
    """No annotations were named, and none stand in or beside the images' folder."""


def annotation_forms() -> list[str]:
    """Names of all forms of annotations, sorted.

    Examples
    --------
    >>> "masks" in annotation_forms()
    True
    """
    return registry.names(_PACKAGE)


def form_of(name: str) -> AnnotationForm:
    """Find a form by its name.

    Raises
    ------
    ValueError
        If there is none of that name; the message lists those that exist.
    """
    return cast(AnnotationForm, registry.load(_PACKAGE, name, "form of annotations"))


def _readable() -> dict[str, AnnotationForm]:
    """Forms that can be read, in the order in which they are asked."""
    names = sorted(annotation_forms(), key=lambda name: (name not in _ORDER, *_place(name)))
    forms = {name: form_of(name) for name in names}
    return {name: form for name, form in forms.items() if hasattr(form, "read")}


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)


def read_annotations(
    given: Any,
    images: ImageSet,
    *,
    form: str | None = None,
    classes: Any = None,
    needs: str | None = None,
) -> AnnotationSet:
    """List the annotations of images. Each is read when it is asked for.

    Parameters
    ----------
    given : path, sequence of paths, AnnotationSet, sequence or None
        - A folder of masks, of instance masks, of VOC, YOLO or DOTA files, COCO or CVAT files, a
          CSV of boxes, the root of a set in MVTec's layout.
        - None: what stands in or beside the images' folder, under one of the usual names.
        - An array (height, width) of classes per image, None where there is none.
        - An `Annotations` per image, None where there is none.
        - An `AnnotationSet` with one item per image, which is returned as it is.
    images : ImageSet
        The images; the annotations come in their order.
    form : str, optional
        One of `annotation_forms`; found by itself if not given.
    classes : path, mapping, sequence or ClassTable, optional
        Names of the classes, with their values or colours if need be: see `class_table`. A file
        that stands beside masks and is called ``classes.txt`` or so is found by itself.
    needs : {"map", "boxes", "masks", "oriented"}, optional
        What is to be read. Forms that can't give it are passed over; by default all are asked.

    Returns
    -------
    AnnotationSet
        One item per image; None for an image that has no annotations.

    Raises
    ------
    ValueError
        If there are no annotations, or it can't be told to which images they belong or what
        they mean.
    FileNotFoundError
        If a path doesn't exist.

    See Also
    --------
    annotation_faults : Names the images whose annotations can't be used.

    Examples
    --------
    >>> import numpy as np
    >>> from transferkit.images import list_images
    >>> images = list_images(np.zeros((2, 4, 4, 3), np.uint8))
    >>> found = read_annotations([np.eye(4, dtype=int), None], images, classes=["sky", "sea"])
    >>> found.classes, found[0].map.sum(), found.is_annotated
    (('sky', 'sea'), np.int64(4), array([ True, False]))
    """
    table = None if classes is None else class_table(classes)
    if given is None:
        return _found(images, form, table, needs)
    if isinstance(given, str | os.PathLike):
        return _from_paths([Path(given).expanduser()], images, form, table, needs)
    if isinstance(given, AnnotationSet):
        return _checked(given, images)
    if isinstance(given, np.ndarray):
        given = list(given)
    if isinstance(given, Sequence) and len(given):
        if all(isinstance(one, str | os.PathLike) for one in given):
            paths = [Path(one).expanduser() for one in given]
            return _from_paths(paths, images, form, table, needs)
        if len(given) != len(images):
            raise ValueError(
                f"annotations of {len(given):,} images for {len(images):,} images; give one for "
                "each, None where there is none"
            )
        if all(one is None or isinstance(one, Annotations) for one in given):
            return AnnotationSet(_names(given, table), given, names=images.names)
        from transferkit.annotations.masks import of_arrays

        return of_arrays(given, images, table)
    raise TypeError(
        f"annotations given as {type(given).__name__}; give {_taken()}, an array (height, width) "
        "or Annotations for every image, or None to look for them beside the images"
    )


def _checked(given: AnnotationSet, images: ImageSet) -> AnnotationSet:
    if len(given) != len(images):
        raise ValueError(
            f"annotations of {len(given):,} images for {len(images):,} images; give one for each"
        )
    return given


def _names(given: Sequence[Any], table: ClassTable | None) -> tuple[str, ...]:
    """Names of the classes of annotations that come without any."""
    if table is not None:
        return table.names
    largest = 1
    for one in given:
        for values in () if one is None else (one.map, one.labels):
            if values is not None and values.size:
                largest = max(largest, int(values.max()))
    if largest == 1:
        return ("background", "foreground")
    return ("background", *(f"class {i}" for i in range(1, largest + 1)))


def _taken(needs: str | None = None) -> str:
    return ", ".join(form.SUMMARY for form in _giving(needs).values())


def _from_paths(
    paths: list[Path],
    images: ImageSet,
    form: str | None,
    table: ClassTable | None,
    needs: str | None,
) -> AnnotationSet:
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"no annotations at {str(path)!r}; give {_taken()}")
    paths = [path.absolute() for path in paths]
    if form is not None:
        return form_of(form).read(paths, images, table)
    for candidate in _giving(needs).values():
        if all(map(candidate.accepts, paths)):
            return candidate.read(paths, images, table)
    shown = ", ".join(repr(str(path)) for path in paths[:3])
    raise ValueError(
        f"{shown} is of no form of annotations{_aside(paths, needs)}; give {_taken(needs)}"
    )


def _aside(paths: list[Path], needs: str | None) -> str:
    """Why masks aren't taken for those of objects: whether parts that touch are one, none says."""
    if needs != "masks" or not all(map(form_of("masks").accepts, paths)):
        return ""
    return (
        " that tells objects apart: masks of classes don't say where one ends and the next begins "
        "(if each number in them is one object, say form='instances')"
    )


def _giving(needs: str | None) -> dict[str, AnnotationForm]:
    """Forms that give what is needed, in the order in which they are asked."""
    return {n: form for n, form in _readable().items() if needs is None or needs in form.GIVES}


def _holds(found: AnnotationSet, needs: str | None) -> bool:
    """Whether annotations hold what is needed, as far as the first images with objects tell."""
    if needs not in ("masks", "oriented"):
        return True
    for i in np.flatnonzero(found.is_annotated)[:_LOOKED_AT].tolist():
        try:
            one = found[i]
        except (ValueError, OSError):
            continue
        if one.labels is not None and len(one.labels):
            return getattr(one, needs) is not None
    return True


def _found(
    images: ImageSet, form: str | None, table: ClassTable | None, needs: str | None
) -> AnnotationSet:
    """Take what stands in or beside the images' folder, of the first form that is there."""
    forms = _giving(needs) if form is None else {form: form_of(form)}
    order = sorted(forms, key=lambda name: (name not in _FIRST.get(needs or "", ()), name in _LATE))
    places = {name: places for name in order if (places := forms[name].found(images))}
    if not places:
        raise NoAnnotations(
            f"no annotations in or beside the folder of {images.names[0]!r}; say where they are "
            f"(annotations, --annotations): {_taken(needs)}"
        )
    misfit: NothingFits | None = None
    lacking: tuple[str, AnnotationSet] | None = None
    for name, chosen in places.items():
        try:
            read = forms[name].read(chosen, images, table)
        except NothingFits as error:
            misfit = misfit or error
            continue
        if _holds(read, needs):
            return _told(name, places, read)
        lacking = lacking or (name, read)
    if lacking is not None:
        # Its faults say what it lacks.
        return _told(lacking[0], places, lacking[1])
    assert misfit is not None  # there are places, and none was right
    raise misfit


def _told(name: str, places: dict[str, list[Path]], read: AnnotationSet) -> AnnotationSet:
    """Say which of several annotations are taken, and give them."""
    others = [f"{other} in {where[0]}" for other, where in places.items() if other != name]
    logger.info(
        "annotations: %s in %s%s",
        name,
        ", ".join(map(str, places[name][:3])),
        f" (not taken: {', '.join(others)})" if others else "",
    )
    return read


def write_annotations(
    path: str | Path,
    names: Iterable[str],
    annotations: Iterable[Annotations],
    classes: Sequence[str],
    *,
    form: str = "masks",
    **options: Any,
) -> None:
    """Write annotations, one image after the other.

    Parameters
    ----------
    path : path
        The folder or file.
    names : iterable of str
        The images' names, as an `ImageSet` has them.
    annotations : iterable of Annotations
        One per name; no more than one is held in memory.
    classes : sequence of str
        Names of the classes, by number.
    form : str, default="masks"
        One of `annotation_forms`.
    **options
        What the form alone knows.

    Raises
    ------
    ValueError
        If the form is unknown or can't be written, or the annotations lack what it writes.
    """
    module = form_of(form)
    if not hasattr(module, "write"):
        able = [name for name in annotation_forms() if hasattr(form_of(name), "write")]
        raise ValueError(f"{form!r} annotations aren't written; choose one of {', '.join(able)}")
    module.write(Path(path), names, annotations, tuple(classes), **options)
