import json

import numpy as np
import pytest

from transferkit.report.charts import Curve, Points, bars, heatmap, lines, named, scatter
from transferkit.report.page import plain

BAD = "<b>a</b>\u202e"
SHOWN = "&lt;b&gt;a&lt;/b&gt;\\u202e"


def texts(value):
    """All strings of a figure."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value
    return [t for each in inner for t in texts(each)] if isinstance(inner, list | tuple) or (
        isinstance(value, dict)
    ) else []  # fmt: skip


FIGURES = {
    "lines": lambda: lines(
        [Curve(BAD, [BAD, "b"], [1, 2], texts=[BAD, ""]), Curve(BAD, [BAD], [1], is_dashed=True)],
        x_title=BAD,
        y_title=BAD,
    ),
    "bars": lambda: bars([BAD, "b"], {BAD: [1, 2], "c": [3, 4]}, title=BAD),
    "scatter": lambda: scatter(
        [Points(BAD, [1], [2], [BAD], labels=[BAD])], x_title=BAD, y_title=BAD
    ),
    "heatmap": lambda: heatmap([[1]], [BAD], [BAD], x_title=BAD, y_title=BAD, texts=[[BAD]]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_names_are_no_markup(name):
    figure = plain(FIGURES[name]())
    assert json.loads(json.dumps(figure, allow_nan=False)) == figure
    found = texts(figure)
    assert sum(SHOWN in text for text in found) >= 3
    assert not any("<b>" in text or "\u202e" in text for text in found)


def test_whiskers_reach_from_low_to_high():
    curve = Curve("a", [1, 2], [0.5, 0.6], low=[0.4, 0.3], high=[0.7, 0.65])
    (trace,) = lines([curve], x_title="", y_title="")["data"]
    assert trace["error_y"]["array"] == pytest.approx([0.2, 0.05])
    assert trace["error_y"]["arrayminus"] == pytest.approx([0.1, 0.3])
    lying = bars(["a"], {"": [2]}, title="", intervals={"": ([1], [5])})["data"][0]
    assert (lying["error_x"]["array"], lying["error_x"]["arrayminus"]) == ([3.0], [1.0])


def test_every_line_differs_from_all_others():
    curves = [Curve(str(i), [0], [0]) for i in range(20)]
    found = lines(curves, x_title="", y_title="")["data"]
    looks = {(trace["line"]["color"], trace["line"]["dash"]) for trace in found}
    assert len(looks) == 20
    assert all(trace["line"]["color"].startswith("var(--c") for trace in found)


def test_a_reference_takes_no_colour():
    curves = [Curve("r", [0], [0], is_dashed=True), Curve("a", [0], [0])]
    reference, first = lines(curves, x_title="", y_title="")["data"]
    assert reference["line"]["dash"] == "dash"
    assert first["line"]["color"] == "var(--c1)"


def test_ranges_of_logarithmic_axes_are_exponents():
    figure = lines(
        [Curve("a", [1], [1])],
        x_title="",
        y_title="",
        is_log=True,
        x_range=(1, 100),
        y_range=(0, 1),
    )
    assert figure["layout"]["xaxis"]["range"] == [0, 2]
    assert figure["layout"]["yaxis"]["range"] == [0, 1]


def test_bars_stand_or_lie():
    standing = bars(["a"], {"": [1]}, title="n", is_upright=True, reference=3)
    lying = bars(["a"], {"": [1]}, title="n", reference=3)
    assert (standing["data"][0]["x"], standing["data"][0]["y"]) == (["a"], [1])
    assert (lying["data"][0]["y"], lying["data"][0]["x"]) == (["a"], [1])
    assert standing["layout"]["shapes"][0]["y0"] == 3
    assert lying["layout"]["shapes"][0]["x0"] == 3


def test_cells_with_numbers_and_without():
    small, large = np.eye(3), np.eye(40)
    of = {"x_title": "x", "y_title": "y"}
    assert "texttemplate" in heatmap(small, "abc", "abc", **of)["data"][0]
    names = [str(i) for i in range(40)]
    assert "texttemplate" not in heatmap(large, names, names, **of)["data"][0]
    (trace,) = heatmap([[np.nan, -2], [1, 0.123456]], "ab", "cd", is_diverging=True, **of)["data"]
    assert (trace["zmin"], trace["zmax"]) == (-2, 2)
    assert trace["text"] == [["", "-2"], ["1", "0.123"]]


def test_named_numbers():
    assert named(3) == "3"
