"""One line per image, written to files, pipes and terminals."""

import csv
import io
import json
import os
import stat
import sys

import pyarrow.parquet as pq
import pytest

from transferkit.cli._output import counted, json_text, print_pairs, print_table, printable
from transferkit.cli._writing import check_file, form_of, write_lines
from transferkit.store import files

LATIN = os.fsdecode(b"caf\xe9.jpg")
NAMES = [
    "plain.jpg", LATIN, "a,b.jpg", 'say "hi".jpg', "two\nlines.jpg", "cr\rhere.jpg",
    " blanks .jpg", "=1+1.jpg", "\x1b[31mred.jpg", "żółw-😀.jpg", "\x9bclear\u202egpj.jpg",
]  # fmt: skip
LINES = [{"path": name, "prediction": "cat", "confidence": 0.5, "error": None} for name in NAMES]


def test_csv_holds_names_as_their_bytes(tmp_path):
    out = tmp_path / "p.csv"
    write_lines(out, LINES, "csv")
    with out.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == NAMES
    assert b"\ncaf\xe9.jpg,cat,0.5,\n" in out.read_bytes()
    # The rows of who doesn't know names with line ends, but reads the quotes.
    text = out.read_bytes().decode("latin-1")
    assert len(list(csv.reader(io.StringIO(text, newline="")))) == len(NAMES) + 1


def test_json_lines_are_utf_8_and_give_the_names_back(tmp_path):
    out = tmp_path / "p.jsonl"
    write_lines(out, LINES, "jsonl")
    lines = out.read_bytes().decode("utf-8").splitlines()  # no control character splits a line
    assert [json.loads(line)["path"] for line in lines] == NAMES
    assert os.fsencode(json.loads(lines[1])["path"]) == b"caf\xe9.jpg"
    assert "caf\\udce9.jpg" in lines[1]
    assert "żółw-😀.jpg" in lines[9]


def test_parquet_has_a_column_of_bytes_where_names_are_not_utf_8(tmp_path):
    out = tmp_path / "p.parquet"
    write_lines(out, LINES, "parquet")
    columns = pq.read_table(out).to_pydict()
    assert columns["path"] == [name if name != LATIN else "caf\\xe9.jpg" for name in NAMES]
    assert columns["path_bytes"] == [os.fsencode(name) for name in NAMES]
    write_lines(out, LINES[:1], "parquet")
    assert list(pq.read_table(out).to_pydict()) == ["path", "prediction", "confidence", "error"]


def test_labels_of_several_types_and_halves_of_characters(tmp_path):
    lines = [
        {"path": "a", "label": 3, "error": None},
        {"path": "b\ud800", "label": "zebra", "error": None},
    ]
    for form in ("csv", "jsonl", "parquet"):
        write_lines(tmp_path / "out", lines, form)
    assert pq.read_table(tmp_path / "out").to_pydict()["label"] == ["3", "zebra"]


def test_nested_values_become_columns(tmp_path):
    lines = [
        {"path": "a", "prediction": None, "error": "empty", "probabilities": None},
        {"path": "b", "prediction": {"x": 1.5, "y": 2}, "error": None, "probabilities": {"c": 1}},
    ]
    write_lines(tmp_path / "p.csv", lines, "csv")
    assert (tmp_path / "p.csv").read_text() == (
        "path,prediction:x,prediction:y,error,proba:c\na,,,empty,\nb,1.5,2,,1\n"
    )


def test_stdout_gets_bytes_and_a_terminal_what_it_does_not_obey(capsysbinary, monkeypatch):
    write_lines(None, LINES, "csv")
    assert b"caf\xe9.jpg" in capsysbinary.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for form in ("csv", "jsonl"):
        write_lines(None, LINES, form)
        shown = capsysbinary.readouterr().out.decode("utf-8")
        assert len(shown.splitlines()) == len(NAMES) + (form == "csv")
        assert not set(shown) & set("\x1b\x9b\r\u202e")
    assert "\\x1b[31mred.jpg" in printable(NAMES[8])


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    out = tmp_path / "p.csv"
    out.write_text("old")
    out.chmod(0o640)
    (tmp_path / "link.csv").symlink_to(out)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_lines(out, LINES, "csv")
    assert out.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.csv", "p.csv"]
    write_lines(tmp_path / "link.csv", LINES, "csv")
    assert (tmp_path / "link.csv").is_symlink()
    assert out.read_bytes().startswith(b"path,")
    assert stat.S_IMODE(out.stat().st_mode) == 0o640


def test_a_device_or_pipe_is_written_to_not_replaced(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    check_file(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_lines(fifo, LINES[:1], "csv")
    assert os.read(reader, 1000).endswith(b"plain.jpg,cat,0.5,\n")
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize(
    ("form", "name", "expected"),
    [
        (None, None, "csv"), (None, "a.JSONL", "jsonl"), (None, "a.parquet", "parquet"),
        (None, "a.txt", "csv"), ("csv", "a.parquet", "csv"), ("jsonl", None, "jsonl"),
    ],
)  # fmt: skip
def test_the_form_is_the_one_asked_for_or_that_of_the_ending(form, name, expected, tmp_path):
    assert form_of(form, None if name is None else tmp_path / name) == expected


def test_tables_and_pairs_are_one_line_each(capsys):
    print_pairs([("name", "a\nb\x1b[2J"), (LATIN, "x")])
    print_table(("class\r", "n"), [("\x07bell", "1"), ("ok", "12")])
    out = capsys.readouterr().out
    assert [line.split() for line in out.split("\n")[:-1]] == [
        ["name", "a\\nb\\x1b[2J"],
        ["caf\\xe9.jpg", "x"],
        ["class\\r", "n"],
        ["\\x07bell", "1"],
        ["ok", "12"],
    ]


def test_json_text_is_json():
    value = {"a": NAMES, "b": [1, None]}
    for indent in (None, 2):
        text = json_text(value, indent=indent)
        assert json.loads(text) == value
        text.encode("utf-8")
        assert not set(text) & set("\x1b\x9b\u202e\x7f")


def test_words_for_numbers():
    assert counted(1, "image") == "1 image"
    assert counted(0, "class", "classes") == "0 classes"
    assert counted(2062, "image") == "2,062 images"
