"""Pages of all dense tasks: the numbers are the report's, and nothing grows without end."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.report.dense_cases import CLASSES, SIZE, TASKS, case, photo
from transferkit.images import Failure
from transferkit.report.dense_page import dense_page, pictures_for
from transferkit.report.page import Beside, Chart, DataTable, Gallery

DATA = re.compile(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)")


def made(task, n=12, classes=CLASSES, **options):
    counts, report, truth, found = case(task, n, classes)
    pictures = pictures_for(report, counts, ("good", "bad") if task == "anomaly" else classes)
    for i in pictures.examples.images:
        pictures.add(i, photo(i), found[i], truth[i], f"image {i}.png")
    return dense_page("A page", report, counts, pictures, **options), counts, report


def parts(page, kind):
    every = [part for section in page.sections for part in section.parts]
    inner = [each for part in every if isinstance(part, Beside) for each in part.parts]
    return [part for part in [*every, *inner] if isinstance(part, kind)]


@pytest.mark.parametrize("task", TASKS)
def test_the_numbers_are_the_reports(task):
    page, _, report = made(task, facts={"backbone": "a network"})
    cells = {row[0]: row[1] for row in parts(page, DataTable)[0].rows}
    for row in report.rows():
        shown = "" if row.value is None else row.metric.text(row.value)
        assert cells[row.metric.title] == shown
    first = next(row for row in report.rows() if row.value is not None)
    assert page.facts[first.metric.title].startswith(first.metric.text(first.value))
    assert page.facts["images"] == "12"
    assert page.facts["backbone"] == "a network"
    text = page.to_html()
    for words in ("A page", "Numbers", "Images", "image 1.png"):
        assert words in text


@pytest.mark.parametrize("task", TASKS)
def test_every_table_of_the_report_stands_there(task):
    page, _, report = made(task)
    tables = {table.title: table for table in parts(page, DataTable)[1:]}
    assert len(tables) == len(report.tables())
    for expected in report.tables():
        shown = tables[expected.title]
        assert [row[0] for row in shown.rows] == [row[0] for row in expected.rows]
        for row, other in zip(shown.rows, expected.rows, strict=True):
            for cell, text in zip(row[1:], other[1:], strict=True):
                if isinstance(cell, int | float):
                    assert cell == float(text.replace(",", ""))
                else:
                    assert cell == (None if text == "-" else text)


@pytest.mark.parametrize("task", TASKS)
def test_pages_are_bounded_however_many_images_there_are(task):
    page, _, _ = made(task, 90)
    galleries = parts(page, Gallery)
    assert 0 < len(galleries) <= 6
    titles = [g.title for g in galleries]
    n_images = sum(len(g.pictures) for g in galleries if g.title)
    assert n_images <= 48 if task == "anomaly" else n_images == 24
    assert all(len(g.pictures) <= 24 for g in galleries)
    assert len(set(titles)) >= 3
    encoded = DATA.findall(page.to_html())
    for one in encoded:
        with Image.open(io.BytesIO(base64.b64decode(one))) as picture:
            assert max(picture.size) <= 2 * 480 + 4
    assert sum(map(len, encoded)) < 6e6


@pytest.mark.parametrize("task", TASKS)
def test_what_users_name_is_escaped(task):
    classes = ("background", "<script>alert(1)</script>", "a&b\x1b\udce9")
    page, _, _ = made(
        task,
        classes=classes,
        facts={"model": "<i>m</i>"},
        failures=[Failure(0, "<img src=x>\udce9.png", "no <picture>")],
    )
    text = page.to_html()
    for markup in ("<script>alert(1)", "<i>m</i>", "<img src=x>", "<picture>"):
        assert markup not in text
    assert "&lt;img src=x&gt;\\xe9.png" in text
    # plotly reads markup, so that of names is escaped for it too.
    charts = repr([chart.figure for chart in parts(page, Chart)])
    assert "<script>" not in charts
    text.encode()


def test_images_that_were_left_out_are_named():
    failures = [Failure(i, f"bad {i}.png", "it is empty") for i in range(300)]
    page, _, _ = made("segmentation", failures=failures)
    (section,) = [one for one in page.sections if one.title == "Images that were left out"]
    assert "300 images" in section.parts[0].text
    assert section.parts[0].is_warning
    assert [row[0] for row in section.parts[1].rows] == [f"bad {i}.png" for i in range(200)]
    assert section.parts[2].text == "And 100 more."
    page, _, _ = made("segmentation")
    assert not next(one for one in page.sections if "left out" in one.title).parts


@pytest.mark.parametrize("task", ["detection", "instances", "oriented"])
def test_mistakes_are_shown_with_their_reason(task):
    page, _, _ = made(task, 12)
    false, missed = (
        next(one for one in page.sections if one.title == title).parts[0].pictures
        for title in ("Surest false detections", "Missed objects")
    )
    # Nine images have objects: of each a false dog, a dog taken for a cat, and a cat missed.
    assert len(false) == 18
    assert len(missed) == 18
    assert [one.title for one in false[:2]] == ["dog 0.80", "dog 0.80"]
    told = {(one.title.split()[0], one.lines[0]) for one in false}
    assert told == {("dog", "nothing is annotated here"), ("cat", "annotated as dog")}
    scores = [float(one.title.split()[1]) for one in false]
    assert scores == sorted(scores, reverse=True)
    assert {one.title for one in missed} == {"dog, 16 × 16 px", "cat, 10 × 12 px"}
    assert missed[0].title.startswith("dog")  # the larger ones come first
    assert {one.lines[0] for one in missed if one.title.startswith("cat")} == {
        "found with a score of 0.10", "found with a score of 0.09",
    }  # fmt: skip
    assert missed[0].lines[0].startswith("taken for cat (0.")
    assert all(one.lines[-1].startswith("image ") for one in [*false, *missed])


def test_a_task_without_a_found_object_has_a_page():
    from transferkit.annotations import Annotations
    from transferkit.metrics import count_detections, report_of_detections

    box = np.array([[1.0, 1, 20, 20]])
    truth = [Annotations(SIZE, boxes=box, labels=np.array([1]))] * 2
    none = np.zeros((0, 4))
    found = [Annotations(SIZE, boxes=none, labels=none[:, 0].astype(int), scores=none[:, 0])] * 2
    counts = count_detections(truth, found, CLASSES)
    report = report_of_detections(counts)
    pictures = pictures_for(report, counts, CLASSES)
    for i in pictures.examples.images:
        pictures.add(i, photo(i), found[i], truth[i], str(i))
    text = dense_page("none", report, counts, pictures).to_html()
    assert "nothing is found here" in text
    assert "No detection has a score that the model believes" in text
