"""Curves of a run: a CSV always, a PNG at the end, and TensorBoard on request."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transferkit.files import write_whole

__all__ = ["COLUMNS", "Curves"]

COLUMNS = ("epoch", "seconds", "learning_rate", "train_loss", "val_loss", "val_metric")

logger = logging.getLogger(__name__)


class Curves:
    """Writes the files that show a run's progress.

    Parameters
    ----------
    folder : Path
        Gets ``log.csv`` and ``curves.png``.
    metric_name : str
        What ``val_metric`` is.
    tensorboard : bool, default=False
        Whether ``tensorboard/`` is written too.

    Raises
    ------
    ValueError
        If TensorBoard isn't installed.
    """

    def __init__(self, folder: Path, metric_name: str, tensorboard: bool = False) -> None:
        self.folder = folder
        self.metric_name = metric_name
        self.history: list[dict[str, float]] = []
        self.writer: Any = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError(
                    "TensorBoard isn't installed; run pip install 'transferkit[finetune]', or "
                    "leave it out: log.csv holds the same numbers"
                ) from error
            self.writer = SummaryWriter(str(folder / "tensorboard"))

    def add(self, history: Sequence[dict[str, float]]) -> None:
        """Rewrite the whole log, and add the last line to TensorBoard."""
        self.history = list(history)
        lines = [",".join(COLUMNS)]
        lines += [",".join(_cell(line.get(name)) for name in COLUMNS) for line in history]
        write_whole(self.folder / "log.csv", ["\n".join([*lines, ""]).encode()])
        if self.writer is not None:
            for name in COLUMNS[2:]:
                value = history[-1].get(name, math.nan)
                if math.isfinite(value):
                    self.writer.add_scalar(name, value, int(history[-1]["epoch"]))

    def finish(self, *, draws: bool = True) -> None:
        """Draw the curves if they are wanted and matplotlib is installed."""
        if self.writer is not None:
            self.writer.close()
        if not self.history or not draws:  # another process writes them
            return
        try:
            from matplotlib.figure import Figure
        except ImportError:
            logger.info("no curves.png: matplotlib isn't installed (transferkit[finetune])")
            return
        figure = Figure(figsize=(9, 3.5), layout="constrained")
        left, right = figure.subplots(1, 2)
        for name, label in (("train_loss", "training"), ("val_loss", "held out")):
            _draw(left, self.history, name, label)
        _draw(right, self.history, "val_metric", "held out")
        for axes, title in ((left, "loss"), (right, self.metric_name)):
            axes.set_title(title, loc="left")
            axes.set_xlabel("epoch")
            axes.spines[["top", "right"]].set_visible(False)
            if axes.lines:
                axes.legend(frameon=False)
        figure.savefig(self.folder / "curves.png", dpi=120)


def _draw(axes: Any, history: Sequence[dict[str, float]], name: str, label: str) -> None:
    points = [(h["epoch"], h[name]) for h in history if math.isfinite(h.get(name, math.nan))]
    if points:
        axes.plot(*zip(*points, strict=True), marker=".", label=label)


def _cell(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
