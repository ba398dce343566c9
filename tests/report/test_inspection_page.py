"""The page of an inspection shows what was found, and nothing that is named can run."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.images import ImageSet
from transferkit.inspection.findings import Finding, Inspection
from transferkit.report.inspection_page import inspection_page
from transferkit.report.snapshots import snapshot, snapshot_of_box, snapshot_of_pair

SIZE = (60, 100)
EVIL = "<script>alert('x')</script>&\".png"


def image_set() -> ImageSet:
    """A red, a green and a blue image, and one that can't be read."""
    pixels = [np.zeros((*SIZE, 3), np.uint8) for _ in range(3)]
    for channel, one in enumerate(pixels):
        one[..., channel] = 200
    return ImageSet(
        (*pixels, b"no picture"),
        (EVIL, "green.png", "blue.png", "caf\udce9.png"),
        ("<b>cat</b>", "dog", "dog", None),
        ("train", "test", "train", None),
    )


def opened(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)


class Tags(HTMLParser):
    """Texts and tags of a page, as a browser would take them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.pictures: list[bytes] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        source = dict(attrs).get("src") or ""
        if tag == "img" and source.startswith("data:"):
            self.pictures.append(base64.b64decode(source.split(",", 1)[1]))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


FINDINGS = (
    Finding("exact duplicate", 0, 1.0, "the same bytes", other=1, is_excluded=True),
    Finding("label", 1, 0.93, "looks like <i>cat</i>", suggestion="<b>cat</b>"),
    Finding("odd file", 3, 0.5, "it can't be read", is_excluded=True),
    Finding("doubled box", 2, 0.9, "two boxes", box=(10, 10, 40, 40)),
    Finding("something new", 2, 0.9, "of a kind that the page doesn't know"),
)


def page_of(findings=FINDINGS, **options):
    balance = {"train": {"dog": 1, "<b>cat</b>": 1}, "test": {"dog": 1}}
    inspection = Inspection(image_set(), findings, {"features": "<u>pre</u>"}, balance)
    return inspection_page(inspection, **options)


def test_everything_is_told_and_nothing_can_run():
    text = page_of(title="<em>cells</em>").to_html()
    without = page_of([]).to_html()
    page = Tags(text)
    # The names, labels, reasons and facts make no tags.
    assert not {"em", "i", "u"} & set(page.tags)
    assert "<b>cat" not in re.sub(r'<script type="application/json">.*?</script>', "", text)
    assert text.count("<script>alert") == without.count("<script>alert") == 0
    told = " ".join(page.texts)
    for words in (EVIL, "green.png", "the same bytes", "dog → <b>cat</b>, test", "<u>pre</u>"):
        assert words in told
    assert "looks like <i>cat</i>" in told
    assert "Something new" in told


def test_the_summary_counts_findings_and_images():
    findings = [*FINDINGS, Finding("label", 1, 0.8, "again"), Finding("label", 2, 0.7, "more")]
    texts = [text for text in Tags(page_of(findings).to_html()).texts if text.strip()]
    at = texts.index("Labels to look at", texts.index("to leave out", texts.index("kind")))
    # Three findings of two of four images, of which none is left out.
    assert texts[at + 1 : at + 5] == ["3", "2", "50", "0"]


def test_which_images_to_leave_out():
    page = Tags(page_of().to_html())
    assert page.tags.count("pre") == 1
    assert f"{EVIL}\ncaf\udce9.png" in page.texts
    assert "To leave out" not in page_of([]).to_html()


def test_names_keep_their_bytes_in_the_file(tmp_path):
    page_of().write(tmp_path / "page.html")
    assert b"\ncaf\xe9.png" in (tmp_path / "page.html").read_bytes()


def test_no_more_pictures_than_asked_for():
    many = [Finding("label", i % 3, 0.9, f"number {i}") for i in range(30)]
    page = page_of(many, most=7)
    assert len(Tags(page.to_html()).pictures) == 7
    told = " ".join(Tags(page.to_html()).texts)
    assert "The surest 7 of 30 are shown." in told
    assert "number 6" in told
    assert "number 7" not in told


def test_nothing_found():
    text = page_of([]).to_html()
    assert "Nothing: no kind of mistake" in text
    assert not Tags(text).pictures


def test_many_classes_are_shown_in_part():
    counts = {f"class {i:03}": 1000 - i for i in range(100)}
    text = inspection_page(Inspection(image_set(), [], {}, {"all": counts})).to_html()
    assert "The 20 largest and 20 smallest of 100 classes." in text
    assert "class 019" in text
    assert "class 020" not in text
    assert "class 080" in text


# ---- pictures -----------------------------------------------------------------------


def test_pictures_are_of_the_images():
    red, green = (opened(snapshot(image_set(), i, 50)) for i in (0, 1))
    assert red.shape == green.shape == (30, 50, 3)
    assert red.mean((0, 1)) == pytest.approx([200, 0, 0], abs=4)
    assert green.mean((0, 1)) == pytest.approx([0, 200, 0], abs=4)


def test_a_pair_stands_side_by_side():
    pair = opened(snapshot_of_pair(image_set(), 0, 2, 50))
    assert pair.shape == (30, 104, 3)
    assert pair[:, 4:40].mean((0, 1)) == pytest.approx([200, 0, 0], abs=6)
    assert pair[:, 64:].mean((0, 1)) == pytest.approx([0, 0, 200], abs=6)


def test_what_can_not_be_read_is_grey():
    for picture in (
        snapshot(image_set(), 3, 80),
        snapshot_of_box(image_set(), 3, (0, 0, 9, 9), side=80),
    ):
        pixels = opened(picture)
        assert pixels.shape == (60, 80, 3)
        assert np.median(pixels) > 200


@pytest.mark.parametrize(
    "box", [(10, 10, 40, 40), (0, 0, 100, 60), (95, 55, 100, 60), (-20, -20, 5, 5)]
)
def test_a_box_is_drawn_around_what_it_is_of(box):
    images = image_set()
    plain = opened(snapshot_of_box(images, 2, None, side=200))
    assert plain.mean((0, 1)) == pytest.approx([0, 0, 200], abs=4)
    drawn = opened(snapshot_of_box(images, 2, box, side=200))
    is_line = drawn[..., :2].min(-1) > 120
    assert is_line.any()
    rows, columns = np.nonzero(is_line)
    # What it encloses, as a share of the picture, is as wide as it is high.
    wide, high = np.ptp(columns) + 1, np.ptp(rows) + 1
    inside = np.clip(box, 0, [100, 60, 100, 60])
    shape = (inside[2] - inside[0]) / (inside[3] - inside[1])
    assert wide / high == pytest.approx(shape, abs=0.25)


def test_objects_near_a_box_are_drawn_too():
    images = image_set()
    boxes = np.array([[10.0, 10, 40, 40], [45, 12, 70, 38]])
    one = Annotations(SIZE, boxes=boxes, labels=np.array([0, 0]))
    alone = opened(snapshot_of_box(images, 2, (10, 10, 40, 40), side=200))
    both = opened(snapshot_of_box(images, 2, (10, 10, 40, 40), one, side=200))
    is_white = both.min(-1) > 120
    assert is_white.sum() > (alone.min(-1) > 120).sum() + 30
    # Annotations of another size aren't drawn: they would be in the wrong place.
    other = Annotations((50, 50), boxes=boxes, labels=np.array([0, 0]))
    assert np.array_equal(opened(snapshot_of_box(images, 2, (10, 10, 40, 40), other, 200)), alone)


def test_masks_and_maps_are_drawn():
    images = image_set()
    mask = np.zeros(SIZE, bool)
    mask[10:40, 10:40] = True
    one = Annotations(SIZE, masks=mask[None], labels=np.array([0]))
    drawn = opened(snapshot_of_box(images, 2, (10, 10, 40, 40), one, side=200))
    assert drawn[52, 52, 1] > 40  # 25 px at 200 of 96
    classes = Annotations(SIZE, map=np.where(mask, 1, 0))
    coloured = opened(snapshot_of_box(images, 2, None, classes, side=100))
    assert coloured[25, 25, 0] > 60
    assert coloured[50, 80] == pytest.approx([0, 0, 200], abs=8)


def test_the_page_draws_annotations_that_can_be_read():
    def read(item):
        if item == "bad":
            raise ValueError("not an object")
        return item

    boxes = np.array([[10.0, 10, 40, 40], [42, 12, 60, 38]])
    good = Annotations(SIZE, boxes=boxes, labels=np.array([0, 0]))
    findings = [Finding("odd box", 2, 0.9, "odd", box=(10, 10, 40, 40))]
    pictures = [
        Tags(page_of(findings, annotations=AnnotationSet(["a"], items, read)).to_html()).pictures
        for items in ([None, None, good, None], [None, None, "bad", None], [None] * 4)
    ]
    assert pictures[1] == pictures[2] != pictures[0]
