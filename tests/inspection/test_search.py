"""A search finds what a plain comparison of all rows finds."""

import dataclasses
import io

import numpy as np
import pytest

from tests.inspection.plain_search import by_hand, extractor_in
from transferkit.images import UnreadableImages, list_images
from transferkit.inspection.search import search

# ---- images -------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("is_kept", [True, False])
def test_hits_are_those_of_the_transformed_images(folder, tmp_path, metric, is_kept):
    extractor = extractor_in(
        tmp_path / "store" if is_kept else False, features=["pre_logits", "stage1.avg"]
    )
    images = list_images(folder)
    rows, names = extractor.transform(images), list(images.names)
    queries = [folder / "dark/00.png", folder / "light/03.png"]
    found = search(queries, images, extractor, k=4, metric=metric)
    assert found.n_searched == 13
    for path, hits in zip(queries, found.hits, strict=True):
        at = names.index(path.relative_to(folder).as_posix())
        expected, scores = by_hand(rows[at], rows, 4, metric)
        assert [hit.image for hit in hits] == expected
        assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)
        assert hits[0].is_same
    same = [names[hit.image] for hit in found.hits[0] if hit.is_same]
    assert same == ["dark/00.png", "light/copy.png"]


def test_only_others(folder, tmp_path):
    extractor = extractor_in(tmp_path / "store")
    found = search(folder / "dark/00.png", folder, extractor, k=20, only_others=True)
    names = {found.images.names[hit.image] for hit in found.hits[0]}
    assert len(names) == len(found.hits[0]) == 11
    assert not names & {"dark/00.png", "light/copy.png"}
    assert not any(hit.is_same for hit in found.hits[0])


def test_only_what_the_store_has(folder, tmp_path):
    extractor = extractor_in(tmp_path / "store")
    query = folder / "dark" / "02.png"
    with pytest.raises(ValueError, match="has none of these 13 images"):
        search(np.zeros((1, 32, 32, 3), np.uint8), folder, extractor, only_stored=True)
    extractor.extract(folder / "light")
    found = search(query, folder, extractor, only_stored=True, k=20)
    names = sorted(found.images.names[hit.image] for hit in found.hits[0])
    # The query's own features are in the store by now, and so are those of the same bytes.
    wanted = ["dark/00.png", "dark/02.png", *(f"light/{i:02}.png" for i in range(1, 12, 2))]
    assert names == sorted([*wanted, "light/copy.png"])
    assert found.n_searched == 9
    with pytest.raises(ValueError, match="keeps no features"):
        search(query, folder, extractor_in(False), only_stored=True)


def test_what_can_not_be_read_is_raised_or_left_out(folder, tmp_path):
    (folder / "dark" / "bad.png").write_bytes(b"no picture")
    (tmp_path / "query.png").write_bytes(b"")
    queries = [tmp_path / "query.png", folder / "dark/00.png"]
    extractor = extractor_in(tmp_path / "store")
    with pytest.raises(UnreadableImages, match=r"query\.png"):
        search(queries, folder, extractor)
    found = search(queries, folder, extractor, k=2, on_error="skip")
    assert [len(hits) for hits in found.hits] == [0, 2]
    assert [one.name for one in found.failures] == ["dark/bad.png"]
    assert [one.index for one in found.query_failures] == [0]
    lines = found.lines()
    assert [line["rank"] for line in lines] == [None, 1, 2]
    assert lines[0]["error"]
    assert lines[1] == {
        "query": str(folder / "dark/00.png"),
        "rank": 1,
        "path": "dark/00.png",
        "similarity": 1.0,
        "label": "dark",
        "same": True,
        "error": None,
    }


def test_damaged_rows_are_computed_anew(folder, tmp_path):
    extractor = extractor_in(tmp_path / "store")
    expected = search(folder / "dark/00.png", folder, extractor, k=13)
    shard = next((tmp_path / "store").rglob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    found = search(folder / "dark/00.png", folder, extractor_in(tmp_path / "store"), k=13)
    assert [hit.image for hit in found.hits[0]] == [hit.image for hit in expected.hits[0]]


def test_items_of_several_images(folder):
    one, two = sorted((folder / "dark").glob("*.png"))[:2], sorted((folder / "light").glob("*"))[:2]
    found = search([one], [one, two], extractor_in(False), k=2)
    assert [hit.image for hit in found.hits[0]] == [0, 1]
    assert found.hits[0][0].score == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "manhattan"}, "metric is 'manhattan'; choose 'cosine' or 'euclidean'"),
        ({"k": 0}, "k is 0; give a whole number above 0"),
    ],
)
def test_what_is_refused(folder, options, message):
    with pytest.raises(ValueError, match=message):
        search(folder, folder, extractor_in(False), **options)


def test_maps_are_refused(folder):
    with pytest.raises(ValueError, match=r"'stage1.map' is a map.*pool it"):
        search(folder, folder, extractor_in(False, features="stage1.map"))


def test_labels_of_several_columns(folder):
    images = list_images(folder)
    images = dataclasses.replace(
        images, labels=(("a", None),) * len(images), label_names=("x", "y")
    )
    file = io.BytesIO((folder / "dark/00.png").read_bytes())
    found = search([file], images, extractor_in(False), k=1)
    assert found.label_of(0) == "a,"
