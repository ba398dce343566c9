"""Copies are like their originals, and other images of the same kind aren't."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.inspection.scenes import CHANGES, scene
from transferkit.inspection import likeness as module
from transferkit.inspection.duplicates import LEAST_LIKENESS
from transferkit.inspection.likeness import edges_of, likeness


def recompressed(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_changed_copies_are_alike(change, seed):
    first, second = edges_of(scene(seed)), edges_of(CHANGES[change](scene(seed)))
    found = likeness(first, second)
    assert found.score > LEAST_LIKENESS
    assert found.is_mirrored == ("mirrored" in change)
    assert likeness(second, first).score == pytest.approx(found.score, abs=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_recompressed_copies_are_alike(seed):
    found = likeness(edges_of(scene(seed)), edges_of(recompressed(scene(seed))))
    assert found.score > LEAST_LIKENESS
    assert found.described() == "the same view"


def test_other_images_of_the_same_kind_are_not():
    edges = [edges_of(scene(seed)) for seed in range(8)]
    scores = [likeness(edges[i], edges[j]).score for i in range(8) for j in range(i)]
    assert max(scores) < LEAST_LIKENESS


def test_crop_tells_its_share():
    found = likeness(edges_of(scene(0)), edges_of(CHANGES["cropped"](scene(0))))
    assert found.share == pytest.approx(0.94**2, abs=0.04)
    assert found.described().startswith("cropped to ")


def test_uniform_images_are_like_nothing():
    flat = edges_of(Image.new("RGB", (50, 50), "grey"))
    assert not flat.any()
    assert likeness(flat, flat).score == 0


def test_correlations_by_plain_loops():
    """Windows of the true size at every place, one by one."""
    rng = np.random.default_rng(0)
    whole, inner = rng.normal(size=(2, 16, 16)).astype(np.float32)
    sizes = [(1.0, 1.0), (0.75, 0.875)]
    expected = []
    for height, width in ((16, 16), (12, 14)):
        image = Image.fromarray(inner).resize((width, height), Image.Resampling.BILINEAR)
        small = np.asarray(image).astype(float)
        small /= np.linalg.norm(small)
        expected.append(
            max(
                (window * small).sum() / np.linalg.norm(window)
                for y in range(17 - height)
                for x in range(17 - width)
                for window in [whole[y : y + height, x : x + width]]
            )
        )
    np.testing.assert_allclose(module._correlations(whole, inner, sizes), expected, rtol=1e-4)
