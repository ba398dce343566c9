"""Pixels at a time: never more than the budget, and nobody waits for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from transferkit.extract.budget import PixelBudget, affordable_pixels


def test_never_more_than_the_budget():
    budget, lock, held, most = PixelBudget(100), threading.Lock(), [0], [0]
    sizes = np.random.default_rng(0).integers(1, 70, 300).tolist()

    def decode(n):
        with budget.claim(n):
            with lock:
                held[0] += n
                most[0] = max(most[0], held[0])
            threading.Event().wait(0.0005)
            with lock:
                held[0] -= n

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, sizes))
    assert 60 < most[0] <= 100
    assert budget.left == 100


def test_an_image_above_the_budget_goes_alone():
    budget = PixelBudget(100)
    with budget.claim(5000):
        assert budget.left == 0
    assert budget.left == 100


def test_what_fails_gives_its_pixels_back():
    budget = PixelBudget(100)
    with pytest.raises(MemoryError), budget.claim(60):
        raise MemoryError
    assert budget.left == 100


def test_one_image_of_pils_limit_is_always_affordable():
    assert affordable_pixels() >= 178_956_970
