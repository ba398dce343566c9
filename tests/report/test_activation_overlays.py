import numpy as np
from PIL import Image

from transferkit.images import Frame
from transferkit.report.activation_overlays import activation_overlay, beside, scores_at


def test_scores_lie_where_their_places_are():
    """An image of 40 × 80 px; the network sees its middle 40 × 40 px, enlarged twice."""
    frame = Frame.crop((20, 0, 60, 40), (80, 80))
    scores = np.zeros((4, 4))
    scores[0, 3] = 1.0  # at the upper right of what is seen: x 50 to 60, y 0 to 10
    placed = scores_at(scores, frame, (80, 80), (40, 80), (40, 80))
    assert np.isnan(placed[:, :20]).all()
    assert np.isnan(placed[:, 60:]).all()
    assert np.isfinite(placed[:, 20:60]).all()
    y, x = np.unravel_index(np.nanargmax(placed), placed.shape)
    assert 50 <= x < 60
    assert y < 10
    assert placed[30, 25] == 0
    # In a picture half as large they lie at half the px.
    half = scores_at(scores, frame, (80, 80), (40, 80), (20, 40))
    assert np.isnan(half[:, :10]).all()
    assert np.isfinite(half[:, 10:30]).all()


def test_in_the_middle_of_a_place_stands_its_own_score():
    scores = np.random.default_rng(0).normal(size=(5, 5))
    assert np.allclose(scores_at(scores, Frame(), (50, 50), (50, 50), (5, 5)), scores)
    between = scores_at(scores, Frame(), (50, 50), (50, 50), (50, 50))
    assert between.max() <= scores.max()


def test_heat_is_light_where_scores_are_large_and_black_where_nothing_was_seen():
    placed = np.array([[0.0, 1.0, np.nan]])
    grey = Image.new("RGB", (3, 1), (128, 128, 128))
    low, high, unseen = np.asarray(activation_overlay(grey, placed))[0].sum(axis=1)
    assert high > low > unseen
    assert len(np.unique(np.asarray(activation_overlay(grey, np.full((1, 3), np.nan))))) == 1


def test_side_by_side():
    assert beside([Image.new("RGB", (10, 6))] * 3).size == (38, 6)
