"""Parts of the commands that train a model: options, division of the data, saving, measuring."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._options import report_failures
from transferkit.cli._output import counted
from transferkit.report.facts import facts_of
from transferkit.tasks import asked_names, dense

if TYPE_CHECKING:
    from transferkit.datasets import Dataset, Division
    from transferkit.extract import Extraction
    from transferkit.images import ImageSet

__all__ = [
    "Measured",
    "any_task_option",
    "divided",
    "force_option",
    "group_option",
    "measured_pairs",
    "out_option",
    "read_in_order",
    "report_unmeasured",
    "save_then_measure",
    "task_option",
    "telling_of_checkpoint",
    "test_size_option",
    "warn_of_contradictions",
]

task_option = click.option(
    "--task",
    type=click.Choice(asked_names()),
    default="classification",
    show_default=True,
    help="Labels are classes, or numbers.",
)
any_task_option = click.option(
    "--task",
    type=click.Choice([*asked_names(), *dense.names()]),
    default="classification",
    show_default=True,
    help="Labels are classes, or numbers; or images have masks, boxes, or are good.",
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="The model's folder."
)
force_option = click.option("--force", is_flag=True, help="Replace a model that is there.")
group_option = click.option(
    "--group-column",
    metavar="NAME",
    help="Column of what several images are of (a house, a patient): never on both sides.",
)
test_size_option = click.option(
    "--test-size",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Share held out to measure the model, where the images have no splits; 0 for none.",
)


# ---- parts --------------------------------------------------------------------------


def divided(
    listed: ImageSet, extraction: Extraction, task: str, test_size: float, seed: int
) -> tuple[ImageSet, Division]:
    """Return the readable images, and which of them are trained on and which are measured."""
    from transferkit.datasets import divide, roles_of
    from transferkit.tasks import task_of

    images = listed.select(extraction.kept)
    if not len(images):
        report_failures(extraction.failures, len(listed))
        raise ValueError("no image could be read; there is nothing to train on")
    warn_of_contradictions(images, extraction.ids)
    parts = divide(
        images.splits,
        extraction.ids,
        images.labels,
        images.groups,
        is_classes=task_of(task).has_one_class,
        share=test_size,
        seed=seed,
        roles=roles_of(listed.split_names) if listed.split_names else None,
    )
    if not len(parts.train):
        report_failures(extraction.failures, len(listed))
        raise ValueError("no training image could be read; there is nothing to train on")
    if parts.left_out:
        click.echo(f"Warning: {parts.left_out_line()}; the model is not measured on them", err=True)
    return images, parts


def read_in_order(
    images: ImageSet, extraction: Extraction, parts: Division, memory: int
) -> tuple[Dataset, Division]:
    """Read the rows of the used images, part after part, and return each part's positions.

    All rows are read from the store once, and each part is a view of them, so that the features
    of a large data set aren't in memory twice. Rows that take more memory than they may are only
    checked, and stay in the store.

    Parameters
    ----------
    images : ImageSet
        The readable images.
    extraction : Extraction
        Whose rows are still in the store, or in memory.
    parts : Division
        Positions among these images.
    memory : int
        Bytes that features may take.
    """
    import dataclasses

    import numpy as np

    from transferkit.datasets import Dataset, is_unread, row_blocks
    from transferkit.estimators import side_by_side

    order = np.concatenate([parts.train, parts.validation, parts.measured])
    sizes = [len(part) for part in (parts.train, parts.validation, parts.measured)]
    train, validation, measured = np.split(np.arange(len(order)), np.cumsum(sizes)[:-1])
    ids = tuple(extraction.ids[i] for i in order)
    X = side_by_side(extraction, order, memory=memory)
    if is_unread(X):
        for _ in row_blocks(X):  # damaged rows are found now, and can be computed again
            pass
    data = Dataset(images.select(order), ids, X)
    moved = dataclasses.replace(parts, train=train, validation=validation, measured=measured)
    return data, moved


def warn_of_contradictions(images: ImageSet, ids: tuple[bytes, ...]) -> None:
    """Say so where one image has two labels."""
    from transferkit.datasets import contradictions

    pairs = [] if images.labels is None else contradictions(ids, images.labels)
    if pairs:
        a, b = (images.names[i] for i in pairs[0])
        click.echo(
            f"Warning: {len(pairs)} images have the same bytes as another with another label (the "
            f"first: {a!r} and {b!r})",
            err=True,
        )


@contextlib.contextmanager
def telling_of_checkpoint(folder: Path | None) -> Iterator[None]:
    """Say where the last checkpoint is, if there is any, when the user interrupts the training."""
    try:
        yield
    except KeyboardInterrupt:
        if folder is not None:
            click.echo(f"The last checkpoint is in {folder}; go on with --resume.", err=True)
        raise


# ---- save, then measure -------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Measured:
    """The result of measuring a saved model.

    Parameters
    ----------
    report : object or None
        None if it was not measured.
    images : ImageSet or None
        What it was measured on.
    reason : str
        Why it was not measured.
    has_failed : bool
        Whether that is because measuring failed.
    """

    report: Any = None
    images: ImageSet | None = None
    reason: str = ""
    has_failed: bool = False

    @property
    def n(self) -> int:
        """Number of images that it was measured on."""
        return 0 if self.images is None else len(self.images)


def save_then_measure(
    model: Any,
    out: Path,
    measured: Callable[[], tuple[Any, ImageSet | None]] | None,
    *,
    overwrite: bool,
    source: str,
    part: str,
    reason: str,
) -> Measured:
    """Save a model, then measure it and add the results to its card.

    Parameters
    ----------
    model : estimator
        Fitted.
    out : Path
        Its folder.
    measured : callable or None
        Measures it, and returns the report and the images that were measured; None if there
        are none.
    overwrite : bool
        Whether a model that is there is replaced.
    source : str
        IMAGES as the user gave it.
    part : str
        Which of them are measured, in words.
    reason : str
        Why there are none to measure with.
    """
    from transferkit.artifacts import add_facts

    model.facts_ |= facts_of(source, part)
    model.save(out, overwrite=overwrite)
    if measured is None:
        return Measured(reason=reason)
    try:
        report, images = measured()
        model.facts_ |= facts_of(source, part, report)
        add_facts(out, model.facts_)
    except KeyboardInterrupt:
        click.echo(f"The model is saved at {out}; it was not measured.", err=True)
        raise
    except Exception as error:  # of whatever kind: the model is there, and that is to be said
        context = click.get_current_context(silent=True)
        if context is not None and (context.find_root().obj or {}).get("debug"):
            raise
        return Measured(reason=_sentence(error), has_failed=True)
    return Measured(report, images)


def _sentence(error: Exception) -> str:
    """Message of an error, with its type if the error is unexpected."""
    if isinstance(error, MemoryError):
        return "out of memory"
    foreseen = isinstance(error, ValueError | OSError | RuntimeError) and str(error)
    return str(error) if foreseen else f"{type(error).__name__}: {error}"


def report_unmeasured(measured: Measured, out: Path) -> None:
    """Say on stderr that the model is there, though measuring failed."""
    if measured.has_failed:
        click.echo(
            f"Error: the model is saved at {out}, but was not measured: {measured.reason}", err=True
        )


def measured_pairs(model: Any, measured: Measured, parts: Division, part: str) -> list[Any]:
    """Names and values of the most important numbers, to print."""
    if measured.report is None:
        return [("test", f"not measured: {measured.reason}")]
    left_out = f"; {sum(parts.left_out.values()):,} of {parts.n_meant:,} left out"
    text = f"on {counted(measured.n, 'image')} ({part}{left_out * bool(parts.left_out)})"
    pairs = [("test", f"{measured.report.headline()}, {text}")]
    if getattr(measured.report, "n_unknown", 0):
        pairs.append(("unknown labels", _unknown(model, measured)))
    return pairs


def _unknown(model: Any, measured: Measured) -> str:
    known = {str(label) for label in model.classes_.tolist()}
    labels = (measured.images.labels if measured.images is not None else None) or ()
    new = sorted({str(label) for label in labels} - known)
    names = ", ".join(map(repr, new[:5])) + ", …" * (len(new) > 5)
    return (
        f"{measured.report.n_unknown:,} of these images are of classes that weren't trained on "
        f"({names}) and count as errors"
    )
