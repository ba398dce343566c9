"""Options that several commands share, and the objects that are made of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from transferkit.cli._output import counted, printable
from transferkit.spec import (
    CROP_MODES,
    DECODE_MODES,
    INTERPOLATIONS,
    LAYOUTS,
    PRECISIONS,
    STORAGE_DTYPES,
)

if TYPE_CHECKING:
    from transferkit.estimators import FeatureExtractor
    from transferkit.images import Failure, ImageSet

__all__ = [
    "StorePath",
    "backbone_options",
    "estimator_from",
    "exit_code",
    "extraction_mode",
    "extractor_from",
    "image_options",
    "images_from",
    "json_option",
    "machine_options",
    "place_from",
    "place_options",
    "plan_option",
    "report_failures",
    "run_options",
    "store_option",
    "values_option",
]

F = TypeVar("F", bound=Callable[..., Any])
UNREADABLE = 3
"""Exit code: done, but some images could not be read."""


def _apply(options: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class StorePath(click.Path):
    """A folder, or a URL, which must stay text: a path has no two slashes in a row."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a `Path`, or the URL as it is."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


store_option = click.option(
    "--store",
    type=StorePath(path_type=Path),
    help="Feature store, a folder or a URL such as s3://BUCKET/PREFIX; default "
    "$TRANSFERKIT_STORE, else the user's cache directory.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
plan_option = click.option(
    "--plan",
    "only_plan",
    is_flag=True,
    help="Time a few batches, say what all would take, and stop.",
)
on_error_option = click.option(
    "--on-error",
    type=click.Choice(["report", "skip", "raise"]),
    default="report",
    show_default=True,
    help="Unreadable images: go on and exit with 3; go on and exit with 0; or fail.",
)
# Options for images in all commands but benchmark, whose tables have the usual column names.
place_options = _apply(
    [
        click.option(
            "--root",
            type=click.Path(path_type=Path),
            help="Folder that a table's paths are relative to; default the table's own.",
        ),
        click.option("--suffix", default="", help="Put behind a table's paths without one: .jpg."),
        click.option(
            "--exclude",
            multiple=True,
            metavar="PATTERN|FILE",
            help="Files or folders to leave out, such as '*_augmented', or a list of them that "
            "`inspect` wrote (FILE.txt); repeatable.",
        ),
        click.option(
            "--split-lists",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="FOLDER",
            help="Folder of train.txt, val.txt, test.txt: an image's name in each line.",
        ),
    ]
)
image_options = _apply(
    [
        place_options,
        click.option("--path-column", default="path", show_default=True, help="Column of paths."),
        click.option(
            "--label-column", default="label", show_default=True, help="Column of labels."
        ),
        click.option("--labels", help="Several columns of labels, with commas between: a,b,c."),
        click.option(
            "--split-column", default="split", show_default=True, help="Column of splits."
        ),
    ]
)


def _set_pixel_limit(ctx: click.Context, param: click.Parameter, value: float | None) -> None:
    """Set PIL's limit, which holds for the whole process, while the command runs."""
    import warnings

    from PIL import Image

    # PIL warns above its limit, without naming the image, and refuses above twice the limit. The
    # option means the second.
    # No other thread runs yet, nor does one when the filters come back.
    ctx.with_resource(warnings.catch_warnings())
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    if value is not None:
        before = Image.MAX_IMAGE_PIXELS
        ctx.call_on_close(lambda: setattr(Image, "MAX_IMAGE_PIXELS", before))
        Image.MAX_IMAGE_PIXELS = max(1, round(value * 1e6 / 2))


machine_options = _apply(
    [
        click.option(
            "--device",
            default="auto",
            show_default=True,
            help="auto, cpu, cuda, cuda:N or mps; a process each for several, as in cuda:0,cuda:1.",
        ),
        click.option(
            "--engine",
            default="auto",
            show_default=True,
            help="What computes: auto, torch, compile (for many images on a GPU), or openvino (an "
            "extra for CPUs).",
        ),
        click.option("--batch-size", type=click.IntRange(1), help="Images per forward pass."),
        click.option(
            "--max-megapixels",
            type=click.FloatRange(min=0, min_open=True),
            callback=_set_pixel_limit,
            expose_value=False,
            help="Largest image that is decoded; 179 by default, as PIL has it.",
        ),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    ]
)


# Of every command that takes images to their features.
run_options = _apply([store_option, image_options, machine_options, on_error_option])


def _size(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    if value is None:
        return None
    parts = value.lower().replace("×", "x").split("x")
    if not all(part.isdigit() and int(part) > 0 for part in parts) or len(parts) > 2:
        raise click.BadParameter(f"{value!r}; give one number (224) or HEIGHTxWIDTH (224x320)")
    sizes = [int(part) for part in parts]
    return (sizes[0], sizes[-1])


def values_option(
    flag: str, name: str, *, help: str, example: str, only_identifiers: bool = False
) -> Callable[[F], F]:
    """Option NAME=VALUE, repeatable, that makes a dictionary; VALUE is JSON, or else text.

    The code that takes the dictionary checks the names, unless only identifiers may pass.
    """

    def parse(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> Any:
        values = {}
        for given in texts:
            key, equals, text = given.partition("=")
            if not equals or (only_identifiers and not key.isidentifier()):
                raise click.BadParameter(f"{given!r}; write NAME=VALUE, as in {example}")
            try:
                values[key] = json.loads(text)
            except ValueError:
                values[key] = text
        return values

    return click.option(flag, name, multiple=True, metavar="NAME=VALUE", callback=parse, help=help)


def _numbers(kind: type[int] | type[float]) -> Callable[..., Any]:
    """Callback of an option that takes numbers with commas between."""

    def parse(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            return tuple(kind(part) for part in value.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{value!r}; give numbers with commas between") from error

    return parse


# For images that aren't 8-bit RGB.
_value_options = _apply(
    [
        click.option(
            "--in-chans",
            type=click.IntRange(1),
            metavar="N",
            help="Channels of the images, if not 3; --mean and --std are those of N channels then.",
        ),
        click.option(
            "--value-range",
            nargs=2,
            type=float,
            metavar="LOW HIGH",
            help="Values of the images that become 0 and 1, such as 0 65535; 8 bits without it.",
        ),
        click.option("--window", is_flag=True, help="A DICOM file's own window is its range."),
        click.option(
            "--bands",
            callback=_numbers(int),
            metavar="N,…",
            help="Channels that are taken, in this order, from 1: 3,2,1.",
        ),
        click.option(
            "--layout",
            type=click.Choice(LAYOUTS),
            default="HWC",
            show_default=True,
            help="Channels of .npy files come last or first; CHW: a TIFF's pages are channels.",
        ),
        click.option(
            "--mean",
            callback=_numbers(float),
            metavar="M,…",
            help="Mean of each channel, or of all, for values scaled to [0, 1].",
        ),
        click.option(
            "--std", callback=_numbers(float), metavar="S,…", help="Standard deviation, likewise."
        ),
    ]
)
backbone_options = _apply(
    [
        click.option(
            "--backbone", required=True, help="timm's name: resnet50, hf-hub:…, local-dir:…"
        ),
        click.option(
            "--features",
            default="pre_logits",
            show_default=True,
            help="Feature names, layer[.pooling], with commas between: stage3.avg,pre_logits.",
        ),
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="A local weights file for the architecture.",
        ),
        click.option("--random", "random_weights", is_flag=True, help="Random weights instead."),
        click.option(
            "--weights-seed", default=0, show_default=True, help="Seed of random weights."
        ),
        values_option(
            "--backbone-arg",
            "arguments",
            help="Creation argument of the network, such as output_stride=16; repeatable.",
            example="output_stride=16",
            only_identifiers=True,
        ),
        click.option("--image-size", callback=_size, metavar="N|HxW", help="Input size, px."),
        click.option("--crop-pct", type=float, help="Input size over resized size, up to 1."),
        click.option(
            "--crop-mode", type=click.Choice(CROP_MODES), help="Crop, squash or add borders."
        ),
        click.option(
            "--interpolation", type=click.Choice(INTERPOLATIONS), help="Resampling filter."
        ),
        click.option("--exif", is_flag=True, help="Apply the EXIF orientation."),
        click.option(
            "--decode",
            type=click.Choice(DECODE_MODES),
            default="exact",
            show_default=True,
            help="Every pixel, or large JPEGs at a fraction of their size.",
        ),
        _value_options,
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="float32",
            show_default=True,
            help="Numeric class of the forward pass.",
        ),
        click.option(
            "--storage",
            type=click.Choice(STORAGE_DTYPES),
            default="float32",
            show_default=True,
            help="Numeric class of the stored rows; int8 has a scale per 64 values.",
        ),
    ]
)


def progress_from(options: dict[str, Any]) -> bool:
    """Whether to show a progress bar, with --quiet taken out of a command's options."""
    return not options.pop("quiet") and sys.stderr.isatty()


def extractor_from(options: dict[str, Any]) -> FeatureExtractor:
    """Make an extractor, and remove its options from the command's."""
    from transferkit.estimators import FeatureExtractor

    features = [name.strip() for name in options.pop("features").split(",") if name.strip()]
    if not features:
        raise click.UsageError("--features names no feature; write --features pre_logits")
    names = [
        "backbone",
        "weights",
        "image_size",
        "crop_pct",
        "crop_mode",
        "interpolation",
        "exif",
        "decode",
        *("in_chans", "mean", "std", "value_range", "window", "bands", "layout"),
        "arguments",
        "store",
        "device",
        "precision",
        "storage",
        "engine",
        "batch_size",
    ]
    return FeatureExtractor(
        features=features,
        pretrained=not options.pop("random_weights"),
        seed=options.pop("weights_seed"),
        progress=progress_from(options),
        **{name: options.pop(name) for name in names},
    )


def estimator_from(model: str, options: dict[str, Any]) -> Any:
    """Load a saved model, with the store's and the machine's options taken out of a command's."""
    from transferkit.estimators import load_estimator

    return load_estimator(
        model,
        progress=progress_from(options),
        **{name: options.pop(name) for name in ("store", "device", "engine", "batch_size")},
    )


def images_from(
    source: str,
    options: dict[str, Any],
    learnt: Sequence[str] = (),
    *,
    is_annotated: bool = False,
) -> ImageSet:
    """Images that a command is given, with the table's columns taken out of its options.

    A table that has the columns that a model has learnt needs no option to say so. Masks that
    stand among images that are annotated are none of them.
    """
    from transferkit.images import TABLE_SUFFIXES, column_names, list_images

    columns = {name: options.pop(f"{name}_column") for name in ("path", "label", "split")}
    labels = options.pop("labels")
    several = [name.strip() for name in labels.split(",") if name.strip()] if labels else []
    is_table = Path(source).suffix.lower() in TABLE_SUFFIXES and Path(source).is_file()
    is_open = is_table and not several and columns["label"] == "label"
    if is_open and learnt and set(learnt) <= set(column_names(Path(source))):
        several = list(learnt)
    if len(several) == 1:
        columns["label"], several = several[0], []
    return list_images(
        source,
        path_column=columns["path"],
        label_column=several or columns["label"],
        split_column=columns["split"],
        group_column=options.pop("group_column", None),
        annotated=is_annotated,
        **place_from(options),
    )


def place_from(options: dict[str, Any]) -> dict[str, Any]:
    """Take the options that say where images are, and which are left out, out of a command's."""
    return {name: options.pop(name) for name in ("root", "suffix", "exclude", "split_lists")}


def extraction_mode(on_error: str) -> str:
    """The library's word for --on-error: whoever reports images leaves them out first."""
    return "raise" if on_error == "raise" else "skip"


def report_failures(failures: Sequence[Failure], n_images: int) -> None:
    """Name every unreadable image on stderr, with the reason."""
    if failures:
        images = counted(n_images, "image")
        click.echo(f"{len(failures):,} of {images} could not be read:", err=True)
        for failure in failures:
            click.echo(f"  {printable(failure.name)}: {printable(failure.reason)}", err=True)


def exit_code(failures: Sequence[Failure], on_error: str) -> int:
    """Return 0, or 3 if images could not be read and `on_error` isn't ``"skip"``."""
    return UNREADABLE if failures and on_error != "skip" else 0
