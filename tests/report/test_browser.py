"""Pages in a real browser: what moves, what is drawn, and that nothing else is asked for."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.browser import DESKTOP, PHONE
from tests.report.rows import pets
from transferkit.report.benchmark_page import benchmark_page
from transferkit.report.charts import Curve, Points, heatmap, lines, scatter
from transferkit.report.page import Chart, DataTable, Gallery, Page, Picture, Section, Text

pytestmark = pytest.mark.kills

FIRST_COLUMN = (
    "[...document.querySelectorAll('section table tbody tr')].map(r => r.cells[0].innerText)"
)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    benchmark_page(pets(folder / "results")).write(path)
    return path


def png(level):
    file = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A page with every kind of part, the last section folded."""
    long = "a-name-without-any-place-to-break-it-" * 4
    curve = Curve("line", np.arange(5), np.arange(5) ** 2)
    map_ = scatter(
        [Points("points", [0, 1], [0, 1], pictures=[1, 0], size=40)], x_title="x", y_title="y"
    )
    cells = heatmap([[1, 2], [3, 4]], ["a", "b"], ["a", long], x_title="said", y_title="is")
    sections = [
        Section("Words", [Text(long), Text("careful", is_warning=True)]),
        Section(
            "Table", [DataTable(["name", "n"], [[long, 2], ["b10", None], ["b9", 30], ["A", 4]])]
        ),
        Section("Map", [Chart(map_, "map", pictures=[png(0), png(255)])]),
        Section("Cells", [Chart(cells, "cells")]),
        Section("Pictures", [Gallery([Picture(png(i), f"{long}{i}") for i in range(6)])]),
        Section(
            "Folded", [Chart(lines([curve], x_title="x", y_title="y"), "line")], is_folded=True
        ),
    ]
    path = tmp_path_factory.mktemp("parts") / "page.html"
    Page(long, sections, {long: long, "b": "c"}).write(path)
    return path


@pytest.fixture
def opened(browser):
    """Open pages; at the end nothing must have gone wrong on any."""
    tabs = []

    def open_page(path, **how):
        tabs.append(browser.open(path, **how))
        return tabs[-1]

    yield open_page
    for tab in tabs:
        assert tab.faults == []
        assert [url for url in tab.requests if not url.startswith("file:")] == []
        assert len(tab.requests) == 1
        tab.close()


def drawn(n):
    return f"document.querySelectorAll('.plot .main-svg:first-child').length >= {n}"


@pytest.mark.parametrize("is_dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_benchmark_page(opened, benchmark, size, is_dark):
    tab = opened(benchmark, size=size, is_dark=is_dark)
    tab.wait_for(drawn(1))
    assert tab.overflow <= 0
    assert tab.run("document.documentElement.dataset.theme") == ("dark" if is_dark else "light")
    tab.run("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    tab.run("dispatchEvent(new Event('beforeprint'))")  # draws all
    tab.wait_for("[...document.querySelectorAll('.plot')].every(p => p.querySelector('.main-svg'))")
    assert tab.run("document.documentElement.dataset.theme") == "light"
    tab.run("dispatchEvent(new Event('afterprint'))")
    assert tab.overflow <= 0
    wide = "[...document.querySelectorAll('.main-svg')].filter(p => p.getBoundingClientRect().width"
    assert tab.run(f"{wide} > innerWidth).length") == 0
    assert tab.run(f"{wide} > 200).length") >= 8


def test_a_click_on_a_header_sorts(opened, parts):
    tab = opened(parts)
    before = tab.run(FIRST_COLUMN)
    assert [name[:3] for name in before] == ["a-n", "b10", "b9", "A"]
    orders = []
    for column in (1, 1, 2, 2):
        tab.click(f"thead th:nth-child({column}) button")
        orders.append([name[:3] for name in tab.run(FIRST_COLUMN)])
    assert orders[0] == ["A", "a-n", "b9", "b10"]
    assert orders[1] == orders[0][::-1]
    # Numbers from the largest down first; what has none stays last.
    assert orders[2] == ["b9", "A", "a-n", "b10"]
    assert orders[3] == ["a-n", "A", "b9", "b10"]
    assert tab.run("document.querySelector('th:nth-child(2)').ariaSort") == "ascending"
    assert tab.run("document.querySelectorAll('[aria-sort]').length") == 1


def test_colours_follow_the_system_and_the_button(opened, parts):
    tab = opened(parts)
    theme = "document.documentElement.dataset.theme"
    back = "getComputedStyle(document.body).backgroundColor"
    tab.run("document.getElementById('s2').scrollIntoView()")
    tab.wait_for(drawn(1))
    text = "document.querySelector('#s2 .xtitle').style.fill"
    light, light_text = tab.run(back), tab.run(text)
    tab.prefer(is_dark=True)
    tab.wait_for(f"{theme} == 'dark'")
    tab.wait_for(f"{text} != '{light_text}'")
    assert tab.run(back) != light
    tab.click(".theme")
    assert (tab.run(theme), tab.run(back)) == ("light", light)
    tab.prefer(is_dark=False)
    tab.click(".theme")
    assert tab.run(theme) == "dark"
    tab.click(".theme")
    assert tab.run(theme) == "light"
    assert "auto" in tab.run("document.querySelector('.theme').textContent")


def test_a_picture_is_enlarged(opened, parts):
    tab = opened(parts)
    shown = "document.querySelector('dialog').open"
    title = "document.querySelector('dialog b').textContent.slice(-1)"
    tab.click(".gallery figure:nth-child(2) button")
    assert (tab.run(shown), tab.run(title)) == (True, "1")
    tab.press("ArrowRight")
    assert tab.run(title) == "2"
    tab.click("dialog [value=before]")
    assert tab.run(title) == "1"
    tab.click("dialog [value=close]")
    assert not tab.run(shown)


def test_a_chart_in_a_fold_is_drawn_when_it_opens(opened, parts):
    tab = opened(parts)
    plot = "document.querySelector('#s5 .main-svg')"
    tab.run("document.getElementById('s5').scrollIntoView()")
    assert tab.run("document.querySelector('#s5 details').open") is False
    tab.click("#s5 summary")
    tab.wait_for(f"{plot} && {plot}.getBoundingClientRect().width > 600")
    tab.click("nav a:nth-child(2)")
    tab.wait_for("location.hash == '#s1'")


def test_contents_open_a_fold(opened, parts):
    tab = opened(parts)
    tab.click("nav a:last-child")
    tab.wait_for("document.querySelector('#s5 details').open")


def test_a_point_shows_its_picture(opened, parts):
    tab = opened(parts)
    tab.run("document.getElementById('s2').scrollIntoView()")
    tab.wait_for(drawn(1))
    hover = "getComputedStyle(document.getElementById('hover')).display"
    assert tab.run(hover) == "none"
    tab.point("#s2 .points path:nth-child(1)", until=f"{hover} == 'block'")
    pictures = "JSON.parse(document.querySelector('#s2 script').textContent).pictures"
    assert tab.run(f"{pictures}.indexOf(document.querySelector('#hover img').src)") == 1
    tab.point("#s1 h2", until=f"{hover} == 'none'")


@pytest.mark.parametrize("is_dark", [False, True])
def test_long_names_overflow_no_phone(opened, parts, is_dark):
    tab = opened(parts, size=PHONE, is_dark=is_dark)
    tab.run("dispatchEvent(new Event('beforeprint'))")
    tab.wait_for(drawn(3))
    assert tab.overflow <= 0
