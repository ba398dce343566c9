"""Make leaderboards of rows: means over seeds, intervals, and groups that can't be told apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transferkit.benchmark.results import Results
from transferkit.registry import unknown
from transferkit.uncertainty import groups, holm, mcnemar, mean_interval, paired_bootstrap

__all__ = ["Board", "Place", "leaderboards"]

LEVEL = 0.05


@dataclass(frozen=True)
class Place:
    """One line of a leaderboard.

    Parameters
    ----------
    backbone, feature : str
        What was measured.
    mean : float
        Of the main metric over seeds.
    spread : float or None
        Standard deviation over seeds; None for one.
    interval : (float, float)
        95 % bootstrap interval over test rows and seeds.
    group : str
        Letters; places that share one can't be told apart (5 %, Holm).
    ece, ece_scaled : float or None
        Calibration error before and after temperature scaling.
    notes : tuple of str
        What to know: ``no better than the baseline``, ``edge``, ``not converged``,
        ``deviates: …``.
    others : mapping of str to (float or None)
        Means over seeds of the further metrics that were asked for.
    """

    backbone: str
    feature: str
    mean: float
    spread: float | None
    interval: tuple[float, float]
    group: str
    ece: float | None
    ece_scaled: float | None
    notes: tuple[str, ...]
    others: Mapping[str, float | None] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Board:
    """A leaderboard: the facts that its places share, and the places from the best down.

    `baseline` is what the metric is without looking at an image: the most frequent class, the
    mean number, the labels' prevalence; None where rows of an older version don't tell it.
    """

    dataset: str
    probe: str
    shots: int | None
    metric: str
    n_test: int
    n_seeds: int
    places: tuple[Place, ...]
    baseline: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = dataclasses.asdict(self)
        values["places"] = [_flat(place) for place in values["places"]]
        return values


def leaderboards(results: Results, metrics: Sequence[str] = ()) -> list[Board]:
    """One board for each dataset, probe and number of shots.

    Parameters
    ----------
    results : Results
        Rows and predictions.
    metrics : sequence of str
        Names of metrics in the rows that every place tells besides.

    Raises
    ------
    ValueError
        If no row has a metric of that name.
    """
    _check(metrics, results)
    boards: dict[tuple[str, str, int | None], dict[tuple[str, str], list[dict[str, Any]]]] = {}
    for row in results.rows():
        if row["status"] == "done":
            board = boards.setdefault((row["dataset"], row["probe"], row["shots"]), {})
            wanted = "auto" if row["auto"] else row["feature"]
            board.setdefault((row["backbone"], wanted), []).append(row)
    return [
        _board(results, dataset, probe, shots, list(found.values()), metrics)
        for (dataset, probe, shots), found in boards.items()
    ]


def _flat(place: dict[str, Any]) -> dict[str, Any]:
    others = place.pop("others")
    return {**place, **others}


def _check(metrics: Sequence[str], results: Results) -> None:
    rows = [row["metrics"] for row in results.rows() if row["status"] == "done"]
    numbers = {k for row in rows for k, v in row.items() if isinstance(v, float | int)}
    for name in metrics:
        if rows and name not in numbers:
            raise unknown("metric", name, sorted(numbers - {"is_better"}))


def _board(
    results: Results,
    dataset: str,
    probe: str,
    shots: int | None,
    sets: list[list[dict[str, Any]]],
    others: Sequence[str],
) -> Board:
    metric = sets[0][0]["metrics"]["main"]

    def mean(rows: list[dict[str, Any]]) -> float:
        return float(np.mean([row["metrics"][metric] for row in rows]))

    sets.sort(key=mean, reverse=True)
    of_seed = [{row["seed"]: results.values(row["cell"]) for row in rows} for rows in sets]
    values = [np.stack(list(each.values())) for each in of_seed]
    letters = groups(_different(of_seed))
    places = [
        _place(rows, metric, mean(rows), array, group, others)
        for rows, array, group in zip(sets, values, letters, strict=True)
    ]
    n_seeds = max(len(rows) for rows in sets)
    told = (row["metrics"].get("baseline") for rows in sets for row in rows)
    baseline = next((value for value in told if value is not None), None)
    n_test = values[0].shape[1]
    return Board(dataset, probe, shots, metric, n_test, n_seeds, tuple(places), baseline)


def _different(of_seed: Sequence[Mapping[int, np.ndarray]]) -> np.ndarray:
    """Which places differ; two are compared on the seeds that both have."""
    n = len(of_seed)
    pairs, p_values = [], []
    for i in range(n):
        for j in range(i + 1, n):
            seeds = [seed for seed in of_seed[i] if seed in of_seed[j]]
            one, other = ([of_seed[k][seed] for seed in seeds] for k in (i, j))
            if seeds and {a.shape for a in one} == {b.shape for b in other}:
                pairs.append((i, j))
                p_values.append(_p_value(np.stack(one), np.stack(other)))
    is_different = np.zeros((n, n), bool)
    for (i, j), p in zip(pairs, holm(p_values), strict=True):
        is_different[i, j] = is_different[j, i] = p < LEVEL
    return is_different


def _p_value(one: np.ndarray, other: np.ndarray) -> float:
    is_single = len(one) == 1 and set(np.unique(one)) <= {0, 1}
    return mcnemar(one[0], other[0]) if is_single else paired_bootstrap(one, other)


def _place(
    rows: list[dict[str, Any]],
    metric: str,
    mean: float,
    values: np.ndarray,
    group: str,
    others: Sequence[str],
) -> Place:
    each = [row["metrics"][metric] for row in rows]
    if metric == "accuracy":
        interval = mean_interval(values)
    else:
        low, high = np.mean([row["metrics"]["interval"] for row in rows], axis=0)
        interval = float(low), float(high)
    is_better = [row["metrics"].get("is_better", True) for row in rows]
    notes = ["no better than the baseline"] * (not any(is_better))
    notes += ["edge"] * any(row["on_edge"] for row in rows)
    notes += ["not converged"] * any(row["converged"] is False for row in rows)
    deviates = sorted({what for row in rows for what in row["deviates"]})
    notes += [f"deviates: {', '.join(deviates)}"] * bool(deviates)
    features = list(dict.fromkeys(row["feature"] for row in rows))
    return Place(
        rows[0]["backbone"],
        ", ".join(features),
        mean,
        float(np.std(each, ddof=1)) if len(each) > 1 else None,
        interval,
        group,
        _mean([row["metrics"].get("ece") for row in rows]),
        _mean([row["metrics"].get("ece_scaled") for row in rows]),
        tuple(notes),
        {name: _mean([row["metrics"].get(name) for row in rows]) for name in others},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
