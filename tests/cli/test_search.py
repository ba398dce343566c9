"""``transferkit search`` prints, writes and shows the nearest images."""

import csv
import json
import shutil
from pathlib import Path

from tests.cli.conftest import BACKBONE


def search(call, *args: object, dataset: Path, store: Path):
    return call("search", *args, "--in", dataset, *BACKBONE, "--store", store)


def test_a_table_for_each_query(call, images: Path, tmp_path: Path) -> None:
    shutil.copy(images / "dark" / "03.jpg", images / "light" / "copy.jpg")
    queries = (images / "dark/03.jpg", images / "light/05.jpg")
    place = {"dataset": images, "store": tmp_path / "store"}
    result = search(call, *queries, "-k", 4, **place)
    assert result.code == 0
    head, first, second = result.out.strip().split("\n\n")
    assert head.splitlines()[1].split() == ["searched", "25", "images", "of", "25"]
    lines = first.splitlines()
    assert lines[0] == str(queries[0])
    assert lines[1].split() == ["rank", "similarity", "label", "path"]
    assert lines[2].split() == ["1", "1.0000", "dark", "dark/03.jpg", "(same", "image)"]
    assert lines[3].split()[2:4] == ["light", "light/copy.jpg"]
    assert len(lines) == 6
    assert second.splitlines()[2].split()[3] == "light/05.jpg"
    others = search(call, queries[0], "--others", "-k", 4, "--json", **place)
    hits = json.loads(others.out)["hits"]
    assert [hit["rank"] for hit in hits] == [1, 2, 3, 4]
    assert not {"dark/03.jpg", "light/copy.jpg"} & {hit["path"] for hit in hits}
    assert [hit["path"] for hit in hits[:2]] == [line.split()[3] for line in lines[4:]]


def test_few_images_are_all_compared(call, images: Path, tmp_path: Path) -> None:
    place = {"dataset": images, "store": tmp_path / "store"}
    index = tmp_path / "index.safetensors"
    result = search(call, images / "dark/03.jpg", "--index", index, **place)
    assert result.code == 0
    assert "method    exact, because an index needs 10,000 images" in result.out
    assert not index.exists()


def test_files_and_a_page(call, images: Path, tmp_path: Path) -> None:
    place = {"dataset": images, "store": tmp_path / "store"}
    out, sheet = tmp_path / "out" / "hits.csv", tmp_path / "sheet.html"
    result = search(
        call,
        images / "dark",
        "-k",
        2,
        "--metric",
        "euclidean",
        "--out",
        out,
        "--report",
        sheet,
        **place,
    )
    assert result.code == 0
    assert str(out) in result.out
    assert "rank" not in result.out
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert rows[0]["query"] == rows[0]["path"].removeprefix("dark/") == "00.jpg"
    assert (rows[0]["distance"], rows[0]["same"]) == ("0.0", "yes")
    assert (rows[1]["rank"], rows[1]["same"]) == ("2", "no")
    assert sheet.read_text().count('src="data:image/jpeg') == 12 * 3
    for name in ("hits.json", "hits.jsonl"):
        assert search(call, images / "dark/01.jpg", "--out", tmp_path / name, **place).code == 0
    document = json.loads((tmp_path / "hits.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "hits.jsonl").read_text().splitlines()]
    assert len(lines) == len(document["hits"]) == 20
    assert [line["path"] for line in lines] == [hit["path"] for hit in document["hits"]]
    assert document["searched"] == 24


def test_what_can_not_be_read_is_named(call, damaged: Path, tmp_path: Path) -> None:
    place = {"dataset": damaged, "store": tmp_path / "store"}
    queries = (damaged / "light/03a.jpg", damaged / "dark/00.jpg")
    result = search(call, *queries, "-k", 1, "--out", tmp_path / "h.csv", **place)
    assert result.code == 3
    assert "1 of 2 images could not be read" in result.err
    assert "3 of 27 images could not be read" in result.err
    assert len((tmp_path / "h.csv").read_text().splitlines()) == 3
    assert search(call, *queries, "-k", 1, "--on-error", "skip", **place).code == 0
    assert search(call, *queries, "-k", 1, "--on-error", "raise", **place).code == 1


def test_only_what_is_cached(call, images: Path, tmp_path: Path) -> None:
    place = {"dataset": images, "store": tmp_path / "store"}
    query = images / "dark/00.jpg"
    assert call("extract", images / "light", *BACKBONE, "--store", tmp_path / "store").code == 0
    result = search(call, query, "--cached-only", "--json", **place)
    assert json.loads(result.out)["searched"] == 13
    empty = search(
        call,
        images / "light/00.jpg",
        "--cached-only",
        dataset=images / "dark",
        store=tmp_path / "other",
    )
    assert empty.code == 1
    assert "has none of these 12 images" in empty.err


def test_wrong_usage(call, images: Path, tmp_path: Path) -> None:
    assert call("search", images / "dark/00.jpg", *BACKBONE).code == 2
    assert call("search", "--in", images, *BACKBONE).code == 2
    place = {"dataset": images, "store": tmp_path / "store"}
    missing = search(call, tmp_path / "no.jpg", **place)
    assert missing.code == 1
    assert "no.jpg" in missing.err
