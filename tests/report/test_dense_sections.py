"""Charts of dense tasks: their numbers come from a second, simpler way."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as expected_roc

from tests.report.dense_cases import case
from transferkit.report.anomaly_sections import anomaly_sections, roc_curve
from transferkit.report.object_sections import object_sections
from transferkit.report.page import Beside, Chart
from transferkit.report.pixel_sections import iou_intervals, pixel_sections


def charts(sections):
    parts = [part for section in sections for part in section.parts]
    inner = [each for part in parts if isinstance(part, Beside) for each in part.parts]
    return {part.label: part.figure for part in [*parts, *inner] if isinstance(part, Chart)}


def test_intervals_are_a_bootstrap_over_images():
    counts, _, _, _ = case("segmentation", 9)
    random = np.random.default_rng(0)
    draws = []
    for _ in range(2000):
        rows = random.integers(0, 9, 9)
        hits, true, said = (part[rows].sum(0) for part in (counts.hits, counts.true,
                                                           counts.predicted))  # fmt: skip
        draws.append(hits / (true + said - hits))
    low, high = iou_intervals(counts)
    np.testing.assert_allclose(low, np.quantile(draws, 0.025, axis=0))
    np.testing.assert_allclose(high, np.quantile(draws, 0.975, axis=0))


def test_bars_and_rows_of_a_segmentation():
    counts, report, truth, found = case("segmentation", 9)
    found_charts = charts(pixel_sections(report, counts))
    bars, dots = found_charts["IoU and boundary F of each class"]["data"]
    by_name = {row.label: row for row in report.classes}
    ticks = found_charts["IoU and boundary F of each class"]["layout"]["yaxis"]["ticktext"]
    for name, iou, boundary in zip(ticks, bars["x"], dots["x"], strict=True):
        assert iou == pytest.approx(100 * by_name[name].iou)
        assert boundary == pytest.approx(100 * by_name[name].boundary_f)
    assert list(bars["x"]) == sorted(bars["x"], reverse=True)
    (cells,) = found_charts["Confusion matrix of pixels"]["data"]
    true, said = (np.stack([one.map for one in side]).ravel() for side in (truth, found))
    for c in range(3):
        of_row = [100 * (said[true == c] == d).mean() for d in range(3)]
        np.testing.assert_allclose(cells["z"][c], of_row)
    (images,) = found_charts["Histogram of the images' mean IoU"]["data"]
    assert images["y"].sum() == 9


@pytest.mark.parametrize("task", ["detection", "instances", "oriented"])
def test_curves_of_objects(task):
    counts, report, _, _ = case(task, 12)
    found_charts = charts(object_sections(report, counts))
    first = found_charts["Precision over recall at an overlap of 0.5, with each class's AP"]
    rows = {row.label: row for row in report.classes}
    for curve in first["data"][:2]:
        row = rows[curve["name"].partition(" ")[0]]
        assert curve["x"][1:] == [point.recall for point in row.curve]
        assert curve["y"][1:] == [point.precision for point in row.curve]
        assert curve["name"] == f"{row.label} ({100 * row.ap50:.1f})"
    dot = first["data"][2]
    assert (dot["x"], dot["y"]) == ([report.chosen.recall], [report.chosen.precision])
    strict = found_charts["Precision over recall at an overlap of 0.75, with each class's AP"]
    assert strict["data"][0]["name"] == f"cat ({100 * rows['cat'].ap75:.1f})"
    overlaps = found_charts["Average precision over overlaps"]["data"][0]["y"]
    assert np.mean(overlaps) == pytest.approx(report.average_precision)
    assert (overlaps[0], overlaps[5]) == pytest.approx((report.ap50, report.ap75))
    right, false = found_charts["Histogram of the scores of right and false detections"]["data"]
    # On each of nine images a cat is found twice, of which one has a low score.
    assert right["y"].sum() == 18
    assert false["y"].sum() == 18
    (cells,) = found_charts["Confusion matrix of objects"]["data"]
    np.testing.assert_allclose(cells["z"][0], [50, 0, 50])  # cats
    np.testing.assert_allclose(cells["z"][1], [100, 0, 0])  # dogs
    np.testing.assert_allclose(cells["z"][2], [0, 100, 0])  # where nothing is


def test_thresholds_tell_what_the_report_tells():
    counts, report, _, _ = case("detection", 12)
    figure = charts(object_sections(report, counts))[
        "Precision, recall and F1 over the score threshold"
    ]
    for curve, expected in zip(
        figure["data"], (report.chosen.precision, report.chosen.recall, report.chosen.f1),
        strict=True,
    ):  # fmt: skip
        assert curve["y"][30] == pytest.approx(expected)
    assert figure["layout"]["shapes"][0]["x0"] == 0.3


def test_the_roc_is_scikit_learns():
    scores, report, truth, found = case("anomaly", 31)
    good, strange, at = roc_curve(scores)
    true = scores.is_anomalous.astype(int)
    x, y, limits = expected_roc(true, scores.images, drop_intermediate=False)
    np.testing.assert_allclose((good, strange), (x, y))
    np.testing.assert_allclose(at[1:], limits[1:])
    found_charts = charts(anomaly_sections(report, scores))
    curve, dot = found_charts["Strange images that are found over false alarms"]["data"]
    assert f"{roc_auc_score(true, scores.images):.3f}" in curve["name"]
    assert (dot["x"], dot["y"]) == ([report.false_alarms], [report.found])
    pixels, regions = found_charts["Strange pixels and regions that are found over false alarms"][
        "data"
    ]
    area = np.trapezoid(pixels["y"], pixels["x"])
    marks, values = (
        np.concatenate([getattr(one, name).ravel() for one in side])
        for side, name in ((truth, "map"), (found, "score_map"))
    )
    assert area == pytest.approx(roc_auc_score(marks, values), abs=2e-3)
    assert len(pixels["x"]) <= 302
    assert regions["y"][-1] == pytest.approx(1)
    good_bars, strange_bars = found_charts["Histogram of the scores of good and strange images"][
        "data"
    ]
    assert (good_bars["y"].sum(), strange_bars["y"].sum()) == (16, 15)


def test_scores_of_pixels_are_quantiles():
    scores, _, _, found = case("anomaly", 7)
    values = np.concatenate([one.score_map.ravel() for one in found])
    for share in (0.05, 0.5, 0.9995, 1):
        expected = np.quantile(values, share, method="inverted_cdf")
        assert scores.pixel_score(share) == pytest.approx(expected, rel=1e-3)
