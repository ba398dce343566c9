import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from tests.report.measured import CONTENT, classified, labelled, numbered
from transferkit.estimators import ActivationMaps
from transferkit.images import Failure, Frame
from transferkit.report.model_page import looked_at, model_page

pytest.importorskip("plotly")


def html_of(measured, **options):
    return model_page(measured, CONTENT, title="a model", **options).to_html()


def figures(text):
    """The charts of a page, as they are handed to plotly."""
    found = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    return [json.loads(one) for one in found]


class Titles(HTMLParser):
    def __init__(self):
        super().__init__()
        self.inside, self.found = False, []

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "h2"

    def handle_data(self, data):
        if self.inside:
            self.found.append(data)
            self.inside = False


def titles(text):
    parser = Titles()
    parser.feed(text)
    return parser.found


def test_classes():
    measured = classified()
    text = html_of(measured, part="test", n_left_out=7)
    assert titles(text) == [
        "Metrics",
        "Classes",
        "Confusions",
        "Calibration",
        "Map of the features",
        "The surest mistakes",
        "The least sure that are right",
        "The model",
    ]
    assert "60 images of the test split; 7 trained on left out" in text
    assert "linear, C = 0.5" in text


def test_confusions_are_scikit_learns():
    measured = classified(n=80, labels=("a", "b", "c", "d"))
    found = measured.found
    expected = confusion_matrix(found.y_true, found.y_pred)
    matrix = next(f for f in figures(html_of(measured)) if f["data"][0]["type"] == "heatmap")
    told = sum(np.array(trace["customdata"]) for trace in matrix["data"])
    assert told.tolist() == expected.tolist()
    assert matrix["layout"]["xaxis"]["ticktext"] == ["a", "b", "c", "d"]


def test_several_labels():
    text = html_of(labelled())
    assert {"Labels", "Ranking", "Calibration", "The surest mistakes"} <= set(titles(text))


def test_two_classes_are_ranked_too():
    assert "Ranking" in titles(html_of(classified(labels=("no", "yes"))))
    assert "Ranking" not in titles(html_of(classified()))


def test_numbers():
    text = html_of(numbered(names=("age", "height")))
    assert titles(text) == [
        "Metrics",
        "Targets",
        "Predictions and residuals",
        "Map of the features",
        "Largest residuals",
        "The model",
    ]
    assert len(figures(text)) == 5  # two for each target, and the plane


def test_heads_without_probabilities():
    text = html_of(classified(has_proba=False))
    assert "gives no probabilities" in text
    assert "Mistakes" in titles(text)
    assert "The least sure that are right" not in titles(text)


def test_names_are_escaped():
    wicked = "<script>alert(1)</script>"
    names = [f"{wicked}{i}.jpg" for i in range(30)]
    names[0] = "caf\udce9.jpg"  # a file's name that isn't UTF-8
    measured = classified(n=30, labels=("a", wicked), names=names)
    failures = [Failure(0, wicked, "empty file (0 bytes)")]
    text = html_of(measured, failures=failures)
    assert wicked not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    # Nor does plotly, which knows some tags, get one.
    for figure in figures(text):
        assert "<script" not in json.dumps(figure)


def test_unreadable_images_are_named():
    failures = [Failure(3, "broken.jpg", "truncated: the end of the file is missing")]
    text = html_of(classified(), failures=failures)
    assert "broken.jpg" in text
    assert "1 image could not be read" in text


def test_a_model_no_better_than_chance_is_told():
    measured = classified(n=12, seed=3)
    assert ('class="warning"' in html_of(measured)) != measured.report.baseline.is_beaten


def activations_of(measured, score=2.0):
    n = sum(len(case.outputs) for case in looked_at(measured))
    scores = np.full((n, 3, 3), score)
    scores[:, 1, 1] += 9.0
    return ActivationMaps(scores, [Frame((2.0, 2.0))] * n, [(24, 32)] * n, (48, 64))


def test_what_the_network_looked_at():
    measured = classified()
    text = html_of(measured, activations=activations_of(measured))
    assert "What the network looked at" in titles(text)
    assert "scores: " in text
    reason = html_of(measured, activations="There are none: it is a forest.")
    assert "There are none: it is a forest." in reason


def test_many_images_make_no_large_page():
    """2,000 images with their thumbnails, and plotly's 5 MB."""
    measured = classified(n=2000, labels=tuple("abcdefghij"))
    text = html_of(measured, activations=activations_of(measured))
    assert len(text) < 12_000_000
    assert text.count("<img") <= 60


def test_unknown_classes_are_mistakes():
    """Classes that the model never saw have a row, and no score of their own."""
    from transferkit.metrics import predicted_classes, report_of
    from transferkit.report.judged_images import JudgedImages

    made = classified(n=20)
    y = np.array(["new"] * 5 + ["a"] * 15, dtype=object)
    said, proba, known = np.array(["a"] * 20, dtype=object), made.found.proba, ["a", "b", "c"]
    found = predicted_classes(y, said, proba, known)
    report = report_of("classification", y, said, proba, known)
    measured = JudgedImages(made.images, made.X, found, report)
    assert all(max(case.outputs) < 3 for case in looked_at(measured))
    assert "true new" in html_of(measured)
