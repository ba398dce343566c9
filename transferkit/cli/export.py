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
    help="Largest difference allowed.  [default: 0.001; 0.05 for trees, neighbours and votes]",
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
    to the largest) is above the tolerance, it isn't kept and the exit code is 1.
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
    kind = found.kind if found.kind == "probabilities" else f"{found.kind}, relative"
    same = "" if found.n_same is None else f"; same label for {found.n_same} of {found.n}"
    print_pairs(
        [
            (made.format, f"{made.path} ({size_of(made.n_bytes)})"),
            (
                "check",
                f"largest difference {found.difference:.2g} ({kind}; allowed "
                f"{found.tolerance:.2g}) on {found.n} images{same}",
            ),
        ]
    )
