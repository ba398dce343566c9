"""Class tables in the spellings that people use."""

import pytest

from transferkit.annotations import ClassEntry, class_table


def entries(tmp_path, text, name="classes.txt"):
    (tmp_path / name).write_bytes(text.encode())
    return class_table(tmp_path / name).entries


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("traffic light", ClassEntry("traffic light")),
        ("class 7", ClassEntry("class 7")),
        ("sky 1 2 3", ClassEntry("sky", colour=(1, 2, 3))),
        ("traffic light, 1, 2, 3", ClassEntry("traffic light", colour=(1, 2, 3))),
        ("1 2 3\tSky", ClassEntry("Sky", colour=(1, 2, 3))),
        ("64 128 64  sign_1", ClassEntry("sign_1", colour=(64, 128, 64))),
        ("sky:1,2,3::", ClassEntry("sky", colour=(1, 2, 3))),
        ("4 sky", ClassEntry("sky", 4)),
        ("4: traffic light", ClassEntry("traffic light", 4)),
        ("4,sky,1,2,3", ClassEntry("sky", 4, (1, 2, 3))),
        ("  blank around\r", ClassEntry("blank around")),
        ("\ufeffsky", ClassEntry("sky")),
        ("häuser 1 2 3", ClassEntry("häuser", colour=(1, 2, 3))),
    ],
)
def test_lines(tmp_path, line, entry):
    assert entries(tmp_path, f"{line}\n\nother thing\n")[0] == entry


def test_comments_and_headers_are_no_classes(tmp_path):
    text = "# made by hand\nname,r,g,b\na,1,2,3\nb,4,5,6\n"
    assert [e.name for e in entries(tmp_path, text)] == ["a", "b"]
    assert [e.name for e in entries(tmp_path, "label\nname\n")] == ["label", "name"]


@pytest.mark.parametrize(
    "given",
    [
        {"a": 0, "b": 5},
        {0: "a", 5: "b"},
        {"0": "a", "5": "b"},
        [{"id": 0, "name": "a"}, {"value": "5", "name": "b"}],
        [ClassEntry("a", 0), ClassEntry("b", 5)],
    ],
)
def test_values(given):
    assert class_table(given).entries == (ClassEntry("a", 0), ClassEntry("b", 5))


@pytest.mark.parametrize("colour", [(255, 0, 16), [255, 0, 16], "#ff0010", "FF0010"])
def test_colours(colour):
    given = colour if colour != "FF0010" else f"#{colour}"
    assert class_table({"a": given}).entries == (ClassEntry("a", colour=(255, 0, 16)),)
    assert class_table([{"name": "a", "color": colour}]).entries[0].colour == (255, 0, 16)


def test_void_is_no_class():
    table = class_table(["a", "Void", "b", "ignore"])
    assert table.names == ("a", "b")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ([], ValueError, "names 0 classes; give 1 to"),
        (["a", "a"], ValueError, "has the name 'a' twice"),
        ({"a": 1, "b": 1}, ValueError, "has the value 1 twice"),
        ({"a": (1, 2, 3), "b": (1, 2, 3)}, ValueError, r"the colour \(1, 2, 3\) twice"),
        ({"a": (1, 2)}, ValueError, "red, green and blue"),
        ({"a": (1, 2, 256)}, ValueError, "give 0 to 255"),
        ({"a": -1}, ValueError, "the value -1; give 0 to"),
        ({"x": "a"}, ValueError, "the value 'x'; give a whole number"),
        ([""], ValueError, "the name ''; give a text"),
        ([None], ValueError, "the name None"),
        (3, TypeError, "given as int; give names"),
    ],
)
def test_what_is_no_table(given, error, message):
    with pytest.raises(error, match=message):
        class_table(given)


def test_files_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no class table"):
        class_table(tmp_path / "none.txt")
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no text"):
        class_table(tmp_path / "a.txt")
    for text in ("{", "[" * 100_000):
        with pytest.raises(ValueError, match="is no JSON"):
            entries(tmp_path, text, "a.json")
    monkeypatch.setattr("transferkit.annotations._classes.MAX_TABLE_BYTES", 3)
    with pytest.raises(ValueError, match="is larger than"):
        entries(tmp_path, "a\nbcd")
