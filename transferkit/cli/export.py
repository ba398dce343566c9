"""``transferkit export``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from transferkit.cli._options import json_option
from transferkit.cli._output import print_json, print_pairs, size_of


@click.command()
@click.argument("model")
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "timm"]),
    default="onnx",
    show_default=True,
    help="One ONNX file, or the folder that timm loads.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="The file or folder.  [default: beside the model, as MODEL.onnx or MODEL-timm]",
)
@click.option("--check", help="Images to compare on.  [default: photographs of scikit-learn's]")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0, min_open=True),
    help="Largest difference allowed.  [default: 0.001; 0.05 for trees, neighbours and votes; "
    "0.01 px for boxes, 0.1 of float16 maps]",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@json_option
def command(
    model: str,
    form: str,
    output: Path | None,
    check: str | None,
    tolerance: float | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a saved MODEL for another program.

    Backbone, pooling and head become one. What was written is run on real images and compared
    with the model; if the largest difference (of probabilities; of scores and values relative
    to the largest; of boxes in px) is above the tolerance, it isn't kept and the exit code is 1.

    Of tasks that find objects, suppression is inside: the file gives boxes (or oriented boxes, or
    masks within boxes), scores and labels, as many for each image as the model's limit, zeros
    where there is no further object.
    """
    from transferkit.export import export_model

    made = export_model(
        model, output, format=form, check=check, tolerance=tolerance, overwrite=force
    )
    found = made.check
    if as_json:
        values = {"path": str(made.path), "format": made.format, "bytes": made.n_bytes}
        print_json(values | {"check": dataclasses.asdict(found)})
        return
    same = f"; {found.same}" if found.same else ""
    print_pairs(
        [
            (made.format, f"{made.path} ({size_of(made.n_bytes)})"),
            (
                "check",
                f"largest difference {found.difference:.2g} ({found.measured}; allowed "
                f"{found.tolerance:.2g}) on {found.n} images{same}",
            ),
        ]
    )
