import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from transferkit.extract.decoding import Decoded
from transferkit.extract.workers import Workers, run, workers_for
from transferkit.forward.allocator import kept_pages


@pytest.mark.parametrize(
    ("n_cores", "n_batches", "expected"),
    [
        (1, 100, Workers(1, 1, 0)),
        (2, 100, Workers(2, 1, 0)),
        (2, 1, Workers(1, 1, 0)),
        (16, 100, Workers(16, 1, 0)),
        (16, 3, Workers(3, 1, 0)),
        (64, 100, Workers(16, 4, 0)),
        (64, 1, Workers(1, 4, 0)),
    ],
)
def test_one_worker_per_core(monkeypatch, n_cores, n_batches, expected):
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_cores)
    assert workers_for(torch.device("cpu"), n_batches) == expected


def test_beside_a_gpu_the_cores_decode():
    workers = workers_for(torch.device("cuda"), 100)
    assert workers.n_workers > 1
    assert workers.n_decoders >= 1


def fake(index):
    readable = index % 5 != 3
    pixels = np.full((2, 2, 3), index, dtype=np.uint8) if readable else None
    return Decoded(index, b"", pixels, "" if readable else "bad", (2, 2), (0.0, 0.0))


@pytest.mark.parametrize("workers", [Workers(1, 1, 0), Workers(3, 1, 0), Workers(2, 1, 3)])
def test_results_come_in_order_padded_and_a_few_ahead(workers):
    started, shapes, made = [], set(), []

    def rows(pixels):
        shapes.add(pixels.shape)
        time.sleep(0.002 * (pixels[0, 0, 0, 0] % 3))
        return {"f": pixels[:, 0, 0, 0].astype(np.float32)}

    def decode(index):
        started.append(index)
        return fake(index)

    def forward():
        made.append(1)
        return SimpleNamespace(rows=rows)

    chunks = [list(range(start, min(start + 4, 58))) for start in range(0, 58, 4)]
    batches = zip(chunks, run(chunks, decode, 4, forward, workers), strict=True)
    for seen, (chunk, batch) in enumerate(batches, 1):
        assert [image.index for image in batch.decoded] == chunk
        assert all(image.pixels is None for image in batch.decoded)
        good = [index for index in chunk if index % 5 != 3]
        np.testing.assert_array_equal(batch.rows["f"][: len(good)], good)
        assert (batch.rows["f"][len(good) :] == good[-1]).all()
        assert set(batch.seconds) == {"read", "decode", "forward"}
        assert len(started) <= 4 * (seen + 2 * workers.n_workers + 1)
    assert shapes == {(4, 2, 2, 3)}
    assert made == [1]


def test_no_network_where_nothing_can_be_read():
    def forward():
        raise AssertionError("a network was built")

    (batch,) = run([[3, 8]], fake, 4, forward, Workers(2, 1, 0))
    assert batch.rows is None
    assert [image.reason for image in batch.decoded] == ["bad", "bad"]


def test_threads_end_and_their_number_comes_back():
    before, alive = torch.get_num_threads(), threading.active_count()
    inside = []

    def forward():
        inside.append(torch.get_num_threads())
        raise RuntimeError("no network")

    for n_threads in (1, 3):
        with pytest.raises(RuntimeError, match="no network"):
            list(run([[0], [1]], fake, 1, forward, Workers(2, n_threads, 0)))
    assert set(inside) == {1, 3}
    assert torch.get_num_threads() == before
    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]
    assert threading.active_count() == alive


def test_whoever_stops_looking_stops_the_work():
    started = []

    def decode(index):
        started.append(index)
        return fake(0)

    network = SimpleNamespace(rows=lambda pixels: {"f": pixels[:, 0, 0, 0]})
    batches = run([[i] for i in range(1000)], decode, 1, lambda: network, Workers(2, 1, 0))
    next(batches)
    batches.close()
    assert len(started) < 20


def test_pages_are_kept_by_nested_calls_too():
    with kept_pages():
        with kept_pages():
            pass
        assert bytearray(2**22)
    with pytest.raises(ValueError, match="inside"), kept_pages():
        raise ValueError("inside")
