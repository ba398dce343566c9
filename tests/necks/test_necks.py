"""What each neck computes, beside a second and simpler way."""

import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.ops import FeaturePyramidNetwork

from transferkit.maps import FeatureMaps
from transferkit.necks import create_neck
from transferkit.necks.bifpn import FastFusion

WIDTHS, STRIDES = [6, 10, 14], [8, 16, 32]
SIZES = [(13, 10), (7, 5), (3, 2)]


def maps(**changed):
    generator = torch.Generator().manual_seed(0)
    levels = {
        str(i): torch.randn(1, width, *size, generator=generator)
        for i, (width, size) in enumerate(zip(WIDTHS, SIZES, strict=True))
    }
    return FeatureMaps({**levels, **changed}, dict(zip(levels, STRIDES, strict=True)))


def changed_by(neck, level):
    """Which outputs change with one level of the input."""
    before = neck(maps()).maps
    after = neck(maps(**{str(level): torch.zeros(1, WIDTHS[level], *SIZES[level])})).maps
    return [not torch.equal(before[name], after[name]) for name in before]


def test_fpn_is_torchvisions():
    """Theirs has no norms: with ours left out and the same filters, the two are one."""
    ours = create_neck("fpn", WIDTHS, STRIDES, width=5)
    theirs = FeaturePyramidNetwork(WIDTHS, 5)
    pairs = [(ours.laterals, theirs.inner_blocks), (ours.outputs, theirs.layer_blocks)]
    for own, other in pairs:
        for conv, block in zip(own, other, strict=True):
            conv[1] = torch.nn.Identity()
            block[0].weight.data.copy_(conv[0].weight)
    with torch.no_grad():
        expected, found = theirs(dict(maps().maps)), ours(maps()).maps
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("fpn", [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
        ("panet", [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        ("bifpn", [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
    ],
)
def test_which_levels_know_of_which(name, expected):
    options = {"repeats": 1} if name == "bifpn" else {}
    neck = create_neck(name, WIDTHS, STRIDES, **options)
    assert [changed_by(neck, level) for level in range(3)] == expected


def test_panet_keeps_the_finest_level_of_its_fpn():
    neck = create_neck("panet", WIDTHS, STRIDES, width=5)
    assert torch.equal(neck(maps()).maps["0"], neck.top_down(maps()).maps["0"])


def test_the_fusion_is_a_mean_of_weights_above_0():
    fusion = FastFusion(3, 4)
    seen = []
    fusion.conv.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    fusion.weights.data = torch.tensor([3.0, 1.0, -5.0])
    levels = [torch.full((1, 4, 2, 2), value) for value in (1.0, 5.0, 100.0)]
    fusion(*levels)
    mean = torch.tensor((3 * 1 + 1 * 5) / 4)
    torch.testing.assert_close(
        seen[0], (mean * mean.sigmoid()).expand(1, 4, 2, 2), rtol=1e-3, atol=0
    )


def test_a_bifpn_repeats_itself():
    n = [
        sum(p.numel() for p in create_neck("bifpn", WIDTHS, STRIDES, repeats=r).parameters())
        for r in (1, 2, 4)
    ]
    assert n[2] - n[1] == 2 * (n[1] - n[0]) > 0
    with pytest.raises(ValueError, match="repeats is 0; a bifpn has 1 layer or more"):
        create_neck("bifpn", WIDTHS, STRIDES, repeats=0)


@pytest.mark.parametrize(
    ("stride", "wanted", "strides", "sizes"),
    [
        (16, (4, 8, 16, 32), (4, 8, 16, 32), [(20, 12), (10, 6), (5, 3), (3, 2)]),
        (14, (4, 8, 16, 32), (3.5, 7, 14, 28), [(20, 12), (10, 6), (5, 3), (3, 2)]),
        (8, (8, 16, 32), (8, 16, 32), [(5, 3), (3, 2), (2, 1)]),
        (32, (4, 32), (4, 32), [(40, 24), (5, 3)]),
    ],
)
def test_levels_of_the_simple_pyramid(stride, wanted, strides, sizes):
    neck = create_neck("simple", [6], [stride], width=5, levels=wanted)
    out = neck(FeatureMaps({"final": torch.randn(2, 6, 5, 3)}, {"final": stride}))
    assert neck.strides == strides
    assert list(out.maps) == [f"stride{s:g}" for s in strides]
    assert [m.shape for m in out.maps.values()] == [(2, 5, *size) for size in sizes]


def test_levels_that_are_not_wanted_are_not_made():
    def kinds(wanted):
        neck = create_neck("simple", [8], [16], levels=wanted)
        return [type(module).__name__ for module in neck.modules()]

    assert kinds((4, 8, 16, 32)).count("ConvTranspose2d") == 3
    assert kinds((8, 16, 32)).count("ConvTranspose2d") == 1
    assert kinds((16,)).count("ConvTranspose2d") == 0
    assert kinds((16,)).count("MaxPool2d") == 0


def test_the_identity_level_is_two_convolutions():
    neck = create_neck("simple", [6], [16], width=5, levels=(16,))
    level = torch.randn(1, 6, 4, 4)
    small, large = (conv[0].weight for conv in neck.stages[0])
    expected = level
    for weight, padding in ((small, 0), (large, 1)):
        expected = torch.nn.functional.conv2d(expected, weight, padding=padding)
        expected = torch.nn.functional.layer_norm(expected, expected.shape[1:])
    found = neck(FeatureMaps({"final": level}, {"final": 16})).maps["stride16"]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((4, 5), r"levels \[4, 5\] of a map of stride 16 would be \[4, 4\]; give strides fine to"),
        ((8, 4), "each twice the one before it or more"),
        ((), r"levels is \[\]; give strides in px, such as \(8, 16, 32\)"),
        ((0, 4), "give strides in px"),
    ],
)
def test_levels_that_the_simple_pyramid_refuses(levels, message):
    with pytest.raises(ValueError, match=message):
        create_neck("simple", [6], [16], levels=levels)


def test_the_simple_pyramid_is_of_one_map():
    with pytest.raises(
        ValueError, match="makes a pyramid of one map and was given 3; give it the "
    ):
        create_neck("simple", WIDTHS, STRIDES)


def test_levels_of_one_stride_keep_their_size():
    """Several blocks of a plain transformer."""
    level = torch.randn(1, 6, 5, 3)
    for name in ("fpn", "panet", "bifpn"):
        neck = create_neck(name, [6, 6], [16, 16], width=4)
        out = neck(FeatureMaps({"block3": level, "block7": level}, {"block3": 16, "block7": 16}))
        assert [m.shape for m in out.maps.values()] == [(1, 4, 5, 3)] * 2


def test_finer_levels_are_repeated_px_of_coarser_ones():
    neck = create_neck("fpn", [1, 1], [8, 16], width=1)
    for conv in (*neck.laterals, *neck.outputs):
        conv[1] = torch.nn.Identity()
        torch.nn.init.dirac_(conv[0].weight)
    coarse = torch.arange(6.0).reshape(1, 1, 2, 3)
    fine = torch.zeros(1, 1, 3, 5)
    out = neck(FeatureMaps({"a": fine, "b": coarse}, {"a": 8, "b": 16}))
    torch.testing.assert_close(out.maps["a"], interpolate(coarse, (3, 5), mode="nearest"))
    torch.testing.assert_close(out.maps["b"], coarse)
