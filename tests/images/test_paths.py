"""A path that is written in another Unicode form than the file's name."""

import unicodedata
from pathlib import Path

import pytest

from transferkit.images import list_images
from transferkit.images.paths import in_either_form

NAME = "Bäckerei/Käse é.png"


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD", "mixed"])
def test_either_form(tmp_path, on_disk, written):
    real = tmp_path / unicodedata.normalize(on_disk, NAME)
    real.parent.mkdir()
    real.write_bytes(b"x")
    folder, file = NAME.split("/")
    forms = ("NFC", "NFD") if written == "mixed" else (written, written)
    name = "/".join(unicodedata.normalize(f, p) for f, p in zip(forms, (folder, file), strict=True))
    assert in_either_form(tmp_path / name).read_bytes() == b"x"
    (tmp_path / "t.csv").write_text(f"path\n{name}\n", encoding="utf-8")
    for source in (tmp_path / "t.csv", [str(tmp_path / name)]):
        (item,) = list_images(source).items
        assert item.read_bytes() == b"x"


def test_what_is_there_is_taken_as_it_is(tmp_path, monkeypatch):
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, "é")).write_text(form)
    for form in ("NFC", "NFD"):
        assert in_either_form(tmp_path / unicodedata.normalize(form, "é")).read_text() == form
    monkeypatch.chdir(tmp_path)
    (tmp_path / unicodedata.normalize("NFD", "ö")).write_text("relative")
    assert in_either_form(Path("ö")).read_text() == "relative"
    for missing in ("ä/b", "plain", "ö/ä"):
        assert in_either_form(Path(missing)) == Path(missing)
