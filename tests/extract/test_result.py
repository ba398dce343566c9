import dataclasses

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
