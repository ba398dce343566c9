"""Leaderboards of a benchmark's page: tables with intervals and groups, and what they sum up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transferkit.benchmark import Board, Place
from transferkit.metrics import get, names
from transferkit.report.benchmark.names import (
    metric_title,
    percent,
    shots_title,
    value_title,
    with_interval,
)
from transferkit.report.charts import Points, named, scatter
from transferkit.report.page import (
    Beside,
    CellValue,
    Chart,
    DataTable,
    Fold,
    Part,
    Text,
    WrittenNumber,
)

__all__ = ["board_parts", "board_title", "summary_parts"]

Names = Mapping[str, str]

# Characters of a name beside a chart.
_LONGEST = 24

ABOUT = (
    "Means over seeds, with 95 % intervals over test images and seeds. Backbones that share a "
    "letter can't be told apart (paired tests, 5 %, Holm's correction), or have no seed in common."
)


def board_title(board: Board) -> str:
    """Probe and shots."""
    return f"{board.probe}, {shots_title(board)}"


def board_parts(boards: Sequence[Board], short: Names) -> list[Part]:
    """Show the leaderboards of a dataset: the first open, the others to be opened."""
    if not boards:
        return []
    first, *others = boards
    parts = [*_board(first, short), *_overview(boards, short)]
    for board in others:
        best = board.places[0]
        value = with_interval(board.metric, best.mean, best.interval)
        title = f"{board_title(board)}: {short[best.backbone]} {value}"
        parts.append(Fold(title, _board(board, short)))
    return parts


def _board(board: Board, short: Names) -> list[Part]:
    beside = Beside([_table(board, short), _chart(board, short)], widths=(3, 2))
    return [Text(_told(board)), beside]


def _told(board: Board) -> str:
    seeds = f", {board.n_seeds} seeds" if board.n_seeds > 1 else ""
    scale = percent(board.metric)
    baseline = (
        ""
        if board.baseline is None
        else f" Without looking at an image one gets {scale * board.baseline:.3g}"
        + " %" * (scale > 1)
        + (", the dashed line." if _shows_baseline(board) else ".")
    )
    return f"{board_title(board)}; measured on {board.n_test:,} test images{seeds}.{baseline}"


def _table(board: Board, short: Names) -> DataTable:
    has_spread = any(place.spread is not None for place in board.places)
    has_ece = any(place.ece is not None for place in board.places)
    has_notes = any(place.notes for place in board.places)
    others = list(board.places[0].others)
    header = ["backbone", "features", value_title(board.metric)]
    header += ["± over seeds"] * has_spread + ["95 % interval", "group"]
    header += ["calibration error, %", "after scaling"] * has_ece
    header += [metric_title(name) for name in others] + ["notes"] * has_notes
    rows: list[list[CellValue]] = []
    for place in board.places:
        row: list[CellValue] = [short[place.backbone], place.feature]
        row.append(_value(board.metric, place.mean))
        row += [_value(board.metric, place.spread)] * has_spread
        row += [_interval(board.metric, place), place.group]
        row += [_value("accuracy", one) for one in (place.ece, place.ece_scaled)] * has_ece
        row += [_other(name, place.others[name]) for name in others]
        row += ["; ".join(place.notes)] * has_notes
        rows.append(row)
    return DataTable(header, rows)


def _shows_baseline(board: Board) -> bool:
    """Whether the baseline is so near that the intervals can be seen beside it."""
    if board.baseline is None:
        return False
    ends = np.array([place.interval for place in board.places])
    return bool(ends.min() - board.baseline < 2 * max(float(np.ptp(ends)), 1e-9))


def _value(metric: str, value: float | None) -> WrittenNumber | None:
    if value is None:
        return None
    scale = percent(metric)
    return WrittenNumber(scale * value, f"{scale * value:.{1 if scale > 1 else 3}f}")


def _interval(metric: str, place: Place) -> WrittenNumber:
    """An interval, sorted by its lower end."""
    scale = percent(metric)
    low, high = (f"{scale * end:.{1 if scale > 1 else 3}f}" for end in place.interval)
    return WrittenNumber(place.interval[0], f"{low} to {high}")


def _other(name: str, value: float | None) -> WrittenNumber | None:
    if value is None:
        return None
    text = get(name).format(value) if name in names() else f"{value:.4g}"
    return WrittenNumber(value, text)


def _chart(board: Board, short: Names) -> Chart:
    """Places with their intervals, the best at the top."""
    scale = percent(board.metric)
    places = [_place_name(place, board, short) for place in board.places]
    at = list(range(len(places)))
    values = scale * np.array([place.mean for place in board.places])
    low, high = scale * np.array([place.interval for place in board.places]).T
    told = [
        f"{name}: {with_interval(board.metric, place.mean, place.interval)}, group {place.group}"
        for name, place in zip(places, board.places, strict=True)
    ]
    figure = scatter(
        [Points("", values, at, texts=told, size=11)],
        x_title=value_title(board.metric),
        y_title="",
    )
    figure["data"][0]["error_x"] = {
        "type": "data",
        "symmetric": False,
        "array": (high - values).tolist(),
        "arrayminus": (values - low).tolist(),
        "thickness": 2,
        "width": 5,
    }
    figure["layout"]["yaxis"] |= {
        "tickvals": at,
        "ticktext": [named(_chart_name(place, board, short)) for place in board.places],
        "range": [len(places) - 0.5, -0.5],
        "showgrid": False,
        "zeroline": False,
    }
    if board.baseline is not None and _shows_baseline(board):
        figure["layout"]["shapes"] = [_across(scale * board.baseline)]
    height = min(120 + 34 * len(places), 900)
    label = f"{metric_title(board.metric)} of {len(places)} backbones with intervals, {board.probe}"
    return Chart(figure, label, height=height)


def _chart_name(place: Place, board: Board, short: Names) -> str:
    """A name that leaves room for the chart; the table beside it has the whole."""
    name, whole = short[place.backbone], _place_name(place, board, short)
    # What tells the features stays, and the backbone is cut.
    room = max(_LONGEST - (len(whole) - len(name)), _LONGEST // 2)
    return whole if len(name) <= room else name[: room - 1] + "…" + whole[len(name) :]


def _across(value: float) -> dict[str, Any]:
    line = {"color": "var(--soft)", "width": 1.5, "dash": "dash"}
    return {
        "type": "line",
        "x0": value,
        "x1": value,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": line,
    }


def _place_name(place: Place, board: Board, short: Names) -> str:
    """The backbone, and its features where it has several places."""
    n = sum(other.backbone == place.backbone for other in board.places)
    return short[place.backbone] + (f", {place.feature}" if n > 1 else "")


def _overview(boards: Sequence[Board], short: Names) -> list[Part]:
    """List the leaderboards of a dataset with their best backbones."""
    if len(boards) < 2:
        return []
    rows: list[list[CellValue]] = []
    for board in boards:
        best = board.places[0]
        alike = sum(bool(set(best.group) & set(place.group)) for place in board.places[1:])
        rows.append(
            [
                board.probe,
                # All images are more than any number of them.
                WrittenNumber(1e9 if board.shots is None else board.shots, shots_title(board)),
                short[best.backbone],
                best.feature,
                _value(board.metric, best.mean),
                _interval(board.metric, best),
                f"{alike} of {len(board.places) - 1}" if len(board.places) > 1 else None,
            ]
        )
    header = ["probe", "trained on", "best backbone", "features", value_title(boards[0].metric)]
    header += ["95 % interval", "others not told apart"]
    return [DataTable(header, rows, "The best of each leaderboard")]


def summary_parts(boards: Sequence[Board], short: Names) -> list[Part]:
    """Tables of backbones and datasets, for every probe and shots that several datasets have."""
    same: dict[tuple[str, int | None], list[Board]] = {}
    for board in boards:
        same.setdefault((board.probe, board.shots), []).append(board)
    tables = [_matrix(found, short) for found in same.values() if len(found) > 1]
    return [*tables[:1], *(Fold(table.title, [table]) for table in tables[1:])]


def _matrix(boards: Sequence[Board], short: Names) -> DataTable:
    """Best value of each backbone on each dataset, and its mean rank where all have it."""
    best = [_best_of(board) for board in boards]
    backbones = list(dict.fromkeys(name for found in best for name in found))
    ranks = [
        {name: 1 + sum(other > value for other in found.values()) for name, value in found.items()}
        for found in best
    ]
    rows: list[tuple[float, list[CellValue]]] = []
    for name in backbones:
        values = [
            _value(board.metric, found.get(name)) for board, found in zip(boards, best, strict=True)
        ]
        is_everywhere = all(name in found for found in ranks)
        rank = float(np.mean([found[name] for found in ranks])) if is_everywhere else None
        rows.append((np.inf if rank is None else rank, [short[name], *values, rank]))
    rows.sort(key=lambda row: row[0])
    titles = [f"{board.dataset}: {value_title(board.metric)}" for board in boards]
    return DataTable(
        ["backbone", *titles, "mean rank"], [row for _, row in rows], board_title(boards[0])
    )


def _best_of(board: Board) -> dict[str, float]:
    best: dict[str, float] = {}
    for place in board.places:  # from the best down
        best.setdefault(place.backbone, place.mean)
    return best
