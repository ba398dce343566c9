import dataclasses
import sys
import types

import numpy as np
import pytest

from transferkit.extract import Extraction

DONE = Extraction(
    {}, np.arange(4), (b"a", b"b", b"c", b"c"), (), 2, 4, 2.0,
    {"read": 1.0, "decode": 2.0, "forward": 5.0, "write": 0.0},
)  # fmt: skip


def test_summary():
    expected = "extracted 2 images in 2.0 s (1.0 images/s); 1 from the store; 1 duplicate"
    assert DONE.summary() == expected
    stored = dataclasses.replace(DONE, n_computed=0, n_read=0)
    assert stored.summary().endswith(
        "no weights loaded, no image decoded, no file read; 1 duplicate"
    )


def test_notes_say_where_the_time_went():
    assert DONE.notes() == [("time", "read 12%, decode 25%, forward 62%, write 0%")]
    assert dataclasses.replace(DONE, n_computed=0).notes() == []


def test_notes_say_how_exact_it_is():
    provenance = {"mean_cosine": "0.995", "smallest_cosine": "0.987"}
    (_, (name, text)) = dataclasses.replace(DONE, provenance=provenance).notes()
    assert name == "exactness"
    assert "0.995 on average, 0.987 at least" in text


@pytest.mark.parametrize(
    ("quicker", "seconds", "expected"), [(True, 100, True), (True, 1, False), (False, 100, False)]
)
def test_a_hint_only_where_it_pays(quicker, seconds, expected):
    extraction = dataclasses.replace(
        DONE, is_bf16_quicker=quicker, shares={**DONE.shares, "forward": seconds}
    )
    assert ("hint" in dict(extraction.notes())) == expected


ROWS = {"stage3.avg": np.arange(8.0).reshape(4, 2), "pre_logits": np.arange(4.0)[:, None]}
NAMED = dataclasses.replace(DONE, rows=ROWS, paths=("x/a", "b", "c", "c"))


def test_ids_as_text():
    assert NAMED.hex_ids == ("61", "62", "63", "63")


def test_a_frame_has_paths_ids_and_values(monkeypatch):
    class DataFrame:
        def __init__(self, values, columns):
            self.columns = dict(zip(columns, values.T.tolist(), strict=True))

        def insert(self, at, name, values):
            items = list(self.columns.items())
            self.columns = dict([*items[:at], (name, values), *items[at:]])

    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=DataFrame))
    assert list(NAMED.to_frame().columns.items()) == [
        ("path", ["x/a", "b", "c", "c"]),
        ("id", ["61", "62", "63", "63"]),
        ("stage3.avg_0", [0, 2, 4, 6]),
        ("stage3.avg_1", [1, 3, 5, 7]),
        ("pre_logits_0", [0, 1, 2, 3]),
    ]
    dense = dataclasses.replace(NAMED, rows={"stage4.map": np.zeros((4, 2, 3, 3))})
    with pytest.raises(ValueError, match=r"'stage4\.map' is a map, whose values have no columns"):
        dense.to_frame()
    with pytest.raises(ValueError, match="kept no rows; extract with keep_rows=True"):
        dataclasses.replace(NAMED, rows={"pre_logits": np.zeros((0, 3))}).to_frame()


def test_a_frame_of_pandas():
    pd = pytest.importorskip("pandas")
    frame = NAMED.to_frame()
    assert isinstance(frame, pd.DataFrame)
    np.testing.assert_array_equal(frame.iloc[:, 2:], np.concatenate(list(ROWS.values()), axis=1))


def test_a_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame needs pandas, which isn't installed; run pip"):
        NAMED.to_frame()
