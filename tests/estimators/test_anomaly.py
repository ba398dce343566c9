"""`AnomalyDetector`, on small pictures of tiles with and without a bright spot."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from transferkit.annotations import Annotations
from transferkit.dense.anomaly import anomaly_methods
from transferkit.estimators import AnomalyDetector, FeatureExtractor, load_estimator
from transferkit.images import UnreadableImages, list_images


def picture(seed, size=(64, 64), spot=False):
    """Grey tiles with a little noise, the same in every picture; and where the spot is."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 30, (*size, 3), dtype=np.uint8)
    tiles = np.random.default_rng(99).integers(0, 180, (6, 6, 3), dtype=np.uint8)
    pixels += tiles[np.ix_(*(np.arange(side) * 6 // side for side in size))]
    where = np.zeros(size, np.int64)
    if spot:
        top, left = (int(rng.integers(side // 8, side // 2)) for side in size)
        where[top : top + size[0] // 5, left : left + size[1] // 5] = 1
        pixels[where == 1] = (250, 250, 0)
    return pixels, where


def pictures(seeds, **options):
    return [picture(seed, **options)[0] for seed in seeds]


GOOD, STRANGE = pictures(range(20)), pictures(range(100, 108), spot=True)


@pytest.fixture(scope="module")
def backbone():
    return FeatureExtractor(
        "resnet18", pretrained=False, image_size=64, crop_mode="squash", crop_pct=1.0
    )


@pytest.fixture(scope="module")
def detector(backbone):
    return AnomalyDetector(backbone).fit(GOOD)


@pytest.fixture
def folder(tmp_path):
    """MVTec's layout."""
    for part, seeds, spot in (
        ("train/good", range(16), False),
        ("test/good", range(50, 56), False),
        ("test/spot", range(100, 106), True),
    ):
        (tmp_path / part).mkdir(parents=True)
        for seed in seeds:
            pixels, where = picture(seed, (60, 80), spot)
            Image.fromarray(pixels).save(tmp_path / part / f"{seed}.png")
            if spot:
                truth = tmp_path / "ground_truth/spot"
                truth.mkdir(parents=True, exist_ok=True)
                Image.fromarray((255 * where).astype(np.uint8)).save(truth / f"{seed}_mask.png")
    return tmp_path


def test_finds_strange_images_and_where_they_are(detector):
    new = pictures(range(50, 58))
    found = detector.scores(new + STRANGE)
    assert roc_auc_score([0] * 8 + [1] * 8, found) == 1
    assert detector.is_anomalous(STRANGE).all()
    assert detector.choice_.method == "padim"
    assert detector.choice_.alignment > 0.75
    assert detector.extractor_.feature_names == ["stage1.map", "stage2.map", "stage3.map"]
    for seed, one in zip(range(100, 108), detector.predict(STRANGE), strict=True):
        where = picture(seed, spot=True)[1]
        assert roc_auc_score(where.ravel(), one.score_map.ravel()) > 0.9
        assert set(np.unique(one.map)) <= {0, 1}
        np.testing.assert_array_equal(one.map == 1, one.score_map > detector.pixel_threshold_)


def test_predictions_are_in_the_images_px(detector):
    sizes = [(33, 90), (200, 61)]
    images = [picture(100 + i, size, spot=True) for i, size in enumerate(sizes)]
    for (_, where), one in zip(images, detector.predict([p for p, _ in images]), strict=True):
        assert one.size == where.shape == one.map.shape == one.score_map.shape
        assert one.score_map.dtype == np.float32
        hit = np.unravel_index(one.score_map.argmax(), where.shape)
        far = np.abs(np.argwhere(where) - hit).max(1).min()
        assert far < 0.2 * max(where.shape)


def test_scores_are_those_of_predict_in_the_order_of_the_images(detector):
    images = [GOOD[0], STRANGE[0], GOOD[1]]
    found = detector.scores(images)
    np.testing.assert_allclose(found, [one.score for one in detector.predict(images)], rtol=1e-4)
    np.testing.assert_allclose(detector.scores(images[::-1]), found[::-1], rtol=1e-4)
    assert detector.scores([STRANGE[0]])[0] == pytest.approx(found[1], rel=1e-4)


@pytest.mark.parametrize("head", anomaly_methods())
def test_every_method_is_saved_and_loaded(head, backbone, tmp_path):
    detector = AnomalyDetector(backbone, head, folds=2).fit(GOOD[:8])
    detector.save(tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert isinstance(again, AnomalyDetector)
    images = GOOD[8:10] + STRANGE[:2]
    np.testing.assert_allclose(again.scores(images), detector.scores(images), rtol=1e-5)
    for one, other in zip(again.predict(images), detector.predict(images), strict=True):
        np.testing.assert_allclose(one.score_map, other.score_map, rtol=1e-4, atol=1e-4)
    for name in ("threshold_", "pixel_threshold_", "false_alarms_", "choice_", "classes_"):
        assert getattr(again, name) == getattr(detector, name)
    assert again.description() == detector.description()
    np.testing.assert_array_equal(again.train_ids_, detector.train_ids_)


def test_a_model_that_was_tampered_with_is_refused(detector, tmp_path):
    folder = detector.save(tmp_path / "model")
    file = next(
        path for path in folder.glob("*.json") if "pixel_threshold" in path.read_text("utf-8")
    )
    text = file.read_text("utf-8")
    for old, new in (('"padim"', '"patchcore"'), ('"padim"', '"../x"'), ('"ridge"', '"more"')):
        assert old in text
        file.write_text(text.replace(old, new), "utf-8")
        with pytest.raises(ValueError, match=r"model|head|train"):
            load_estimator(folder)


# ---- thresholds ----


def test_no_training_image_judges_itself(backbone):
    detector = AnomalyDetector(backbone, "knn", head_options={"k": 1}).fit(GOOD)
    own = detector.scores(GOOD)
    assert own.max() < 1e-2  # an image is its own nearest one
    assert detector.held_out_scores_.min() > 10 * own.max()


def test_copies_are_held_out_together(backbone):
    twice = AnomalyDetector(backbone, "knn", head_options={"k": 1}).fit(GOOD[:6] + GOOD[:6])
    assert twice.held_out_scores_.min() > 0.1


def test_the_threshold_promises_the_rate_asked_for(backbone):
    detector = AnomalyDetector(backbone, "mahalanobis", false_alarms=0.2).fit(GOOD)
    held = np.sort(detector.held_out_scores_)
    assert detector.threshold_ == held[16]  # the 17th of 20: 1 - 17 / 21 is at most 0.2
    assert detector.false_alarms_ == pytest.approx(4 / 21)


def test_too_few_images_for_the_rate_are_told_of(backbone, caplog):
    detector = AnomalyDetector(backbone, "knn").fit(GOOD[:4])
    assert detector.false_alarms_ == pytest.approx(1 / 5)
    assert "4 good images can't promise 5.0 % of false alarms" in caplog.text


def test_one_image_is_enough(backbone, caplog):
    detector = AnomalyDetector(backbone).fit(GOOD[:1])
    assert detector.choice_ == ("patchcore", None)
    assert "one image can't be held out" in caplog.text
    assert np.isfinite(detector.scores(STRANGE)).all()


def test_validation_sets_the_threshold_by_f1(backbone):
    detector = AnomalyDetector(backbone, "padim")
    detector.fit(GOOD[:14], validation=(GOOD[14:] + STRANGE[:4], [0] * 6 + [1] * 4))
    assert detector.false_alarms_ is None
    assert len(detector.held_out_scores_) == 20
    strange = detector.scores(STRANGE[:4])
    assert detector.held_out_scores_.max() < detector.threshold_ < strange.min()
    assert len(detector.train_ids_) == 14
    by_good = AnomalyDetector(backbone, "padim", threshold="good")
    by_good.fit(GOOD[:14], validation=(GOOD[14:] + STRANGE[:4], ["ok"] * 6 + ["spot"] * 4))
    assert by_good.threshold_ == np.sort(by_good.held_out_scores_)[19]


def test_a_threshold_that_is_given(backbone):
    detector = AnomalyDetector(backbone, "padim", threshold=1e9).fit(GOOD[:8])
    assert not detector.is_anomalous(STRANGE).any()


# ---- which images are good ----


def test_mvtec_layout_is_learnt_and_measured(backbone, folder):
    detector = AnomalyDetector(backbone).fit(folder)
    assert len(detector.train_ids_) == 16
    report = detector.measure(list_images(folder, annotated=True).select(range(12)))
    assert (report.n, report.n_anomalous, report.n_regions) == (12, 6, 6)
    assert report.image_auroc == 1
    assert report.pixel_auroc > 0.9
    assert report.threshold == detector.threshold_
    assert detector.score(folder / "test") == 1
    json.dumps(report.to_dict())


def test_images_without_masks_are_measured_as_images(detector):
    report = detector.measure(GOOD + STRANGE, y=["ok"] * 20 + ["spot"] * 8)
    assert report.image_auroc == 1
    assert report.n_regions == 0
    assert report.found == 1


def test_anomalous_images_are_not_learnt_from(backbone, folder):
    with pytest.raises(ValueError, match="6 of the 12 images to learn from are anomalous"):
        AnomalyDetector(backbone).fit(folder / "test")
    with pytest.raises(ValueError, match="1 of the 3 images to learn from are anomalous"):
        AnomalyDetector(backbone).fit(GOOD[:2] + STRANGE[:1], [0, 0, 1])


def test_labels_that_dont_say_what_is_good(backbone, folder):
    (folder / "train/good").rename(folder / "train/bars")
    with pytest.raises(ValueError, match=r"labels are 'bars'.*call the folder of the good ones"):
        AnomalyDetector(backbone).fit(list_images(folder / "train/bars"), ["bars"] * 16)


@pytest.mark.parametrize(("y", "message"), [([0], "y tells of 1 images of 2"), ([0, 7], "holds 7")])
def test_wrong_y(backbone, y, message):
    with pytest.raises(ValueError, match=message):
        AnomalyDetector(backbone).fit(GOOD[:2], y)


def test_without_splits_the_strange_ones_are_measured(backbone, folder):
    detector = AnomalyDetector(backbone, folds=2)
    images = list_images(folder / "test")
    usable = detector.usable(images, None)
    parts = detector.divided(usable, 0.5, seed=1)
    detector.fit_parts(usable, parts)
    labels = np.array(images.labels)
    assert set(labels[parts.train]) == {"good"}
    assert (labels[parts.measured] == "spot").sum() == 6
    assert len(set(parts.train) & set(parts.measured)) == 0


# ---- parameters and bad images ----


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "padin"}, "unknown anomaly method 'padin'; did you mean 'padim'"),
        ({"head_options": {"k": 1}}, "head_options are given for head='auto'"),
        ({"false_alarms": 0}, "false_alarms is 0; give a share above 0"),
        ({"threshold": "f2"}, "threshold is 'f2'; give 'auto', 'good', 'f1' or a number"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"folds": 1}, "folds is 1; give at least 2"),
        ({"threshold": "f1"}, "no validation image is anomalous"),
        ({"features": "stage1.avg"}, "is pooled, and a head of anomaly takes maps"),
        ({"image_size": 32}, "image_size was given beside a FeatureExtractor"),
    ],
)
def test_wrong_parameters(backbone, options, message):
    with pytest.raises(ValueError, match=message):
        AnomalyDetector(backbone, **options).fit(GOOD[:3])


def test_unreadable_images_are_named(backbone, folder):
    (folder / "train/good/0.png").write_bytes(b"no image")
    with pytest.raises(UnreadableImages, match=r"train/good/0\.png"):
        AnomalyDetector(backbone).fit(folder)
    detector = AnomalyDetector(backbone).fit(folder, on_error="skip")
    assert [failure.name for failure in detector.failures_] == ["train/good/0.png"]
    assert len(detector.train_ids_) == 15


def test_a_fit_that_fails_leaves_the_model_as_it_was(backbone):
    detector = AnomalyDetector(backbone, "padim").fit(GOOD[:6])
    before = detector.scores(STRANGE)
    with pytest.raises(ValueError, match="anomalous"):
        detector.fit(GOOD[:2], ["bad", "ok"])
    np.testing.assert_allclose(detector.scores(STRANGE), before)


def test_lines_for_a_table(detector):
    (one,) = detector.predict(STRANGE[:1])
    line = detector.line(one)
    assert line["is_anomalous"] is True
    assert line["score"] == one.score
    assert line["share"] == pytest.approx((one.map == 1).mean())
    assert set(detector.line(None)) == set(line)
    assert detector.line(Annotations((1, 1)))["score"] is None


def test_maps_come_from_the_store_the_second_time(backbone, folder, tmp_path):
    options = {"store": tmp_path / "store"}
    first = AnomalyDetector(backbone, "patchcore", **options).fit(folder)
    again = AnomalyDetector(backbone, "patchcore", **options).fit(folder)
    assert "no image decoded" in again.summary_
    np.testing.assert_array_equal(again.held_out_scores_, first.held_out_scores_)
    assert again.threshold_ == first.threshold_
