"""The contact sheet of a search: each query and what was found for it, as pictures."""

from __future__ import annotations

from pathlib import PurePath

from transferkit.inspection.search import Hit, Search
from transferkit.report.page import Gallery, Page, Part, Picture, Section, Text
from transferkit.report.snapshots import snapshot

__all__ = ["search_page"]

# So many pictures stand on a page, of about 7 kB each.
_MOST = 1000
_SIDE = 180


def search_page(found: Search, *, title: str = "Search") -> Page:
    """Show each query, and then what was found for it with rank, score and label.

    Parameters
    ----------
    found : Search
        From `transferkit.inspection.search`. Its images are read here, as far as they are shown.
    title : str, default="Search"
        What stands on top.
    """
    n_pictures = 1 + max(map(len, found.hits), default=0)
    n_shown = max(1, _MOST // n_pictures)
    unreadable = {failure.index: failure.reason for failure in found.query_failures}
    sections = []
    for i, name in enumerate(found.queries.names[:n_shown]):
        query = Picture(snapshot(found.queries, i, _SIDE), name, ["query"])
        parts: list[Part] = [Gallery([query, *_pictures(found, found.hits[i])])]
        if i in unreadable:
            parts = [Text(f"It can't be read: {unreadable[i]}", is_warning=True)]
        sections.append(Section(PurePath(name).name or name, parts))
    n = len(found.queries)
    facts = {
        "queries": f"{n:,}" if n <= n_shown else f"{n:,}, the first {n_shown:,} of them shown",
        "searched": f"{found.n_searched:,} of {len(found.images):,} images",
        "compared by": f"{found.metric}: {_HOW_TO_READ[found.metric]}",
    }
    return Page(title, sections, facts)


_HOW_TO_READ = {
    "cosine": "1 is the same, 0 is unlike",
    "euclidean": "0 is the same, the larger the less like",
}


def _pictures(found: Search, hits: tuple[Hit, ...]) -> list[Picture]:
    pictures = []
    for rank, hit in enumerate(hits, 1):
        label = found.label_of(hit.image)
        lines = [f"{rank}: {found.score_name} {hit.score:.4f}", *([label] if label else [])]
        lines += ["same image"] if hit.is_same else []
        image = snapshot(found.images, hit.image, _SIDE)
        pictures.append(Picture(image, found.images.names[hit.image], lines))
    return pictures
