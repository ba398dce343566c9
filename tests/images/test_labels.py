"""Labels that people can't tell apart."""

import logging
import unicodedata

import pytest

from transferkit.images.labels import clean_label, warn_of_lookalikes

NFC, NFD = "Caf\u00e9", unicodedata.normalize("NFD", "Caf\u00e9")


def test_clean():
    assert NFC != NFD
    assert clean_label(f" {NFD}\t") == clean_label(NFC) == NFC


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["cat", "Cat", "cat", "dog"], "'Cat' and 'cat'; rename"),
        (["a  b", "a b", "A B"], "'A B' and 'a  b' and 'a b'; rename"),
        (["x", "X", "y", "Y"], "'X' and 'x'; 'Y' and 'y'; rename"),
        ([c for i in range(7) for c in (f"a{i}", f"A{i}")], "'A4' and 'a4'; … and 2 more; rename"),
        (["cat", "dog"], ""),
        ([], ""),
    ],
)
def test_lookalikes_are_named(caplog, labels, said):
    with caplog.at_level(logging.WARNING):
        warn_of_lookalikes(labels)
    assert len(caplog.records) == bool(said)
    assert said in caplog.text
