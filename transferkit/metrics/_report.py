"""Base class of the reports of all tasks: a row for each metric, a headline, and tables."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from transferkit.metrics._baseline import Baseline
from transferkit.metrics._metric import Metric
from transferkit.metrics._registry import of

__all__ = ["MetricRow", "ReportTable", "TaskReport"]


@dataclass(frozen=True)
class MetricRow:
    """One metric of a report, with its baseline.

    Parameters
    ----------
    metric : Metric
        Which.
    value : float or None
        None where it is undefined.
    low, high : float or None
        95 % interval of it, where there is one.
    baseline : float or None
        What is got without looking at an image, where that is known.
    """

    metric: Metric
    value: float | None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None

    def text(self) -> str:
        """Write the value with its unit, its interval and its baseline."""
        shown = self.metric.text
        if self.value is None or self.baseline is None:
            return shown(self.value)
        low, high = shown(self.low), shown(self.high)
        # If everything is right, or wrong, all draws are alike and make no interval.
        interval = "" if low == high else f"95 % interval {low} to {high}; "
        return f"{shown(self.value)}  ({interval}baseline {shown(self.baseline)})"


@dataclass(frozen=True)
class ReportTable:
    """A table of a report, as text.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
        Cells.
    title : str, default=""
        What stands above it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


class TaskReport(ABC):
    """The report of any task.

    Each task's report is a frozen dataclass with an attribute for each of its first metrics;
    `others` holds metrics that were added later.
    """

    task: ClassVar[str]
    n: int
    baseline: Baseline | None
    others: Mapping[str, float | None]

    def value(self, metric: str) -> float | None:
        """Return the value of the metric of that name; None where it is undefined."""
        value: float | None = self.others.get(metric, getattr(self, metric, None))
        return value

    def rows(self) -> list[MetricRow]:
        """One row for each metric of the task, the most important first."""
        return [self._row(metric) for metric in of(self.task)]

    def _row(self, metric: Metric) -> MetricRow:
        value = self.value(metric.name)
        if self.baseline is not None and (found := self.baseline.of(metric.name)) is not None:
            return MetricRow(metric, value, found.low, found.high, found.baseline)
        low, high = getattr(self, f"{metric.name}_interval", None) or (None, None)
        return MetricRow(metric, value, low, high)

    def headline(self) -> str:
        """Write the most important numbers in one line, with their baseline."""
        if self.baseline is None:
            return self._numbers()
        return f"{self._numbers()}; {self.baseline.verdict}"

    @abstractmethod
    def _numbers(self) -> str:
        """The most important numbers of the task in one line."""

    def _range(self, metric: str, shown: Callable[[float], str]) -> str:
        """The 95 % interval of a metric in brackets, if it has one."""
        comparison = None if self.baseline is None else self.baseline.of(metric)
        if comparison is None or shown(comparison.low) == shown(comparison.high):
            return ""
        return f" ({shown(comparison.low)} to {shown(comparison.high)})"

    def notes(self) -> list[tuple[str, str]]:
        """Pairs of name and text that stand below the metrics."""
        return [] if self.baseline is None else [("baseline", self.baseline.verdict)]

    @abstractmethod
    def tables(self) -> list[ReportTable]:
        """Tables with a row for each class, label or target."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = dataclasses.asdict(self)  # type: ignore[call-overload]
        others = values.pop("others")
        return {**values, **others}
