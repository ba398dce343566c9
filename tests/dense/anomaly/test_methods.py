"""The methods' numbers, beside those of a second, simpler way."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf

from tests.dense.anomaly.maps import aligned, batches, scores, texture
from transferkit.dense.anomaly import (
    ALIGNED,
    Patches,
    alignment,
    choose_method,
    create_anomaly_method,
    f1_threshold,
    false_alarm_threshold,
)
from transferkit.dense.anomaly._nearest import nearest, sampled
from transferkit.dense.anomaly.patchcore import greedy_coreset


def descriptors(method, levels):
    """Descriptors of all patches, one row each."""
    found = torch.cat([method.patches(maps) for maps in batches(levels)()])
    return found.permute(0, 2, 3, 1).reshape(-1, found.shape[1]).double().numpy()


# ---- patches ----


def test_patches_are_white_level_by_level():
    levels = {"middle": texture(40)["middle"] @ torch.randn(8, 8) * 50 + 7}
    levels["middle"][:, 1] = levels["middle"][:, 0] + 0.1 * levels["middle"][:, 2]
    rows = Patches().fit(batches(levels))
    found = torch.cat([rows(maps) for maps in batches(levels)()]).double()
    cells = found.permute(0, 2, 3, 1).reshape(-1, 4).numpy()
    np.testing.assert_allclose(cells.mean(0), 0, atol=1e-4)
    covariance = np.cov(cells.T) * 4
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-3)
    # Directions of less than a hundredth of the mean variance are enlarged less.
    assert (np.diag(covariance) < 1.01).all()
    assert (np.diag(covariance)[-2:] > 0.95).all()


def test_patches_of_one_level_by_plain_numpy():
    level = texture(6)["middle"]
    patches = Patches().fit(batches({"middle": level}))
    smoothed = np.zeros(level.shape)
    for i in range(8):
        for j in range(8):
            box = level[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
            smoothed[:, :, i, j] = box.mean((2, 3))
    cells = np.moveaxis(smoothed, 1, -1).reshape(-1, 4)
    covariance = np.cov(cells.T, bias=True)
    covariance += 0.01 * np.diag(covariance).mean() * np.eye(4)
    centred = cells - cells.mean(0)
    expected = np.einsum("nd,de,ne->n", centred, np.linalg.inv(covariance), centred) / 4
    found = patches(next(batches({"middle": level}, 6)())).permute(0, 2, 3, 1).reshape(-1, 4)
    np.testing.assert_allclose((found.double().numpy() ** 2).sum(1), expected, rtol=1e-3)


def test_a_projection_hardly_changes_distances():
    wide = {"middle": torch.randn(5, 300, 8, 8, generator=torch.Generator().manual_seed(0))}
    rows = []
    for dimensions in (None, 200):
        patches = Patches(dimensions).fit(batches(wide))
        found = patches(next(batches(wide, 5)())).permute(0, 2, 3, 1).reshape(320, -1)
        rows.append(cdist(found.numpy(), found.numpy())[np.triu_indices(320, 1)])
    assert 0.9 < np.median(rows[1] / rows[0]) < 1.1
    assert np.std(rows[1] / rows[0]) < 0.1


@pytest.mark.parametrize(("height", "width"), [(7, 5), (1, 1), (9, 12)])
def test_odd_sizes(height, width):
    random = torch.Generator().manual_seed(0)
    levels = {
        "fine": torch.randn(4, 3, 2 * height - 1, 2 * width, generator=random),
        "middle": torch.randn(4, 4, height, width, generator=random),
    }
    patches, images = scores(create_anomaly_method("patchcore").fit(batches(levels)), levels)
    assert patches.shape == (4, height, width)
    assert np.isfinite(images).all()


# ---- nearest neighbours and coresets ----


def test_nearest_is_that_of_scipy():
    random = torch.Generator().manual_seed(0)
    vectors, bank = (torch.randn(n, 6, generator=random) for n in (50, 2500))
    distances, at = nearest(vectors, bank, 4)
    every = cdist(vectors.numpy(), bank.numpy())
    np.testing.assert_array_equal(at.numpy(), np.argsort(every, axis=1)[:, :4])
    np.testing.assert_allclose(distances.numpy(), np.sort(every, axis=1)[:, :4], rtol=1e-4)


def test_coreset_is_the_farthest_point_by_point():
    vectors = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    found = greedy_coreset(vectors, 10, seed=1).tolist()
    every = cdist(vectors.numpy(), vectors.numpy())
    chosen = found[:1]
    for _ in range(9):
        chosen.append(int(every[chosen].min(0).argmax()))
    assert found == chosen


def test_copies_are_chosen_once():
    vectors = torch.eye(3).repeat(5, 1)
    found = vectors[greedy_coreset(vectors, 12)]
    assert sorted(found.argmax(1).tolist()) == [0, 1, 2]


def test_patches_are_drawn_of_every_image():
    rows = torch.arange(24.0).reshape(2, 1, 3, 4)
    found = sampled(rows, 5, torch.Generator().manual_seed(0)).flatten().tolist()
    assert len(set(found)) == 10
    assert sum(value < 12 for value in found) == 5


# ---- the methods ----


def test_patchcore_by_plain_numpy():
    good, new = texture(5), texture(2, seed=1)
    method = create_anomaly_method("patchcore", share=1, least=1, neighbours=2, top=0)
    method.fit(batches(good))
    bank = descriptors(method, good)
    assert len(method.bank) == len(bank) == 5 * 64
    among = cdist(bank, bank)
    spacing = np.sort(among, axis=1)[:, 1:3].mean(1)
    every = cdist(descriptors(method, new), bank)
    patches, images = scores(method, new)
    np.testing.assert_allclose(patches.reshape(-1), every.min(1), rtol=1e-3, atol=1e-3)
    ratios = (every.min(1) / spacing[every.argmin(1)]).reshape(2, -1)
    np.testing.assert_allclose(images, ratios.max(1), rtol=1e-3)


def test_padim_by_plain_numpy():
    good, new = aligned(30), texture(2, seed=1)
    method = create_anomaly_method("padim", ridge=0.5).fit(batches(good))
    learnt = descriptors(method, good).reshape(30, 64, -1)
    tested = descriptors(method, new).reshape(2, 64, -1)
    expected = np.zeros((2, 64))
    for p in range(64):
        covariance = np.cov(learnt[:, p].T)
        covariance += 0.5 * np.diag(covariance).mean() * np.eye(len(covariance))
        centred = tested[:, p] - learnt[:, p].mean(0)
        expected[:, p] = np.sqrt(
            np.einsum("nd,de,ne->n", centred, np.linalg.inv(covariance), centred)
        )
    patches, images = scores(method, new)
    np.testing.assert_allclose(patches.reshape(2, -1), expected, rtol=1e-3)
    np.testing.assert_allclose(images, expected.max(1), rtol=1e-3)


def test_padim_wants_the_size_of_fit():
    method = create_anomaly_method("padim").fit(batches(aligned(4)))
    with pytest.raises(ValueError, match="the patches are 4 × 4, and in fit they were 8 × 8"):
        scores(method, aligned(2, size=4))


def test_mahalanobis_is_that_of_scikit_learn():
    good, new = texture(40), texture(3, seed=1)
    method = create_anomaly_method("mahalanobis").fit(batches(good))
    pooled, tested = (
        descriptors(method, levels).reshape(n, 64, -1).mean(1)
        for levels, n in ((good, 40), (new, 3))
    )
    expected = np.sqrt(LedoitWolf().fit(pooled).mahalanobis(tested))
    np.testing.assert_allclose(scores(method, new)[1], expected, rtol=1e-2)


def test_knn_by_plain_numpy():
    good, new = texture(12), texture(3, seed=1)
    method = create_anomaly_method("knn", k=2).fit(batches(good))
    pooled, tested = (
        descriptors(method, levels).reshape(n, 64, -1).mean(1)
        for levels, n in ((good, 12), (new, 3))
    )
    expected = np.sort(cdist(tested, pooled), axis=1)[:, :2].mean(1)
    np.testing.assert_allclose(scores(method, new)[1], expected, rtol=1e-3)


# ---- the choice ----


def test_a_method_is_chosen_by_what_the_images_are():
    assert choose_method(batches(aligned(12))).method == "padim"
    assert choose_method(batches(texture(12))).method == "patchcore"
    assert choose_method(batches(aligned(5))) == ("patchcore", None)


def test_alignment_falls_as_images_shift():
    levels = aligned(15)
    shifted = {
        name: torch.stack([torch.roll(one, int(i) % 3, 1) for i, one in enumerate(level)])
        for name, level in levels.items()
    }
    found = [alignment(batches(one)) for one in (levels, shifted, texture(15))]
    assert found[0] > 0.99 > ALIGNED > found[2]
    assert found[0] > found[1] > found[2]
    assert found[2] == pytest.approx(0.5, abs=0.05)


def test_the_choice_depends_on_neither_the_batches_nor_chance():
    found = {choose_method(batches(aligned(12), size)).alignment for size in (1, 5, 12)}
    assert max(found) - min(found) < 1e-3


# ---- thresholds ----


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_false_alarms_are_as_promised(rate):
    random = np.random.default_rng(0)
    found = []
    for _ in range(500):
        threshold, promised = false_alarm_threshold(random.gamma(2, size=120), rate)
        assert promised <= max(rate, 1 / 121) + 1e-12
        found.append((random.gamma(2, size=200) > threshold).mean())
    assert np.mean(found) == pytest.approx(promised, abs=0.004)


def test_few_images_promise_less():
    assert false_alarm_threshold([3.0, 1.0], 0.05) == (3.0, pytest.approx(1 / 3))


def test_f1_threshold_is_the_best_of_all():
    random = np.random.default_rng(0)
    for _ in range(50):
        strange = random.random(30) < 0.4
        strange[0] = True
        values = (random.normal(size=30) + strange).round(1)

        def f1(threshold, values=values, strange=strange):
            flagged = values > threshold
            return 2 * (flagged & strange).sum() / (flagged.sum() + strange.sum())

        best = max(f1(threshold) for threshold in [*values, values.min() - 1])
        assert f1(f1_threshold(values, strange)) == best
