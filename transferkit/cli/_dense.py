"""Options of dense tasks, and the objects that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from transferkit.cli._options import extractor_from, images_from, values_option
from transferkit.cli._output import printable

if TYPE_CHECKING:
    from transferkit.annotations import AnnotationSet
    from transferkit.estimators import FeatureExtractor
    from transferkit.images import Failure, ImageSet

__all__ = [
    "annotated_images",
    "annotation_options",
    "check_only_vectors",
    "dense_extractor_from",
    "dense_options",
    "is_dense",
    "neck_options",
    "network_options",
    "report_remarks",
    "tiles_option",
]

F = TypeVar("F", bound=Callable[..., Any])

# Options that speak of dense tasks alone, by the name of their parameter.
_FLAGS = {
    "neck": "--neck",
    "neck_parameters": "--neck-arg",
    "recipe": "--set",
    "annotations": "--annotations",
    "annotation_form": "--annotation-form",
    "classes": "--classes",
    "run": "--run",
    "resume": "--resume",
    "tiles": "--tiles",
}


def _apply(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


annotation_options = _apply(
    [
        click.option(
            "--annotations",
            type=click.Path(path_type=Path),
            help="Masks: a folder of PNGs, or a COCO file. Boxes: a COCO file, a folder of VOC or "
            "YOLO files, or a CSV. By default they are looked for beside the images.",
        ),
        click.option(
            "--annotation-form",
            help="Their format, if it isn't recognised: masks, coco, mvtec, voc, yolo, csv.",
        ),
        click.option(
            "--classes",
            type=click.Path(path_type=Path),
            help="File of class names, one per line, or with their colours: cat 255 0 0.",
        ),
    ]
)
neck_options = _apply(
    [
        click.option(
            "--neck", help="For segmentation and detection: fpn, panet, bifpn, simple or none."
        ),
        values_option(
            "--neck-arg",
            "neck_parameters",
            help="Parameter of the neck, such as width=128; repeatable.",
            example="width=128",
        ),
    ]
)
network_options = _apply(
    [
        neck_options,
        values_option(
            "--set",
            "recipe",
            help="How a head of segmentation or detection is trained: epochs=20; repeatable.",
            example="epochs=20",
        ),
        click.option(
            "--run",
            type=click.Path(path_type=Path),
            help="Folder for the checkpoint and curves of that training.",
        ),
        click.option("--resume", is_flag=True, help="Go on from that folder's checkpoint."),
    ]
)


def _tiling(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Check now what tiles are wanted, and spell them as a model's file does."""
    from transferkit.images import Tiling

    if value is None or value == "none":
        return value
    try:
        return str(Tiling.of(value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def tiles_option(default: str) -> Callable[[F], F]:
    """Option ``--tiles``; the help tells what happens without it.

    Parameters
    ----------
    default : str
        What that is.
    """
    return click.option(
        "--tiles",
        callback=_tiling,
        metavar="ROWSxCOLUMNS|HEIGHTxWIDTHpx",
        help="For segmentation and detection: cut large images into overlapping tiles, as in 2x3, "
        f"512px or 512x640px,overlap=0.3,whole.  [default: {default}]",
    )


dense_options = _apply([network_options, annotation_options, tiles_option("whole images")])


def is_dense(task: str) -> bool:
    """Whether it is the name of a dense task."""
    from transferkit.tasks import dense

    return task in dense.names()


def check_only_vectors(options: dict[str, Any], task: str) -> None:
    """Take the options of dense tasks out of a command's, and refuse them if they are given."""
    for name, flag in _FLAGS.items():
        if options.pop(name, None):
            raise click.UsageError(f"{flag} is for segmentation and detection; the task is {task}")


def dense_extractor_from(
    ctx: click.Context, options: dict[str, Any], images: ImageSet, tiles: str | None = None
) -> FeatureExtractor:
    """Make an extractor of maps: of the whole image, in float16, unless the user says otherwise.

    Its features are those of the user, or ``pre_logits`` where the estimator is to choose. Its
    input's size suits the images or, if they are cut, their tiles.
    """
    for name, value in {"crop_mode": "squash", "crop_pct": 1.0, "storage": "float16"}.items():
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            options[name] = value
    from transferkit.estimators import suited_size
    from transferkit.images import Tiling, tiled

    extractor = extractor_from(options)
    if extractor.image_size is None:
        if tiles is not None:
            images = tiled(images, Tiling.of(tiles)).images
        extractor.image_size = suited_size(extractor, images)
    return extractor


def annotated_images(
    source: str, task: str, options: dict[str, Any], classes: Sequence[str] | None = None
) -> tuple[ImageSet, AnnotationSet | None]:
    """List images and read their annotations, with the options of both taken out of a command's.

    Parameters
    ----------
    source : str
        IMAGES as the user gave it.
    task : str
        A dense task. Annotations are None if it can do without and there are none.
    options : dict
        Of the command.
    classes : sequence of str, optional
        Those that a model knows, if the user names none.
    """
    from transferkit.annotations import read_annotations
    from transferkit.tasks.dense import dense_task_of

    given, form = options.pop("annotations"), options.pop("annotation_form")
    named, needs = options.pop("classes"), dense_task_of(task).needs
    images = images_from(source, options, is_annotated=True)
    try:
        found: AnnotationSet = read_annotations(
            given,
            images,
            form=form,
            classes=classes if named is None else named,
            needs=None if needs == "good" else needs,
        )
    except ValueError:
        if given is not None or dense_task_of(task).has_network:
            raise
        return images, None
    if images.splits is None and found.splits is not None:
        images = replace(images, splits=found.splits)
    return images, found


def report_remarks(remarks: Sequence[Failure]) -> None:
    """Say on stderr what was mended in annotations."""
    for remark in remarks:
        click.echo(f"Warning: {printable(remark.name)}: {printable(remark.reason)}", err=True)
