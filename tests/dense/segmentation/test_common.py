"""One suite for every segmentation head: a file of the folder is tried by its name."""

import inspect
from pathlib import Path

import pytest
import torch

import transferkit.dense.segmentation
from transferkit.dense.segmentation import (
    create_loss,
    create_segmentation_head,
    default_neck,
    segmentation_heads,
)
from transferkit.maps import FeatureMaps
from transferkit.necks import create_neck, neck_names

WIDTHS = (6, 8, 10, 12)
STRIDES = (4, 8, 16, 32)
# Sizes of levels, fine to coarse: exact halves; odd ones, as most networks give of odd images; as
# Inception gives them; and maps of one px.
SIZES = {
    "even": [(16, 24), (8, 12), (4, 6), (2, 3)],
    "odd": [(29, 37), (15, 19), (7, 9), (4, 5)],
    "uneven": [(27, 31), (12, 16), (5, 8), (2, 3)],
    "pixels": [(1, 1)] * 4,
}
HEADS = segmentation_heads()
every_head = pytest.mark.parametrize("name", HEADS)


def has(name, option):
    return option in inspect.signature(type(make(name, 1))).parameters


def make(name, n_levels=4, n_classes=3, strides=STRIDES, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_segmentation_head(
            name, WIDTHS[:n_levels], strides[:n_levels], n_classes, **options
        )


def maps_of(n_levels=4, sizes="odd", n_images=2, strides=STRIDES):
    draw = torch.Generator().manual_seed(1)
    names = [f"level{i}" for i in range(n_levels)]
    shapes = zip(names, WIDTHS, SIZES[sizes], strict=False)
    maps = {n: torch.randn(n_images, width, *size, generator=draw) for n, width, size in shapes}
    return FeatureMaps(maps, dict(zip(names, strides, strict=False)))


def part_of(maps, images):
    return FeatureMaps({n: m[images] for n, m in maps.maps.items()}, maps.strides)


def test_every_file_is_a_subject():
    folder = Path(transferkit.dense.segmentation.__file__).parent
    assert len(HEADS) == len(list(folder.glob("[!_]*.py"))) >= 5


@every_head
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("n_levels", [1, 2, 3, 4])
def test_scores_have_the_finest_levels_size_or_more(name, sizes, n_levels):
    scores = make(name, n_levels)(maps_of(n_levels, sizes, n_images=1))
    height, width = SIZES[sizes][0]
    assert scores.shape[:2] == (1, 3)
    assert scores.shape[2] >= height
    assert scores.shape[3] >= width
    assert torch.isfinite(scores).all()


@every_head
@pytest.mark.parametrize("strides", [(4, 16, 16, 32), (3.5, 7, 14, 28), (16, 16, 16, 16)])
def test_any_strides(name, strides):
    head = make(name, strides=strides)
    assert head(maps_of(sizes="even", strides=strides)).shape[-2:] == SIZES["even"][0]


@every_head
@pytest.mark.parametrize("n_levels", [1, 4])
@pytest.mark.parametrize("n_images", [1, 3])
def test_every_parameter_and_level_has_a_gradient(name, n_levels, n_images):
    head, maps = make(name, n_levels), maps_of(n_levels, n_images=n_images)
    for level in maps.maps.values():
        level.requires_grad_()
    target = torch.randint(3, (n_images, 58, 74), generator=torch.Generator().manual_seed(2))
    create_loss("cross-entropy+dice")(head(maps), target).backward()
    for key, tensor in [*head.named_parameters(), *maps.maps.items()]:
        assert tensor.grad is not None, key
        assert tensor.grad.abs().max() > 0, key


@every_head
def test_an_image_is_alone_in_its_batch(name):
    for head in (make(name), make(name).eval()):
        maps = maps_of(n_images=3)
        together = head(maps)
        alone = torch.cat([head(part_of(maps, slice(i, i + 1))) for i in range(3)])
        assert torch.allclose(together, alone, atol=1e-5)


@every_head
def test_steps_make_the_loss_smaller(name):
    head, maps = make(name), maps_of(sizes="even")
    target = torch.zeros(2, 64, 96, dtype=torch.long)
    target[:, :, 48:] = 2  # class 1 does not occur
    criterion = create_loss("cross-entropy+dice")
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        loss = criterion(head(maps), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


@every_head
def test_two_hundred_classes(name):
    assert make(name, n_classes=200)(maps_of(n_images=1)).shape == (1, 200, 29, 37)


@every_head
def test_its_tensors_make_the_same_head(name):
    head, other = make(name).eval(), make(name).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    maps = maps_of()
    assert not torch.allclose(head(maps), other(maps))
    other.load_state_dict(head.state_dict())
    assert torch.equal(head(maps), other(maps))


@every_head
@pytest.mark.parametrize("neck", neck_names())
def test_it_takes_what_every_neck_gives(name, neck):
    n_levels = 1 if neck == "simple" else 4
    stage = create_neck(neck, WIDTHS[:n_levels], STRIDES[:n_levels])
    head = create_segmentation_head(name, stage.out_channels, stage.strides, 3)
    assert head(stage(maps_of(n_levels, n_images=1))).shape[:2] == (1, 3)


@every_head
def test_the_default_neck_is_one(name):
    assert default_neck(name) in neck_names()


@every_head
def test_memory_formats_give_the_same(name):
    maps, head = maps_of(), make(name).eval()
    plain = head(maps)
    last = {n: m.contiguous(memory_format=torch.channels_last) for n, m in maps.maps.items()}
    head = head.to(memory_format=torch.channels_last)
    assert torch.allclose(head(FeatureMaps(last, maps.strides)), plain, atol=1e-5)


@every_head
def test_options(name):
    if has(name, "width"):
        n_narrow, n_wide = (
            sum(p.numel() for p in make(name, width=w).parameters()) for w in (4, 16)
        )
        assert n_narrow < n_wide
        with pytest.raises(ValueError, match="give 2 or more"):
            make(name, width=1)
    if has(name, "dropout"):
        head, maps = make(name, dropout=0.5), maps_of()
        assert not torch.equal(head(maps), head(maps))
        assert torch.equal(head.eval()(maps), make(name).eval()(maps))
        with pytest.raises(ValueError, match="give 0 to below 1"):
            make(name, dropout=1.0)


@every_head
def test_other_levels_are_refused(name):
    with pytest.raises(ValueError, match="the levels are"):
        make(name, 4)(maps_of(3))
    with pytest.raises(ValueError, match="one of each per level"):
        create_segmentation_head(name, [8], [4, 8], 3)


def test_mlp_is_the_papers_equation():
    """Levels resized, put side by side and mixed by one linear layer, as the paper has it."""
    head, maps = make("mlp", width=5).eval(), maps_of()
    size = SIZES["odd"][0]
    beside = torch.cat(
        [
            torch.nn.functional.interpolate(first[0](level), size, mode="bilinear")
            for first, level in zip(head.layers, maps.maps.values(), strict=True)
        ],
        dim=1,
    )
    mixer = torch.cat([layer[1].weight for layer in head.layers], dim=1)
    mixed = torch.nn.functional.conv2d(beside, mixer)
    assert torch.allclose(head.classifier(head.norm(mixed)), head(maps), atol=1e-5)
