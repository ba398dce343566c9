import numpy as np
import pytest

from transferkit.solvers.selection import (
    Candidate,
    best,
    walk_path,
    walk_paths,
)


def judge(losses):
    return lambda C: Candidate(C, losses[C])


@pytest.mark.parametrize(("patience", "n_tried"), [(None, 7), (1, 3), (2, 6), (3, 7)])
def test_a_walk_ends_after_so_many_rises_in_a_row(patience, n_tried):
    losses = [3.0, 2.0, 2.5, 2.0, 2.1, 2.2, 2.3]
    taken = []

    def path():
        for C in range(len(losses)):
            taken.append(C)
            yield C

    tried = walk_path(path(), judge(losses), patience=patience)
    assert [candidate.C for candidate in tried] == taken == list(range(n_tried))


def test_equal_losses_are_no_rise():
    assert len(walk_path(range(4), judge([1.0, 1.0, 1.0, 1.0]), patience=1)) == 4


def test_each_of_several_problems_ends_by_its_own_losses():
    losses = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 4, 5], [1, 2, 1, 2, 1]])
    tried = walk_paths(range(5), lambda C, j: Candidate(C, losses[j, C]), 3, patience=2)
    assert [len(candidates) for candidates in tried] == [3, 5, 5]
    tried = walk_paths(range(5), lambda C, j: Candidate(C, losses[j, C]), 2, patience=1)
    assert [len(candidates) for candidates in tried] == [2, 4]


def test_ties_go_to_the_first_or_the_last():
    tried = walk_path(range(4), judge([2.0, 1.0, 1.0, 3.0]))
    assert best(tried).C == 1
    assert best(tried, prefer_large=True).C == 2
