import numpy as np
import pytest
import torch
from timm.layers import SelectAdaptivePool2d

from transferkit.maps import FeatureMaps
from transferkit.pooling import FeatureName, parse_feature, pool, pooling_names

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(3, 5, 4, 6)).astype(np.float32)
TOKENS = RNG.normal(size=(3, 2, 5)).astype(np.float32)
NORMED = RNG.normal(size=(3, 2, 5)).astype(np.float32)
LOGITS = RNG.normal(size=(3, 7)).astype(np.float32)
MAPS = FeatureMaps(
    maps={
        "stage3": torch.from_numpy(VALUES),
        "block1": torch.from_numpy(2 * VALUES),
        "block1_norm": torch.from_numpy(3 * VALUES),
    },
    strides={"stage3": 16, "block1": 16, "block1_norm": 16},
    prefix={"block1": torch.from_numpy(TOKENS), "block1_norm": torch.from_numpy(NORMED)},
    pre_logits=torch.from_numpy(TOKENS[:, 0]),
    logits=torch.from_numpy(LOGITS),
)

POSITIVE = np.maximum(VALUES, 1e-6).astype(float)
EXPECTED = {
    "avg": [[m.mean() for m in image] for image in VALUES.astype(float)],
    "max": [[m.max() for m in image] for image in VALUES],
    "avgmax": [[(m.mean() + m.max()) / 2 for m in image] for image in VALUES.astype(float)],
    "gem": [[np.cbrt((m * m * m).mean()) for m in image] for image in POSITIVE],
    "cls": TOKENS[:, 0],
    "cls_avg": [
        [*token, *(2 * m.mean() for m in image)]
        for token, image in zip(TOKENS[:, 0], VALUES.astype(float), strict=True)
    ],
    "flatten": VALUES.reshape(3, 5 * 4 * 6),
    "map": VALUES,
}


def rows(name):
    return pool(MAPS, parse_feature(name)).numpy()


def test_every_pooling_is_tried():
    assert pooling_names() == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_equals_numpy(name):
    layer = "block1" if name.startswith("cls") else "stage3"
    given = rows(f"{layer}.{name}")
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, EXPECTED[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("ours", "theirs"), [("avg", "avg"), ("max", "max"), ("avgmax", "avgmax")])
def test_equals_timm(ours, theirs):
    expected = SelectAdaptivePool2d(pool_type=theirs, flatten=True)(torch.from_numpy(VALUES))
    np.testing.assert_allclose(rows(f"stage3.{ours}"), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_gem_lies_between_mean_and_maximum():
    maps = FeatureMaps({"stage0": torch.from_numpy(np.abs(VALUES) + 0.1)}, {"stage0": 2})
    avg, gem, top = (pool(maps, parse_feature(f"stage0.{p}")) for p in ("avg", "gem", "max"))
    assert (avg < gem).all()
    assert (gem < top).all()


def test_gem_of_nothing_is_finite():
    maps = FeatureMaps({"stage0": torch.zeros(1, 2, 3, 3)}, {"stage0": 2})
    np.testing.assert_allclose(pool(maps, parse_feature("stage0.gem")), 1e-6, rtol=1e-3)


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"cls", "cls_avg"}))
def test_a_row_does_not_depend_on_the_others(name):
    whole = rows(f"stage3.{name}")
    for i in range(3):
        one = FeatureMaps({"stage3": MAPS.maps["stage3"][i : i + 1]}, MAPS.strides)
        given = pool(one, parse_feature(f"stage3.{name}")).numpy()
        np.testing.assert_allclose(given, whole[i : i + 1], rtol=1e-6)


def test_norm_reads_the_normed_layer():
    np.testing.assert_array_equal(rows("block1.cls_norm"), NORMED[:, 0])
    np.testing.assert_allclose(rows("block1.avg_norm"), 1.5 * rows("block1.avg"), rtol=1e-5)
    np.testing.assert_array_equal(rows("block1.map_norm"), 3 * VALUES)


def test_vectors():
    np.testing.assert_array_equal(rows("pre_logits"), TOKENS[:, 0])
    np.testing.assert_array_equal(rows("logits"), LOGITS)


@pytest.mark.parametrize(
    ("name", "parsed", "canonical"),
    [
        ("pre_logits", FeatureName("pre_logits", ""), "pre_logits"),
        ("logits", FeatureName("logits", ""), "logits"),
        ("final", FeatureName("final", "avg"), "final.avg"),
        ("stage3", FeatureName("stage3", "avg"), "stage3.avg"),
        (" stage3.gem ", FeatureName("stage3", "gem"), "stage3.gem"),
        ("block11.cls_norm", FeatureName("block11", "cls", True), "block11.cls_norm"),
        ("block11.cls_avg_norm", FeatureName("block11", "cls_avg", True), "block11.cls_avg_norm"),
        ("block11._norm", FeatureName("block11", "avg", True), "block11.avg_norm"),
        ("final.cls_norm", FeatureName("final", "cls"), "final.cls"),
    ],
)
def test_names(name, parsed, canonical):
    assert parse_feature(name) == parsed
    assert str(parsed) == canonical
    assert parse_feature(canonical) == parsed


def test_which_need_a_class_token():
    needy = {p for p in pooling_names() if parse_feature(f"block1.{p}").needs_class_token}
    assert needy == {"cls", "cls_avg"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stage3.agv", r"unknown pooling in feature 'stage3.agv': 'agv'; did you mean 'avg'"),
        ("stage3.avg.max", r"unknown pooling in feature 'stage3.avg.max': 'avg.max'"),
        ("pre_logits.avg", r"'pre_logits' is one vector .* such as 'final.avg'"),
        ("logits.cls", r"'logits' is one vector per image and takes no pooling"),
        (".avg", r"feature '.avg' names no layer; write layer.pooling, as in 'final.avg'"),
        ("", "names no layer"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(ValueError, match=message):
        parse_feature(name)


@pytest.mark.parametrize("pooling", ["cls", "cls_avg"])
def test_no_class_token(pooling):
    with pytest.raises(ValueError, match="'cls' needs a class token, and this layer has none"):
        rows(f"stage3.{pooling}")


@pytest.mark.parametrize("layer", ["pre_logits", "logits"])
def test_vector_that_was_not_computed(layer):
    with pytest.raises(ValueError, match=f"did not compute '{layer}'"):
        pool(FeatureMaps({}, {}), parse_feature(layer))
