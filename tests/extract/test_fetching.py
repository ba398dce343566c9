"""Images that are far away are asked for ahead of time, many at once."""

import threading

import pytest

from transferkit.extract.fetching import REQUESTS, FetchedAhead
from transferkit.images import ImageSet, LazyImage


class _Far(LazyImage):
    """An image that comes when as many others are asked for."""

    def __init__(self, content, together=None, is_far=True):
        self.content, self.together, self.far, self.n_read = content, together, is_far, 0

    @property
    def is_far(self):
        return self.far

    def read(self):
        self.n_read += 1
        if self.together is not None:
            self.together.wait(timeout=60)
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def image_set(items):
    return ImageSet(tuple(items), tuple(map(str, range(len(items)))))


def test_many_requests_are_in_flight_for_one_who_reads():
    together = threading.Barrier(REQUESTS)
    images = image_set([_Far(b"%d" % i, together) for i in range(REQUESTS)])
    chunks = [[*range(REQUESTS // 2)], [*range(REQUESTS // 2, REQUESTS)]]
    with FetchedAhead(images) as fetched:
        taken = list(fetched.chunks(chunks))
        assert taken == chunks
        found = [fetched.content(i) for i in range(REQUESTS)]
    assert found == [b"%d" % i for i in range(REQUESTS)]
    assert {item.n_read for item in images.items} == {1}


def test_nothing_is_asked_for_before_its_chunk_is_taken():
    images = image_set([_Far(b"x") for _ in range(4)])
    with FetchedAhead(images) as fetched:
        chunks = fetched.chunks([[0, 1], [2, 3]])
        next(chunks)
        assert fetched.content(0) == b"x"
    assert [item.n_read for item in images.items][2:] == [0, 0]


def test_what_is_near_is_read_when_it_is_wanted():
    images = image_set([_Far(b"x", is_far=False)])
    with FetchedAhead(images) as fetched:
        assert list(fetched.chunks([[0]])) == [[0]]
        assert images.items[0].n_read == 0
        assert fetched.content(0) == b"x"


def test_failures_come_where_the_image_is_wanted():
    images = image_set([_Far(OSError(5, "gone")), _Far(b"x")])
    with FetchedAhead(images) as fetched:
        list(fetched.chunks([[0, 1]]))
        assert fetched.content(1) == b"x"
        with pytest.raises(OSError, match="gone"):
            fetched.content(0)
