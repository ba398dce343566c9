"""Choosing a strength: walk a path of models, score held-out rows, keep the best.

`walk_path` is that loop for any models and any score. The path is an iterable of models along
ascending C, the strongest penalty first. `judge` turns a model into a `Candidate`, which holds its
loss on rows that the model hasn't seen. The walk may end once the loss has risen several times in
a row, since every larger C takes longer to solve. `best` returns the candidate of the smallest
loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Candidate", "best", "walk_path", "walk_paths"]

Model = TypeVar("Model")


@dataclass(frozen=True, eq=False)
class Candidate:
    """One strength of a path, and how its model did on held-out rows.

    Parameters
    ----------
    C : float
        Inverse of the strength.
    loss : float
        Loss on the held-out rows. Of a score, where more is better, it is the negative.
    details : object, default=None
        What else is to be remembered of it.
    """

    C: float
    loss: float
    details: Any = None


def walk_path(
    path: Iterable[Model], judge: Callable[[Model], Candidate], *, patience: int | None = None
) -> list[Candidate]:
    """Judge the models of a path, one after the other.

    Parameters
    ----------
    path : iterable
        Models along ascending C. No more of them are taken than are judged.
    judge : callable
        A model → `Candidate`.
    patience : int or None, default=None
        End the walk after the loss has risen this many times in a row. None goes to the end.

    Returns
    -------
    list of Candidate
        In the order of the path.

    Examples
    --------
    >>> losses = {0.1: 3.0, 1.0: 2.0, 10.0: 2.5, 100.0: 1.0}
    >>> tried = walk_path(losses, lambda C: Candidate(C, losses[C]), patience=1)
    >>> [candidate.C for candidate in tried], best(tried).C
    ([0.1, 1.0, 10.0], 1.0)
    """
    return walk_paths(path, lambda model, _: judge(model), 1, patience=patience)[0]


def walk_paths(
    path: Iterable[Model],
    judge: Callable[[Model, int], Candidate],
    n_problems: int,
    *,
    patience: int | None = None,
) -> list[list[Candidate]]:
    """Do as `walk_path` for several problems whose models are solved together.

    Each problem ends by its own losses, and the walk ends when all of them have.

    Parameters
    ----------
    path, patience
        As in `walk_path`.
    judge : callable
        A model and the number of a problem → `Candidate`.
    n_problems : int
        Number of problems.

    Returns
    -------
    list of list of Candidate
        Those of each problem.
    """
    tried: list[list[Candidate]] = [[] for _ in range(n_problems)]
    unfinished = list(range(n_problems))
    for model in path:
        for j in unfinished:
            tried[j].append(judge(model, j))
        unfinished = [j for j in unfinished if not _keeps_rising(tried[j], patience)]
        if not unfinished:
            break
    return tried


def best(tried: Sequence[Candidate], *, prefer_large: bool = False) -> Candidate:
    """Return the candidate of the smallest loss.

    Parameters
    ----------
    tried : sequence of Candidate
        Along ascending C.
    prefer_large : bool, default=False
        Of equal losses the first wins, which has the strongest penalty. With `prefer_large` the
        last does.

    Examples
    --------
    >>> equal = [Candidate(0.1, 2.0), Candidate(1.0, 2.0)]
    >>> best(equal).C, best(equal, prefer_large=True).C
    (0.1, 1.0)
    """
    return min(reversed(tried) if prefer_large else tried, key=lambda candidate: candidate.loss)


def _keeps_rising(tried: Sequence[Candidate], patience: int | None) -> bool:
    if patience is None or len(tried) <= patience:
        return False
    losses = [candidate.loss for candidate in tried[-patience - 1 :]]
    return all(before < after for before, after in itertools.pairwise(losses))
