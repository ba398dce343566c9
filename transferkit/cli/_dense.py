"""Options of dense tasks, and the objects that are made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from transferkit import registry
from transferkit.cli._options import extractor_from, images_from, values_option
from transferkit.cli._output import printable
from transferkit.cli._training import Measured, save_then_measure
from transferkit.tasks import dense
from transferkit.tasks.dense import DenseTask, dense_task_of

if TYPE_CHECKING:
    from transferkit.annotations import AnnotationSet
    from transferkit.datasets import Division
    from transferkit.estimators import FeatureExtractor
    from transferkit.images import Failure, ImageSet

__all__ = [
    "FINDING",
    "TRAINED",
    "Training",
    "annotated_images",
    "annotation_options",
    "check_only_vectors",
    "default_heads",
    "dense_extractor_from",
    "dense_options",
    "is_dense",
    "neck_options",
    "network_options",
    "report_remarks",
    "saved_and_measured",
    "tiles_option",
]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Training:
    """What the user asks for who trains on annotated images.

    Parameters
    ----------
    images : str
        IMAGES as the user gave it.
    task : str
        A dense task.
    out : Path
        The model's folder.
    head : str or None
        None for the task's default.
    head_options : dict
        Parameters of the head.
    force : bool
        Whether a model that is there is replaced.
    test_size : float
        Share that is held out, where the images have no splits.
    seed : int
        Of that split, and of the training.
    on_error : str
        What becomes of images that can't be read.
    as_json : bool
        Whether the results are printed as JSON.
    options : dict
        All other ones of the command; who uses some takes them out.
    """

    images: str
    task: str
    out: Path
    head: str | None
    head_options: dict[str, Any]
    force: bool
    test_size: float
    seed: int
    on_error: str
    as_json: bool
    options: dict[str, Any]


def _tasks(are_meant: Callable[[DenseTask], bool]) -> str:
    """Names of some of the dense tasks, for messages."""
    names = [name for name in dense.names() if are_meant(dense_task_of(name))]
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


TRAINED = _tasks(lambda task: task.has_network)
"""Names of the tasks that train a neck and a head."""
FINDING = _tasks(lambda task: task.has_objects)
"""Names of the tasks that find objects."""

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


def _names(folder: str) -> str:
    """Names of a folder's files, for the help."""
    return ", ".join(registry.names(f"transferkit.{folder}"))


annotation_options = _apply(
    [
        click.option(
            "--annotations",
            type=click.Path(path_type=Path),
            help="Where masks or boxes are: a COCO file, a folder of PNG, VOC, YOLO or DOTA files, "
            "a CVAT file, a CSV. By default they are looked for beside the images.",
        ),
        click.option(
            "--annotation-form",
            help=f"Their format, if it isn't recognised: {_names('annotations')}.",
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
        click.option("--neck", help=f"Of dense tasks: {_names('necks')}."),
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
            help="How the head of a dense task is trained: epochs=20; repeatable.",
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
        help="Of dense tasks: cut large images into overlapping tiles, as in 2x3, 512px or "
        f"512x640px,overlap=0.3,whole.  [default: {default}]",
    )


dense_options = _apply([network_options, annotation_options, tiles_option("whole images")])


def default_heads() -> str:
    """The head of each dense task that is taken if none is named, for the help."""
    known = [dense_task_of(name) for name in dense.names()]
    return ", ".join(f"{task.default_head} of {task.name}" for task in known)


def is_dense(task: str) -> bool:
    """Whether it is the name of a dense task."""
    return task in dense.names()


def check_only_vectors(options: dict[str, Any], task: str) -> None:
    """Take the options of dense tasks out of a command's, and refuse them if they are given."""
    for name, flag in _FLAGS.items():
        if options.pop(name, None):
            raise click.UsageError(f"{flag} is for {TRAINED}; the task is {task}")


def dense_extractor_from(
    ctx: click.Context, options: dict[str, Any], crop_mode: str
) -> FeatureExtractor:
    """Make an extractor of maps: of the whole image, in float16, unless the user says otherwise.

    Its features are those of the user, or ``pre_logits`` where the estimator is to choose.

    Parameters
    ----------
    ctx : click.Context
        Of the command, which knows what the user gave.
    options : dict
        Of the command.
    crop_mode : str
        How the task's estimator sees the whole image.
    """
    for name, value in {"crop_mode": crop_mode, "crop_pct": 1.0, "storage": "float16"}.items():
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            options[name] = value
    return extractor_from(options)


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


def saved_and_measured(model: Any, asked: Training, usable: Any, parts: Division) -> Measured:
    """Save a trained model, and measure it on the part that is meant for it."""

    def measured_part() -> tuple[Any, ImageSet]:
        part, own = usable.select(parts.measured)
        return model.measure(part, own), part

    return save_then_measure(
        model,
        asked.out,
        measured_part if len(parts.measured) else None,
        overwrite=asked.force,
        source=asked.images,
        part=parts.name,
        reason=parts.why_not_measured(),
    )
