"""The report of anomaly detection: what it takes, what it refuses, and how exact its bins are."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from transferkit.annotations import VOID, Annotations
from transferkit.metrics import anomaly_report, gather_scores
from transferkit.metrics._anomalies import shrunk


def true(rows):
    found = np.array(rows)
    return Annotations(found.shape, map=found)


def scored(score, rows=None):
    found = None if rows is None else np.array(rows, dtype=np.float32)
    return Annotations((1, 1) if found is None else found.shape, score=score, score_map=found)


def test_bins_are_as_exact_as_they_say():
    """Scores of any size and sign, against scikit-learn on the scores themselves."""
    rng = np.random.default_rng(0)
    for scale, shift in ((1, 0), (1e-6, 0), (1e5, 0), (1, -3), (1, 1)):
        truth = (rng.random((3, 50, 60)) < 0.1).astype(int)
        found = scale * (rng.normal(size=truth.shape) + truth) + shift
        report = anomaly_report([true(one) for one in truth], [scored(0.0, one) for one in found])
        assert report.pixel_auroc == pytest.approx(
            roc_auc_score(truth.ravel(), found.ravel()), abs=5e-4
        )


def test_every_image_is_asked_for_once_and_forgotten():
    held = []

    def predicted():
        for i in range(5):
            held.append(i)
            yield scored(float(i), [[i, 0]])

    def truth():
        for i in range(5):
            assert len(held) <= i + 1
            yield true([[i % 2, 0]])

    assert anomaly_report(truth(), predicted()).n == 5
    assert held == [0, 1, 2, 3, 4]


def test_regions_count_alike_whatever_their_size():
    truth = np.zeros((6, 8), int)
    truth[0, 0] = truth[3:, 3:] = 1  # 1 and 15 pixels
    found = np.where(truth, 0.0, 0.5)
    found[0, 0] = 1.0
    report = anomaly_report([true(truth)], [scored(1.0, found)], [True])
    assert report.n_regions == 2
    # One of two regions is found before any false alarm, the other after all of them.
    assert report.aupro == pytest.approx(0.5 + 0.0)


def test_pixels_that_touch_at_a_corner_are_one_region():
    report = anomaly_report([true(np.eye(3, dtype=int))], [scored(1.0, np.eye(3))])
    assert report.n_regions == 1
    assert report.aupro == 1


def test_void_pixels_count_nowhere():
    truth = [[0, 1, VOID, VOID]]
    for doubtful in (0.0, 1.0):
        report = anomaly_report([true(truth)], [scored(1.0, [[0.2, 0.8, doubtful, doubtful]])])
        assert report.pixel_auroc == 1


def test_a_mask_is_shrunk_without_losing_thin_defects():
    mask = np.zeros((30, 40), bool)
    mask[7, :] = mask[:, 33] = True
    for size in ((10, 10), (7, 13), (30, 40), (1, 1)):
        found = shrunk(mask, size)
        expected = np.zeros(size, bool)
        for i, j in np.argwhere(mask):
            # Every box that the pixel overlaps.
            for r in range(size[0]):
                for c in range(size[1]):
                    overlaps_row = r * 30 / size[0] < i + 1 and (r + 1) * 30 / size[0] > i
                    overlaps_column = c * 40 / size[1] < j + 1 and (c + 1) * 40 / size[1] > j
                    expected[r, c] |= overlaps_row and overlaps_column
        np.testing.assert_array_equal(found, expected)


def test_scores_coarser_than_the_truth():
    truth = np.zeros((8, 8), int)
    truth[5, 6] = 1
    report = anomaly_report([true(truth)], [scored(1.0, [[0, 0], [0, 1]])])
    assert report.pixel_auroc == 1
    with pytest.raises(ValueError, match="give scores that are no finer than the truth"):
        anomaly_report([true([[0]])], [scored(1.0, [[0, 1]])])


def test_images_alone():
    report = anomaly_report([None] * 4, map(scored, (1.0, 2, 3, 4)), [0, 0, 1, 1], 2.5)
    assert (report.image_auroc, report.pixel_auroc, report.aupro) == (1, None, None)
    assert (report.found, report.false_alarms, report.anomaly_f1) == (1, 0, 1)
    assert report.confusion == ((2, 0), (0, 2))
    assert "image AUROC 1.000" in report.headline()
    assert ("above 2.5", "100.0 % of the strange images are found, 0.0 % of the good ones are "
            "false alarms") in report.notes()  # fmt: skip


def test_good_images_without_a_map_are_good_everywhere():
    report = anomaly_report([None, true([[0, 1]])], [scored(0.0, [[3, 3]]), scored(1.0, [[1, 2]])],
                            [False, True])  # fmt: skip
    assert report.pixel_auroc == pytest.approx(1 / 3)


def test_only_good_images():
    report = anomaly_report([true([[0]])] * 3, [scored(1.0, [[1]])] * 3, threshold=2.0)
    assert report.image_auroc is None
    assert report.anomaly_f1 is None
    assert report.false_alarms == 0
    assert report.baseline is None
    assert "all 3 images are good" in report.headline()
    assert report.tables()


def test_chance_is_told():
    rng = np.random.default_rng(0)
    values = rng.normal(size=200)
    report = anomaly_report([None] * 200, map(scored, values), np.arange(200) % 2)
    assert not report.baseline.is_beaten
    assert "no better than the same score for all images" in report.headline()
    better = anomaly_report([None] * 200, map(scored, values + np.arange(200) % 2),
                            np.arange(200) % 2)  # fmt: skip
    assert better.baseline.is_beaten


@pytest.mark.parametrize(
    ("truth", "predicted", "is_anomalous", "message"),
    [
        ([], [], None, "there are no images to measure with"),
        ([None], [], [0], "there is no predictions for image 0, but truth"),
        ([], [scored(1.0)], None, "there is no truth for image 0, but predictions"),
        ([None], [scored(1.0)], None, "nothing tells whether image 0 is strange"),
        ([None], [scored(None)], [0], "the prediction of image 0 has score None"),
        ([None], [scored(float("nan"))], [0], "has score nan; give a number"),
        ([None], [scored(1.0)], [0, 1], "is_anomalous tells of 2 images, and there are 1"),
        ([None] * 2, [scored(1.0)] * 2, [0], "is_anomalous tells of 1 images, and there are more"),
        ([true([[1]])], [scored(1.0, [[1]])], [0], "image 0 is said to be good, but 1 of its"),
        ([None], [scored(1.0, [[np.inf]])], [0], "have scores that aren't finite"),
    ],
)
def test_what_doesnt_fit(truth, predicted, is_anomalous, message):
    with pytest.raises(ValueError, match=message):
        gather_scores(truth, predicted, is_anomalous)
