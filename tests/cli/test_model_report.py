"""`evaluate --report`: a page of a model, beside what is printed and written otherwise."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import BACKBONE

pytest.importorskip("plotly")


@pytest.fixture
def model(call, images: Path, tmp_path: Path) -> Path:
    args = ("--features", "final.avg", "--out", tmp_path / "model")
    assert call("fit", images, *BACKBONE, "--head", "lda", *args).code == 0
    return tmp_path / "model"


def test_page_beside_lines_and_json(call, model, images: Path, tmp_path: Path) -> None:
    (images / "dark" / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    page, lines = tmp_path / "new" / "page.html", tmp_path / "lines.csv"
    found = call("evaluate", model, images, "--report", page, "--out", lines, "--json")
    assert found.code == 3  # an image could not be read
    report = json.loads(found.out)
    text = page.read_text()
    assert f"page: {page} (" in found.err
    assert " MB)" in found.err
    assert f"{report['n']} images" in text
    assert "dark/broken.jpg" in text
    assert "What the network looked at" in text
    assert "scores: " in text
    assert len(lines.read_text().splitlines()) == 1 + report["n"] + 1
    assert [p.name for p in page.parent.iterdir()] == ["page.html"]


def test_why_there_are_no_activation_maps(call, images: Path, tmp_path: Path) -> None:
    model, page = tmp_path / "model", tmp_path / "page.html"
    assert call("fit", images, *BACKBONE, "--head", "knn", "--out", model).code == 0
    found = call("evaluate", model, images, "--report", page, "--map", "none")
    assert found.code == 0
    text = page.read_text()
    assert "There are no class-activation maps of this model" in text
    assert "Map of the features" not in text


def test_what_is_wrong_is_said_before_the_work(
    call, model, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    find_spec = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(
            importlib.util, "find_spec", lambda n: None if n == "plotly" else find_spec(n)
        )
        found = call("evaluate", model, images, "--report", page)
    assert found.code == 1
    assert "--report needs plotly" in found.err
    assert "accuracy" not in found.out
    assert not page.exists()
    folder = call("evaluate", model, images, "--report", tmp_path)
    assert folder.code == 2
    assert "is a directory" in folder.err
    alone = call("evaluate", model, images, "--map", "tsne")
    assert alone.code == 2
    assert "give --report FILE too" in alone.err
    monkeypatch.setitem(sys.modules, "umap", None)
    found = call("evaluate", model, images, "--report", page, "--map", "umap")
    assert found.code == 1
    assert "needs umap-learn" in found.err
