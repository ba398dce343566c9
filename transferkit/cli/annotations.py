"""``transferkit annotations``: look at annotation files, and turn one format into another."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._dense import annotation_options
from transferkit.cli._options import UNREADABLE, image_options, images_from, json_option
from transferkit.cli._output import counted, print_json, print_pairs, print_table, printable

if TYPE_CHECKING:
    from transferkit.annotations import Annotations, AnnotationSet
    from transferkit.images import Failure, ImageSet

_WRITTEN = ("coco", "voc", "yolo", "dota", "cvat", "csv", "masks", "instances")
# What a format is made for; others take what there is: oriented boxes, masks or boxes.
_NEEDED = {"dota": "oriented", "masks": "map", "instances": "masks"}


@click.group()
def command() -> None:
    """Check annotations of images, and convert them from one format into another."""


def _read(source: str, options: dict[str, Any], needs: str | None) -> Any:
    """Images, their annotations, and what is wrong with these or was mended."""
    from transferkit.annotations import inspected, read_annotations

    given, form = options.pop("annotations"), options.pop("annotation_form")
    classes = options.pop("classes")
    images = images_from(source, options, is_annotated=True)
    found = read_annotations(given, images, form=form, classes=classes, needs=needs)
    return images, found, *inspected(found, images, needs=needs)


@command.command("check")
@click.argument("images")
@annotation_options
@image_options
@json_option
@click.pass_context
def check_command(ctx: click.Context, /, images: str, as_json: bool, **options: Any) -> None:
    """Read the annotations of IMAGES, count their objects, and name everything that is wrong.

    The exit code is 3 if the annotations of an image can't be used.
    """
    listed, found, faults, remarks = _read(images, options, None)
    result = _counts(listed, found, faults)
    if as_json:
        named = {"faults": faults, "remarks": remarks}
        print_json(result | {k: [[f.name, f.reason] for f in v] for k, v in named.items()})
    else:
        _print(result)
        _name("can't be used", faults, len(listed))
        _name("were mended", remarks, len(listed))
    ctx.exit(UNREADABLE if faults else 0)


def _counts(images: ImageSet, found: AnnotationSet, faults: list[Failure]) -> dict[str, Any]:
    """Objects of each class, or images that show it, and the sizes of boxes."""
    import numpy as np

    bad = {fault.index for fault in faults}
    n_classes = len(found.classes)
    objects, shown = np.zeros(n_classes, int), np.zeros(n_classes, int)
    n_ignored = n_empty = 0
    sides: list[Any] = []
    turned: list[Any] = []
    for i in range(len(found)):
        if i in bad:
            continue
        one = found[i]
        present = [] if one.map is None else one.map[one.map >= 0].ravel()
        if one.labels is not None:
            ignored = np.zeros(len(one.labels), bool) if one.ignored is None else one.ignored
            objects += np.bincount(one.labels[~ignored], minlength=n_classes)
            n_ignored += int(ignored.sum())
            n_empty += not len(one.labels)
            present = one.labels
        shown += np.bincount(present, minlength=n_classes) > 0
        if one.boxes is not None and len(one.boxes):
            sides.append(np.sqrt(np.prod(one.boxes[:, 2:] - one.boxes[:, :2], axis=1)))
        if one.oriented is not None and len(one.oriented):
            turned.append((one.oriented, one.size))
    quantiles = np.quantile(np.concatenate(sides), [0.1, 0.5, 0.9]).tolist() if sides else None
    return {
        "images": len(images),
        "annotated": len(images) - len(bad),
        "without_objects": n_empty,
        "ignored": n_ignored,
        "box_sides": quantiles,
        "oriented": _oriented_counts(turned) if turned else None,
        "classes": [
            {"class": name, "objects": int(n), "images": int(m)}
            for name, n, m in zip(found.classes, objects, shown, strict=True)
            if n or m or name != "background"
        ],
    }


def _oriented_counts(turned: list[tuple[Any, tuple[int, int]]]) -> dict[str, Any]:
    """Number of oriented boxes, their sides at the median, and the share that leaves the image."""
    import numpy as np

    from transferkit.images import upright_of_oriented

    every = np.concatenate([boxes for boxes, _ in turned])
    n_leaving = 0
    for boxes, (height, width) in turned:
        low, high = np.split(upright_of_oriented(boxes), 2, axis=1)
        n_leaving += int(((low < -1) | (high > (width + 1, height + 1))).any(axis=1).sum())
    length, width = np.median(every[:, 2:4], axis=0).tolist()
    return {
        "boxes": len(every),
        "length": length,
        "width": width,
        "leaving": n_leaving / len(every),
    }


def _print(result: dict[str, Any]) -> None:
    pairs = [("images", f"{result['images']:,}, {result['annotated']:,} with good annotations")]
    if result["box_sides"]:
        small, middle, large = result["box_sides"]
        sizes = f"{middle:.0f} px at the median, {small:.0f} to {large:.0f} px for four in five"
        pairs += [
            ("boxes", f"{sizes} (root of the area)"),
            ("without objects", f"{result['without_objects']:,} images"),
        ]
    if turned := result["oriented"]:
        sides = f"{turned['length']:.0f} × {turned['width']:.0f} px at the median"
        leaving = f"{100 * turned['leaving']:.1f} % leave the image by more than 1 px"
        pairs.append(("oriented boxes", f"{turned['boxes']:,}: {sides}; {leaving}"))
    if result["ignored"]:
        pairs.append(("ignored", f"{result['ignored']:,} objects, which count neither way"))
    print_pairs(pairs)
    click.echo()
    print_table(
        ("class", "objects", "images"),
        [(row["class"], f"{row['objects']:,}", f"{row['images']:,}") for row in result["classes"]],
    )


def _name(what: str, failures: list[Failure], n_images: int) -> None:
    """Name every image on stderr, with what is wrong."""
    if not failures:
        return
    n_named = len({failure.index for failure in failures})
    of = counted(n_images, "image")
    click.echo(f"the annotations of {n_named:,} of {of} {what}:", err=True)
    for failure in failures:
        click.echo(f"  {printable(failure.name)}: {printable(failure.reason)}", err=True)


@command.command("convert")
@click.argument("images")
@annotation_options
@click.option(
    "--to", "form", required=True, type=click.Choice(_WRITTEN), help="Format to be written."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="File (coco, csv, cvat) or folder (the others); nothing may be there.",
)
@click.option(
    "--upright",
    is_flag=True,
    help="Write upright boxes, those around oriented boxes and masks. In DOTA they have angle 0.",
)
@image_options
@click.pass_context
def convert_command(
    ctx: click.Context, /, images: str, form: str, out: Path, upright: bool, **options: Any
) -> None:
    """Write the annotations of IMAGES in another format.

    Objects are written with their oriented boxes, masks or boxes, as far as the format has them.

    Those of images whose annotations can't be used are left out and named, and the exit code
    is 3 then.
    """
    from transferkit.annotations import write_annotations

    if out.exists():
        raise FileExistsError(f"{str(out)!r} is there already; remove it, or name another place")
    if upright and form in ("masks", "instances"):
        raise ValueError(f"--upright is for formats of boxes, and {form!r} is none; leave it away")
    needs = "boxes" if upright else _NEEDED.get(form, "boxes")
    listed, found, faults, remarks = _read(images, options, needs)
    bad = {fault.index for fault in faults}
    good = [i for i in range(len(listed)) if i not in bad]
    if not good:
        _name("can't be used", faults, len(listed))
        raise ValueError("no image has annotations that can be used; there is nothing to write")
    out.parent.mkdir(parents=True, exist_ok=True)
    names = [listed.names[i] for i in good]
    chosen = found.select(good)
    write_annotations(
        out, names, map(_upright, chosen) if upright else chosen, found.classes, form=form
    )
    of = f"{len(good):,} of {counted(len(listed), 'image')}"
    click.echo(f"annotations of {of} written: {printable(str(out))}", err=True)
    _name("can't be used", faults, len(listed))
    _name("were mended", remarks, len(listed))
    ctx.exit(UNREADABLE if faults else 0)


def _upright(one: Annotations) -> Annotations:
    return dataclasses.replace(one, oriented=None, masks=None)
