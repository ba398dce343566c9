import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from transferkit.report.charts import Points, scatter
from transferkit.report.page import (
    Beside,
    Chart,
    DataTable,
    Fold,
    Gallery,
    Page,
    Picture,
    Section,
    Text,
    WrittenNumber,
)

BAD = '<img src=x onerror="alert(1)">&\u202e'


class Tags(HTMLParser):
    """Names of the tags, attributes by name, and whether each tag was closed in order."""

    def __init__(self, text):
        super().__init__()
        self.names, self.attributes, self.stack = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "img"):
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def png(seed, side=8):
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def figure(n=3, pictures=()):
    points = Points("a", np.arange(n), np.arange(n), pictures=np.arange(n))
    return Chart(scatter([points], x_title="x", y_title="y"), "points", pictures=pictures)


def test_markup_is_whole_and_names_are_escaped():
    parts = [
        Text(BAD),
        Text(BAD, is_warning=True),
        DataTable([BAD], [[BAD], [None], [1]], BAD),
        Gallery([Picture(png(0), BAD, [BAD])], BAD),
        Fold(BAD, [Beside([Text(BAD), Text(BAD)])]),
    ]
    text = Page(BAD, [Section(BAD, parts, BAD)], {BAD: BAD}, about=BAD).to_html()
    tags = Tags(text)
    assert tags.stack == []
    assert "onerror" not in {name for name, _ in tags.attributes}
    assert tags.names.count("img") == 3  # the gallery's, the enlarged one and the pointer's
    assert "\u202e" not in text


def test_what_names_say_ends_no_script():
    figure_ = {"data": [{"name": "</script><script>alert(1)</script><!--"}], "layout": {}}
    text = Chart(figure_, "a").to_html()
    tags = Tags(text)
    assert tags.names.count("script") == 1
    told = re.search(r'<script type="application/json">(.*?)</script>', text, re.S)
    assert json.loads(told[1])["data"] == figure_["data"]


def test_names_that_are_not_utf8_are_told(tmp_path):
    name = "caf\udce9"
    Page(name, [Section(name, [Text(name), Text("\ud800")])]).write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert r"<h1>caf\xe9</h1>" in text


def test_nothing_outside_is_named():
    text = Page("a", [Section("b", [figure()]), Section("c", [Gallery([Picture(png(0), "d")])])])
    tags = Tags(text.to_html())
    addresses = [v for k, v in tags.attributes if k in ("src", "href") and v]
    assert addresses
    assert all(v.startswith(("data:", "#")) for v in addresses)
    policy = next(v for k, v in tags.attributes if k == "content" and "default-src" in v)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_plotly_is_there_for_charts_only():
    without = Page("a", [Section("b", [Text("c")])]).to_html()
    nested = Page("a", [Section("b", [Fold("c", [Beside([figure()])])])]).to_html()
    assert len(without) < 60_000
    assert len(nested) > 1_000_000


def test_sections_without_parts_are_left_out():
    text = Page("a", [Section("full", [Text("b")]), Section("empty one", [])]).to_html()
    assert "full" in text
    assert "empty one" not in text


def test_cells():
    rows = [["a", 1234, 0.123456, WrittenNumber(0.5, "50 %")], ["b", None, float("nan"), None]]
    text = DataTable(["name", "n", "x", "share"], rows).to_html()
    shown = re.findall(r"<td[^>]*>(.*?)</td>", text)
    assert shown == ["a", "1,234", "0.1235", "50 %", "b", "-", "-", "-"]
    assert re.findall(r'data-value="(.*?)"', text) == ["1234.0", "0.123456", "0.5"]
    assert re.findall(r'<th scope="col"( class="number")?>', text) == [
        "",
        *[' class="number"'] * 3,
    ]


def test_a_folded_section_is_closed():
    text = Section("a", [Text("b")], is_folded=True).to_html("s0")
    assert "<details><summary><h2>a</h2></summary>" in text


def test_values_that_json_lacks():
    data = [{"x": np.array([1.0, np.nan]), "y": (np.float32(2), np.int64(3), np.inf), "z": None}]
    text = Chart({"data": data, "layout": {}}, "a").to_html()
    found = json.loads(re.search(r'json">(.*?)</script>', text, re.S)[1])
    assert found["data"] == [{"x": [1.0, None], "y": [2.0, 3, None], "z": None}]


@pytest.mark.parametrize("limit", [40_000, 100_000, 150_000])
def test_a_page_is_as_large_as_it_may_be(limit):
    pictures = [Picture(png(i, 32), f"picture {i}") for i in range(30)]
    sections = [
        Section("many", [Gallery(pictures[:25], "first")]),
        Section("few", [Fold("fold", [Gallery(pictures[25:], "second")])]),
    ]
    whole = Page("a", sections, limit_bytes=10**9).to_html()
    text = Page("a", sections, limit_bytes=limit).to_html()
    n = text.count("data:image/png")
    assert len(whole) > 150_000
    assert len(text.encode()) <= limit
    assert whole.count("data:image/png") == 30
    assert "not in this file" not in whole
    # One more would have been too many, and no gallery is emptied for another.
    assert len(text.encode()) + len(pictures[0].image) * 4 / 3 + 1200 > limit or n == 30
    first = text[: text.index("second")].count("data:image/png")
    assert n - first == min(5, n // 2)
    left = [int(k) for k in re.findall(r"(\d+) of \d+ pictures are not in this file", text)]
    assert sum(left) == 30 - n


def test_pictures_of_points_are_left_out_too():
    pictures = [png(i, 64) for i in range(40)]
    size = len(Page("a", [Section("b", [figure(40)])]).to_html())
    limit = size + 10 * len(pictures[0]) * 4 // 3
    text = Page("a", [Section("b", [figure(40, pictures)])], limit_bytes=limit).to_html()
    assert len(text.encode()) <= limit
    # plotly's own text has such addresses too.
    n = text.count("data:image/png")
    n -= Page("a", [Section("b", [figure()])]).to_html().count("data:image/png")
    assert 5 < n < 11
    assert f"{40 - n} of 40 pictures appear beside no point" in text


def test_a_page_that_cannot_be_written_keeps_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("old")
    page = Page("a", [Section("b", [figure()])])
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r'pip install "transferkit\[report\]"'):
        page.write(path)
    assert path.read_text() == "old"
