"""What holds of every anomaly method: each file of the folder, found by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.dense.anomaly.maps import STRIDES, aligned, batches, scores, texture, with_defects
from transferkit.dense import anomaly
from transferkit.dense.anomaly import AnomalyMethod, anomaly_methods, create_anomaly_method
from transferkit.maps import FeatureMaps

NAMES = anomaly_methods()
# Distances to whole images, which small defects hardly change.
OF_WHOLE_IMAGES = {"knn", "mahalanobis"}


@pytest.fixture(scope="module", params=NAMES)
def learnt(request):
    """A method that has learnt, and its name."""
    return request.param, create_anomaly_method(request.param).fit(batches(aligned(20)))


def test_every_file_is_a_method():
    files = Path(anomaly.__file__).parent.glob("[!_]*.py")
    assert sorted(file.stem for file in files) == NAMES
    assert len(NAMES) >= 4


def test_unknown_method_and_option():
    with pytest.raises(ValueError, match="unknown anomaly method 'patchcor'; did you mean"):
        create_anomaly_method("patchcor")
    with pytest.raises(TypeError, match="neigbours"):
        create_anomaly_method("patchcore", neigbours=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("patchcore", {"share": 0}, "share is 0, least"),
        ("patchcore", {"least": 9, "most": 3}, "1 ≤ least ≤ most"),
        ("padim", {"ridge": 0}, "ridge is 0; give a number above 0"),
        ("knn", {"k": 0}, "k is 0 and most"),
    ],
)
def test_wrong_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        create_anomaly_method(name, **options)


def test_finds_defects_and_where_they_are(learnt):
    name, method = learnt
    good = aligned(12, seed=1)
    strange, where = with_defects(aligned(12, seed=2))
    _, of_good = scores(method, good)
    patches, of_strange = scores(method, strange)
    is_strange = np.repeat([0, 1], 12)
    assert roc_auc_score(is_strange, np.r_[of_good, of_strange]) > (
        0.8 if name in OF_WHOLE_IMAGES else 0.99
    )
    assert roc_auc_score(where.ravel(), patches.ravel()) > 0.85


def test_shapes_and_numbers(learnt):
    _, method = learnt
    patches, images = scores(method, aligned(3, seed=3))
    assert patches.shape == (3, 8, 8)  # the grid of the finest level from stride 8 on
    assert images.shape == (3,)
    assert patches.dtype == np.float32
    assert np.isfinite(patches).all()
    assert (patches >= 0).all()
    assert np.isfinite(images).all()


def test_an_image_is_scored_alike_in_any_batch(learnt):
    _, method = learnt
    levels = aligned(5, seed=4)
    patches, images = scores(method, levels)
    one = {name: level[3:4] for name, level in levels.items()}
    alone = scores(method, one)
    np.testing.assert_allclose(alone[0][0], patches[3], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(alone[1][0], images[3], rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_learns_alike_in_batches_of_any_size(name):
    levels, new = aligned(9), aligned(3, seed=5)
    found = [
        scores(create_anomaly_method(name, seed=7).fit(batches(levels, size)), new)
        for size in (1, 4, 9)
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other[0], found[0][0], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(other[1], found[0][1], rtol=1e-3, atol=1e-3)


def test_all_that_was_learnt_comes_back(learnt):
    name, method = learnt
    state = method.state_dict()
    again = create_anomaly_method(name, **method.options).restore(state)
    levels = aligned(3, seed=6)
    for one, other in zip(scores(again, levels), scores(method, levels), strict=True):
        np.testing.assert_array_equal(one, other)
    assert set(again.state_dict()) == set(state)
    assert isinstance(again, AnomalyMethod)


def test_tensors_of_a_stranger_are_refused(learnt):
    name, method = learnt
    state = method.state_dict()
    for key, value in state.items():
        less = {k: v for k, v in state.items() if k != key}
        with pytest.raises(ValueError, match=r"should be|are named"):
            create_anomaly_method(name).restore(less)
        for wrong in (value[None], value.to(torch.int64), value[:0]):
            with pytest.raises(ValueError, match=r"shape|numbers|shapes|spacing"):
                create_anomaly_method(name).restore({**state, key: wrong})
    with pytest.raises(ValueError, match=r"where .* should be"):
        create_anomaly_method(name).restore({**state, "more": torch.zeros(1)})


def test_other_maps_are_refused(learnt):
    _, method = learnt
    levels = aligned(2)
    fewer = {name: levels[name] for name in ("fine", "middle")}
    with pytest.raises(ValueError, match="2 levels of maps; give the 3 of fit"):
        scores(method, fewer)
    wider = {**levels, "middle": torch.zeros(2, 5, 8, 8)}
    with pytest.raises(ValueError, match="level 1 has 5 channels; give the 4 of fit"):
        scores(method, wider)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_images_are_enough(name, n):
    method = create_anomaly_method(name).fit(batches(texture(n)))
    patches, images = scores(method, texture(3, seed=1))
    assert np.isfinite(patches).all()
    assert np.isfinite(images).all()


@pytest.mark.parametrize("name", NAMES)
def test_images_of_one_colour(name):
    flat = {key: torch.full((6, *level.shape[1:]), 2.0) for key, level in texture(1).items()}
    method = create_anomaly_method(name).fit(batches(flat))
    _, images = scores(method, {**flat, "middle": flat["middle"] + 1})
    _, same = scores(method, flat)
    assert np.isfinite(images).all()
    assert (images > same).all()


@pytest.mark.parametrize("name", NAMES)
def test_no_images(name):
    with pytest.raises(ValueError, match="no good images to learn from"):
        create_anomaly_method(name).fit(lambda: iter(()))


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_and_many_dimensions(name):
    levels = {key: level.half() for key, level in aligned(10).items()}
    method = create_anomaly_method(name, dimensions=5).fit(batches(levels))
    assert method.patches.width == 5
    good = scores(method, aligned(4, seed=1))[1]
    bad = scores(method, texture(4, seed=2))[1]
    assert bad.min() > good.max()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_computed_can_be_traced(name):
    """Nothing in `forward` depends on the values, so a traced copy gives the same."""
    method = create_anomaly_method(name).fit(batches(aligned(6))).eval()

    class FromTensors(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.method = method

        def forward(self, fine, middle, coarse):
            maps = {"fine": fine, "middle": middle, "coarse": coarse}
            return self.method(FeatureMaps(maps, STRIDES))

    levels, new = aligned(2, seed=1), texture(2, seed=2)
    exported = torch.export.export(FromTensors(), tuple(levels.values())).module()
    for one, other in zip(exported(*new.values()), scores(method, new), strict=True):
        np.testing.assert_allclose(one.detach().numpy(), other, rtol=1e-4, atol=1e-4)
