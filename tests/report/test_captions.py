import pytest

from transferkit.report.captions import caption


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("a & b", "a &amp; b"),
        ("<script>", "&lt;script&gt;"),
        ("caf\udce9", "caf\\xe9"),
        ("x" * 100, "x" * 30 + "…" + "x" * 29),
    ],
)
def test_captions_can_be_shown(text, shown):
    assert caption(text) == shown
