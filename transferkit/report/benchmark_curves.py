"""Charts of a benchmark's page: learning curves, layers, and what speed and width are worth."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transferkit.benchmark import Board, Place
from transferkit.report.benchmark_boards import board_title
from transferkit.report.benchmark_names import percent, value_title, with_interval
from transferkit.report.charts import Curve, Points, lines, scatter
from transferkit.report.page import Beside, CellValue, Chart, DataTable, Part, Text

__all__ = ["images_per_second", "layer_parts", "learning_parts", "trade_off_parts"]

Rows = Sequence[Mapping[str, Any]]
Names = Mapping[str, str]

# A line of a layer chart needs as many features.
_LEAST_FEATURES = 3
# Layers of a network from the input on; those that have no number stand behind those that have.
_ENDS = ("final", "pre_logits", "logits")


# ---- learning curves ----------------------------------------------------------------


def learning_parts(boards: Sequence[Board], rows: Rows, short: Names) -> list[Part]:
    """For each probe of a dataset, the metric over the number of training images."""
    parts: list[Part] = []
    for probe in dict.fromkeys(board.probe for board in boards):
        found = [board for board in boards if board.probe == probe]
        if len(found) == 1:
            continue
        found.sort(key=lambda board: np.inf if board.shots is None else board.shots)
        chart = _learning(found, rows, short)
        if chart.figure["data"]:
            parts.append(chart)
    return [Beside(parts)] if len(parts) > 1 else parts


def _learning(boards: Sequence[Board], rows: Rows, short: Names) -> Chart:
    metric, probe = boards[0].metric, boards[0].probe
    scale = percent(metric)
    at = {board.shots: _images(board, rows) for board in boards}
    places: dict[tuple[str, str], list[tuple[float, Place]]] = {}
    for board in boards:
        for place in board.places:
            points = places.setdefault((place.backbone, place.feature), [])
            points.append((at[board.shots], place))
    places = {key: points for key, points in places.items() if len(points) > 1}
    n_features = len({feature for _, feature in places})
    # A backbone has one colour in all charts, whatever its place.
    order = list(short)
    in_order = sorted(places.items(), key=lambda item: (order.index(item[0][0]), item[0][1]))
    curves = [
        Curve(
            short[backbone] + (f", {feature}" if n_features > 1 else ""),
            [x for x, _ in points],
            [scale * place.mean for _, place in points],
            [scale * place.interval[0] for _, place in points],
            [scale * place.interval[1] for _, place in points],
        )
        for (backbone, feature), points in in_order
    ]
    ticks = {
        at[board.shots]: "all" if board.shots is None else str(board.shots) for board in boards
    }
    unit = "in all" if metric in ("mean_iou", "average_precision") else "per class"
    figure = lines(
        curves,
        x_title=f"training images {unit}",
        y_title=value_title(metric),
        is_log=True,
        x_ticks=ticks,
    )
    return Chart(figure, f"Learning curves under {probe}", height=400, title=probe)


def _images(board: Board, rows: Rows) -> float:
    """Training images, per class where shots are."""
    if board.shots is not None:
        return board.shots
    found = [row for row in rows if (row["probe"], row["shots"]) == (board.probe, None)]
    n = float(np.mean([row["n_train"] + row.get("n_val", 0) for row in found]))
    return n if board.metric in ("mean_iou", "average_precision") else n / found[0]["n_classes"]


# ---- layers -------------------------------------------------------------------------


def layer_parts(boards: Sequence[Board], rows: Rows, short: Names) -> list[Part]:
    """Each backbone's metric from layer to layer, where several of its features were measured."""
    parts: list[Part] = []
    for board in boards:
        curves = _layer_curves(board, short)
        if curves:
            scale = percent(board.metric)
            title = board_title(board)
            parts.append(
                _layers(curves, value_title(board.metric), title, f"Layers under {title}", scale)
            )
    tried = _tried(rows, short)
    if tried:
        title = "What 'auto' chose from: score of a ridge head on the validation part"
        parts.append(_layers(tried, "score", title, title, 1))
    return [Beside(parts)] if len(parts) > 1 else parts


def _layer_curves(board: Board, short: Names) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Value and interval of each feature, for backbones with several."""
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for place in board.places:
        found.setdefault(short[place.backbone], {})[place.feature] = (place.mean, *place.interval)
    return {
        name: found[name] for name in short.values() if len(found.get(name, ())) >= _LEAST_FEATURES
    }


def _tried(rows: Rows, short: Names) -> dict[str, dict[str, tuple[float, float, float]]]:
    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for row in rows:
        if row.get("auto"):
            scores = {name: (score, score, score) for name, score in row["auto"].items()}
            found.setdefault(short[row["backbone"]], scores)
    return {name: values for name, values in found.items() if len(values) >= _LEAST_FEATURES}


def _layers(
    found: Mapping[str, Mapping[str, tuple[float, float, float]]],
    y_title: str,
    title: str,
    label: str,
    scale: float,
) -> Chart:
    features = sorted({name for values in found.values() for name in values}, key=_depth)
    curves = []
    for name, values in found.items():
        known = sorted(values, key=_depth)
        y, low, high = scale * np.array([values[feature] for feature in known]).T
        has_interval = bool((high > low).any())
        curves.append(
            Curve(name, known, y, low if has_interval else None, high if has_interval else None)
        )
    figure = lines(curves, x_title="features, from the input on", y_title=y_title)
    # Backbones have layers of different names: the axis has them all, in order.
    figure["layout"]["xaxis"] |= {"categoryorder": "array", "categoryarray": features}
    return Chart(figure, label, height=420, title=title)


def _depth(feature: str) -> tuple[int, int, str]:
    """Place of a feature in its network."""
    layer, _, pooling = feature.partition(".")
    if layer in _ENDS:
        return 1 + _ENDS.index(layer), 0, pooling
    number = re.search(r"\d+", layer)
    return 0, int(number[0]) if number else 0, feature


# ---- speed and width ----------------------------------------------------------------


def images_per_second(rows: Rows) -> dict[str, float]:
    """Speed of extraction of each backbone whose rows tell it; the fastest of its passes."""
    speeds: dict[str, float] = {}
    for row in rows:
        seconds, n = row.get("extract_seconds"), row.get("n_extracted")
        if seconds and n:
            speeds[row["backbone"]] = max(speeds.get(row["backbone"], 0.0), n / seconds)
    return speeds


def trade_off_parts(board: Board, rows: Rows, short: Names) -> list[Part]:
    """A leaderboard's metric against the speed of extraction, and against the features' width."""
    speeds = images_per_second(rows)
    widths = {
        (row["backbone"], row["feature"]): row["n_features"]
        for row in rows
        if row.get("n_features")
    }
    places = [place for place in board.places if "," not in place.feature]
    by_speed = [(speeds[p.backbone], p) for p in places if p.backbone in speeds]
    by_width = [
        (float(widths[p.backbone, p.feature]), p)
        for p in places
        if (p.backbone, p.feature) in widths
    ]
    charts: list[Part] = []
    if by_speed:
        charts.append(_trade_off(board, by_speed, short, "images/s", is_more_better=True))
    if by_width:
        charts.append(_trade_off(board, by_width, short, "numbers per image", is_more_better=False))
    parts: list[Part] = [Beside(charts)] if charts else []
    untold = sorted({short[p.backbone] for p in places if p.backbone not in speeds})
    if untold:
        parts.append(
            Text(
                f"Not told: the speed of {', '.join(untold)}, whose features were in the store "
                "already when they were measured."
            )
        )
    table = _trade_off_table(board, speeds, widths, short)
    return [*parts, table] if charts else []


def _trade_off(
    board: Board,
    points: Sequence[tuple[float, Place]],
    short: Names,
    what: str,
    *,
    is_more_better: bool,
) -> Chart:
    scale = percent(board.metric)
    x = np.array([at for at, _ in points])
    y = scale * np.array([place.mean for _, place in points])
    front = pareto_front(x if is_more_better else -x, y)
    several = len({place.feature for _, place in points}) > 1
    names = [short[p.backbone] + (f", {p.feature}" if several else "") for _, p in points]
    told = [
        f"{name}: {with_interval(board.metric, place.mean, place.interval)}, {at:,.4g} {what}"
        for name, (at, place) in zip(names, points, strict=True)
    ]
    groups = [
        Points(
            name, x[at], y[at], [told[i] for i in at], colour=colour, size=size,
            labels=[names[i] for i in at] if len(points) <= 12 and name == "Pareto front" else (),
        )
        for name, at, colour, size in (
            ("Pareto front", front, "var(--c2)", 12),
            ("others", [i for i in range(len(x)) if i not in front], "var(--c1)", 9),
        )
        if at
    ]  # fmt: skip
    figure = scatter(groups, x_title=what, y_title=value_title(board.metric), is_log=True)
    figure["layout"]["showlegend"] = True
    _keep_labels_inside(figure)
    steps = sorted(front, key=lambda i: x[i])
    line = {"color": "var(--c2)", "width": 1.5, "dash": "dot"}
    figure["data"].insert(
        0,
        {
            "type": "scatter",
            "mode": "lines",
            "x": x[steps].tolist(),
            "y": y[steps].tolist(),
            "line": line,
            "hoverinfo": "skip",
            "showlegend": False,
        },
    )
    better = "faster" if is_more_better else "smaller"
    title = f"against {what}" if is_more_better else "against the features' width"
    label = (
        f"{value_title(board.metric)} {title}; those on the front have no {better} and better one"
    )
    return Chart(figure, label, height=400, title=title[0].upper() + title[1:])


def _keep_labels_inside(figure: dict[str, Any]) -> None:
    """Write names of the outer points towards the middle, where there is room."""
    everywhere = np.log(np.concatenate([trace["x"] for trace in figure["data"]]))
    middle = (everywhere.min() + everywhere.max()) / 2
    for trace in figure["data"]:
        x = np.log(trace["x"])
        where = np.where(x < middle, "top right", np.where(x > middle, "top left", "top center"))
        trace["textposition"] = where.tolist()


def pareto_front(gain: Any, value: Any) -> list[int]:
    """Positions that no other one beats in one respect without losing in the other.

    Examples
    --------
    >>> pareto_front(np.array([1, 2, 3, 2]), np.array([9, 8, 5, 7]))
    [0, 1, 2]
    """
    return [
        i
        for i in range(len(gain))
        if not (
            (gain >= gain[i]) & (value >= value[i]) & ((gain > gain[i]) | (value > value[i]))
        ).any()
    ]


def _trade_off_table(
    board: Board,
    speeds: Mapping[str, float],
    widths: Mapping[tuple[str, str], int],
    short: Names,
) -> DataTable:
    scale = percent(board.metric)
    rows: list[list[CellValue]] = [
        [
            short[place.backbone],
            place.feature,
            scale * place.mean,
            speeds.get(place.backbone),
            widths.get((place.backbone, place.feature)),
        ]
        for place in board.places
    ]
    header = ["backbone", "features", value_title(board.metric), "images/s", "numbers per image"]
    return DataTable(header, rows)
