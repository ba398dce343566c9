import sys

import pytest

from transferkit import registry


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package with the entries `one` and `two-words`, a private file, and a folder."""
    package = tmp_path / "kinds_for_test"
    package.mkdir()
    for name in ("__init__", "two_words", "one", "_private"):
        (package / f"{name}.py").write_text(f"NAME = {name!r}\n")
    (package / "folder").mkdir()
    (package / "folder" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    yield "kinds_for_test"
    for name in [name for name in sys.modules if name.startswith("kinds_for_test")]:
        del sys.modules[name]


def test_names_are_the_files_sorted_without_private_ones_and_folders(folder):
    assert registry.names(folder) == ["one", "two-words"]


def test_load_imports_one_entry_and_no_other(folder):
    assert registry.load(folder, "two-words", "kind").NAME == "two_words"
    assert f"{folder}.one" not in sys.modules


@pytest.mark.parametrize("name", ["_private", "__init__", "two_words", "os", ".."])
def test_what_is_not_listed_is_not_loaded(folder, name):
    with pytest.raises(ValueError, match=r"unknown kind .* known: one, two-words\."):
        registry.load(folder, name, "kind")


def test_an_entrys_own_import_error_is_not_hidden(folder, tmp_path):
    (tmp_path / folder / "broken.py").write_text("import surely_not_installed_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed_anywhere"):
        registry.load(folder, "broken", "kind")


@pytest.mark.parametrize(
    ("given", "allowed", "hint", "message"),
    [
        ("lin", ["line", "x"], "", "unknown head 'lin'; did you mean 'line'? known: line, x."),
        ("zzz", ["line"], "", "unknown head 'zzz'; known: line."),
        ("zzz", [], "", "unknown head 'zzz'; known: none."),
        (3, ["line"], "Try it", "unknown head 3; known: line. Try it"),
    ],
)
def test_unknown(given, allowed, hint, message):
    assert str(registry.unknown("head", given, allowed, hint)) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("zzz", "unknown model 'zzz'; none of the 30 known names is like it."),
        ("model_07x", "unknown model 'model_07x'; did you mean 'model_07'"),
    ],
)
def test_unknown_lists_twenty_at_most(given, message):
    found = str(registry.unknown("model", given, (f"model_{i:02d}" for i in range(30))))
    assert found.startswith(message)
    assert "known: " not in found
