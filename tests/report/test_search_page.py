"""The contact sheet of a search shows queries and hits, and a bounded number of pictures."""

import numpy as np

from tests.report.test_inspection_page import EVIL, Tags, image_set, opened
from transferkit.images import Failure, ImageSet
from transferkit.inspection.search import Hit, Search
from transferkit.report import search_page as pages
from transferkit.report.search_page import search_page


def found(n_queries: int = 1, **options) -> Search:
    queries = ImageSet(
        (np.full((40, 40, 3), 90, np.uint8),) * n_queries,
        tuple(f"<i>query {i}</i>" for i in range(n_queries)),
    )
    hits = (Hit(2, 1.0, True), Hit(0, 0.8765, False), Hit(3, 0.5, False))
    return Search(queries, image_set(), (hits,) * n_queries, "cosine", 4, **options)


def test_the_query_comes_first_and_then_the_hits():
    page = Tags(search_page(found()).to_html())
    colours = [opened(one).mean((0, 1)).round() for one in page.pictures]
    assert len(colours) == 4
    assert np.ptp(colours[0]) < 4
    assert [int(one.argmax()) for one in colours[1:3]] == [2, 0]
    told = " ".join(page.texts)
    for words in (EVIL, "<b>cat</b>", "2: similarity 0.8765", "same image", "<i>query 0</i>"):
        assert words in told
    assert told.count("same image") == 1
    assert not {"i"} & set(page.tags)


def test_pictures_are_bounded(monkeypatch):
    monkeypatch.setattr(pages, "_MOST", 9)
    page = Tags(search_page(found(5)).to_html())
    assert len(page.pictures) == 8
    assert "5, the first 2 of them shown" in page.texts


def test_queries_that_can_not_be_read_are_told():
    one = found(query_failures=(Failure(0, "<i>query 0</i>", "it is <u>empty</u>"),))
    page = Tags(search_page(one).to_html())
    assert "It can't be read: it is <u>empty</u>" in page.texts
    assert not page.pictures
