"""What the commands that train a model share: options, and the model measured and saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._facts import facts_of
from transferkit.cli._measure import headline, measure
from transferkit.cli._output import counted

if TYPE_CHECKING:
    from transferkit.images import ImageSet

__all__ = [
    "force_option",
    "measured_line",
    "measured_part",
    "out_option",
    "save_measured",
    "task_option",
    "test_size_option",
]

task_option = click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    default="classification",
    show_default=True,
    help="Labels are classes, or numbers.",
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The model's folder."
)
force_option = click.option("--force", is_flag=True, help="Replace a model that is there.")
test_size_option = click.option(
    "--test-size",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Share held out to measure the model, where the images have no splits; 0 for none.",
)


def measured_part(images: ImageSet, test_size: float, seed: int) -> str:
    """Which of the images a model is measured on, in words."""
    return "test split" if images.split_names else f"held out: {test_size:.0%}, seed {seed}"


def save_measured(
    model: Any, out: Path, *, overwrite: bool, source: str, part: str, test: ImageSet | None
) -> Any:
    """Measure a model, tell its card of it, and save it.

    Parameters
    ----------
    model : TransferEstimator
        Fitted.
    out : Path
        Its folder.
    overwrite : bool
        Whether a model that is there is replaced.
    source : str
        IMAGES as the user gave it.
    part : str
        From `measured_part`.
    test : ImageSet or None
        What it is measured on.

    Returns
    -------
    report or None
        None if nothing was held out.
    """
    report = X = None
    if test is not None and test.labels is not None:
        X = model.extractor_.transform(test)
        report = measure(model, test, X)
    model.facts_ |= facts_of(model, source, part, test, X, report)
    model.save(out, overwrite=overwrite)
    return report


def measured_line(report: Any, n_images: int, part: str) -> tuple[str, str]:
    """The most important numbers, as a name and a value to print."""
    if report is None:
        return "test", "not measured: nothing was held out"
    return "test", f"{headline(report)}, on {counted(n_images, 'image')} ({part})"
