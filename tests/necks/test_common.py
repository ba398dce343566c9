"""One suite for every neck: a file of the folder is tried by its name, with nothing known of it."""

import inspect
from pathlib import Path

import pytest
import torch

import transferkit.necks
from transferkit.maps import FeatureMaps
from transferkit.necks import Neck, NeckChain, create_neck, neck_names

WIDTHS = (8, 16, 24, 32, 40)
STRIDES = (4, 8, 16, 32, 64)
# Sizes of levels, fine to coarse: exact halves; odd ones, as most networks give of odd images; as
# Inception gives them; and maps of one pixel.
SIZES = {
    "even": [(16, 32), (8, 16), (4, 8), (2, 4), (1, 2)],
    "odd": [(29, 37), (15, 19), (7, 9), (4, 5), (2, 2)],
    "uneven": [(27, 31), (12, 16), (5, 8), (2, 3), (1, 1)],
    "pixels": [(1, 1)] * 5,
}


def options(name, **values):
    """Those of the values that a neck takes."""
    allowed = inspect.signature(type(create_neck(name, [4], [16]))).parameters
    return {word: value for word, value in values.items() if word in allowed}


def numbers_of_levels(name):
    """How many levels it takes: any number, or one."""
    if "levels" in inspect.signature(type(create_neck(name, [4], [16]))).parameters:
        return [1]
    return [1, 2, 3, 4, 5]


CASES = [(name, n) for name in neck_names() for n in numbers_of_levels(name)]


def make(name, n, **values):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_neck(name, WIDTHS[:n], STRIDES[:n], **options(name, width=12, **values))


def levels(n, sizes="odd", n_images=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    names = [f"level{i}" for i in range(n)]
    shapes = zip(names, WIDTHS, SIZES[sizes], strict=False)
    maps = {k: torch.randn(n_images, w, *size, generator=generator) for k, w, size in shapes}
    return FeatureMaps(maps, dict(zip(names, STRIDES, strict=False)))


def test_every_file_is_a_subject():
    folder = Path(transferkit.necks.__file__).parent
    assert len(neck_names()) == len(list(folder.glob("[!_]*.py"))) >= 5
    assert {name for name, _ in CASES} == set(neck_names())


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("name", "n"), CASES)
def test_shapes_are_those_that_it_says(name, n, sizes):
    neck = make(name, n)
    given = levels(n, sizes)
    out = neck(given)
    assert isinstance(neck, Neck)
    assert neck.in_channels == WIDTHS[:n]
    assert len(out.maps) == len(neck.out_channels) == len(neck.strides)
    assert list(out.strides.values()) == list(neck.strides) == sorted(neck.strides)
    assert [m.shape[:2] for m in out.maps.values()] == [(2, w) for w in neck.out_channels]
    for level, stride in zip(out.maps.values(), neck.strides, strict=True):
        if stride in STRIDES[:n]:  # of the size that it had
            assert level.shape[-2:] == SIZES[sizes][STRIDES.index(stride)]
        assert torch.isfinite(level).all()
    if neck.strides == STRIDES[:n]:
        assert list(out.maps) == list(given.maps)


@pytest.mark.parametrize(("name", "n"), CASES)
def test_every_parameter_and_level_gets_a_gradient(name, n):
    neck = make(name, n)
    given = levels(n)
    for level in given.maps.values():
        level.requires_grad_(True)
    generator = torch.Generator().manual_seed(1)
    # Not the plain sum, which a norm holds at a constant.
    sum(
        (m * torch.randn(m.shape, generator=generator)).sum() for m in neck(given).maps.values()
    ).backward()
    tensors = {**dict(neck.named_parameters()), **given.maps}
    assert [n for n, t in tensors.items() if t.grad is None or not t.grad.abs().sum()] == []
    if name != "none":
        assert sum(p.numel() for p in neck.parameters()) > 0


@pytest.mark.parametrize(("name", "n"), CASES)
def test_an_image_does_not_depend_on_the_others(name, n):
    neck = make(name, n).train()  # a batch norm would show itself in this mode
    given = levels(n, n_images=3)
    together = neck(given)
    for i in range(3):
        alone = neck(FeatureMaps({k: m[i : i + 1] for k, m in given.maps.items()}, given.strides))
        for level, own in zip(together.maps.values(), alone.maps.values(), strict=True):
            torch.testing.assert_close(level[i : i + 1], own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "n"), CASES)
def test_its_state_is_all_that_it_has_learnt(name, n):
    neck, other = (
        make(name, n),
        create_neck(name, WIDTHS[:n], STRIDES[:n], **options(name, width=12)),
    )
    other.load_state_dict(neck.state_dict())
    given = levels(n)
    before, after = neck(given), other(given)
    assert all(torch.equal(before.maps[k], after.maps[k]) for k in before.maps)
    assert not [b for b, _ in neck.named_buffers()]


@pytest.mark.parametrize(("name", "n"), CASES)
def test_necks_follow_one_another(name, n):
    first = make(name, n)
    chain = NeckChain(first, create_neck("fpn", first.out_channels, first.strides, width=4))
    out = chain(levels(n))
    assert chain.in_channels == WIDTHS[:n]
    assert (chain.out_channels, chain.strides) == ((4,) * len(first.strides), first.strides)
    assert [m.shape[-2:] for m in out.maps.values()] == [
        m.shape[-2:] for m in first(levels(n)).maps.values()
    ]
    with pytest.raises(ValueError, match=r"FPNNeck is made for widths \[3\] and follows"):
        NeckChain(first, create_neck("fpn", [3], [4]))


@pytest.mark.parametrize("name", sorted(set(neck_names()) - {"none"}))
def test_its_width_is_an_option(name):
    assert set(create_neck(name, [8], [16]).out_channels) == {64}
    assert set(create_neck(name, [8], [16], width=5).out_channels) == {5}
    with pytest.raises(ValueError, match="width of a neck is 0; give 1 or more"):
        create_neck(name, [8], [16], width=0)


@pytest.mark.parametrize("name", sorted(set(neck_names()) - {"none"}))
def test_other_levels_than_it_was_made_for(name):
    neck = create_neck(name, [8], [16])
    for given in (levels(2), FeatureMaps({"x": torch.zeros(1, 9, 4, 4)}, {"x": 16})):
        with pytest.raises(ValueError, match=r"was made for levels of widths \[8\] and was given"):
            neck(given)


@pytest.mark.parametrize("name", neck_names())
@pytest.mark.parametrize(
    ("channels", "strides", "message"),
    [
        ([], [], "give one of each per level, and one level at least"),
        ([8], [4, 8], "1 widths and 2 strides; give one of each"),
        ([0], [4], r"are no pyramid; give numbers above 0, fine to coarse"),
        ([8], [0], "give numbers above 0, fine to coarse"),
        ([8, 8], [8, 4], "give numbers above 0, fine to coarse"),
    ],
)
def test_no_pyramid(name, channels, strides, message):
    with pytest.raises(ValueError, match=message):
        create_neck(name, channels, strides)


def test_names():
    with pytest.raises(ValueError, match="unknown neck 'pfn'; did you mean 'fpn'"):
        create_neck("pfn", [8], [4])
    with pytest.raises(ValueError, match="option of the neck 'fpn': 'widht'; did you mean 'width'"):
        create_neck("fpn", [8], [4], widht=3)
